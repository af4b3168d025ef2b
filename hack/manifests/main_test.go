package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/validator"
	"sigs.k8s.io/kustomize/api/types"
)

// repository returns the root of the repository.
func repository(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnImageIsReplacedByItsReference(t *testing.T) {
	for pair, want := range map[string]types.Image{
		"a=b:v1":                        {Name: "a", NewName: "b", NewTag: "v1"},
		"a=b@sha256:12":                 {Name: "a", NewName: "b", Digest: "sha256:12"},
		"a=b:v1@sha256:12":              {Name: "a", NewName: "b", NewTag: "v1", Digest: "sha256:12"},
		"x/a=localhost:5000/b:v1":       {Name: "x/a", NewName: "localhost:5000/b", NewTag: "v1"},
		"a=localhost:5000/b@sha256:12":  {Name: "a", NewName: "localhost:5000/b", Digest: "sha256:12"},
		"ghcr.io/a/b=registry.dev/b:v2": {Name: "ghcr.io/a/b", NewName: "registry.dev/b", NewTag: "v2"},
	} {
		if got, err := parseImage(pair); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", pair, got, err, want)
		}
	}
	for _, pair := range []string{"", "a", "a=", "=b:v1", "a=b", "a=localhost:5000/b"} {
		if got, err := parseImage(pair); err == nil {
			t.Errorf("%q is taken as %+v", pair, got)
		}
	}
}

func TestABuildPutsFoldersAndImagesTogether(t *testing.T) {
	o, err := parseOverlay([]string{
		"--resource=config/default", "--component=config/components/token-server",
		"--image=ghcr.io/reactor-operator/reactor-operator=registry.example.com/operator:v1@sha256:" + strings.Repeat("0", 64),
		"--image=ghcr.io/reactor-operator/reactor-token-server=registry.example.com/token-server:v1",
	})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := build(repository(t), o)
	if err != nil {
		t.Fatal(err)
	}
	var images []string
	for line := range strings.Lines(string(stream)) {
		if _, image, found := strings.Cut(line, " image: "); found {
			images = append(images, strings.TrimSpace(image))
		}
	}
	want := []string{"registry.example.com/operator:v1@sha256:" + strings.Repeat("0", 64), "registry.example.com/token-server:v1"}
	if !slices.Equal(images, want) {
		t.Errorf("the images are %q, want %q", images, want)
	}
}

func TestABuildCreatesWhatIsNeededFirst(t *testing.T) {
	stream, err := build(repository(t), overlay{resources: []string{"config/default"}})
	if err != nil {
		t.Fatal(err)
	}
	at := func(kind string) int { return strings.Index(string(stream), "\nkind: "+kind+"\n") }
	for first, second := range map[string]string{"Namespace": "ServiceAccount", "ServiceAccount": "Deployment", "ClusterRole": "ClusterRoleBinding"} {
		if at(first) < 0 || at(first) > at(second) {
			t.Errorf("%s comes at %d, and %s at %d", first, at(first), second, at(second))
		}
	}
}

func TestWhatASchemaDoesNotAllowIsFound(t *testing.T) {
	location, err := writeSchemas(t.Context(), repository(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	validate, err := validator.New([]string{location}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	const service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports:\n  - {port: 80, targetPort: http}\n  - {port: 81, targetPort: 8081}\n"
	const token = "apiVersion: reactor.inc/v1alpha1\nkind: ReactorToken\nmetadata: {name: web}\nspec:\n  apiKeySecretRef: {name: key}\n  lifetime: 1h\n"
	for name, test := range map[string]struct {
		manifest string
		want     string // in what is reported; nothing for a valid object
	}{
		"a Service":                       {service, ""},
		"a quantity that is a number":     {"apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q}\nspec: {hard: {pods: 4, cpu: 500m}}\n", ""},
		"an unknown field of a Service":   {service + "  selectors: {app: web}\n", "selectors"},
		"a wrong type in a Service":       {strings.Replace(service, "port: 80,", "port: http,", 1), "/spec/ports/0/port"},
		"a field twice":                   {service + "  type: ClusterIP\n  type: NodePort\n", "type"},
		"a ReactorToken":                  {token, ""},
		"an unknown field of a token":     {token + "  scopes: {}\n", "scopes"},
		"an unknown field deep in it":     {token + "  scope: {model: [reactor/helios]}\n", "model"},
		"a ReactorToken that lacks a key": {strings.Replace(token, "{name: key}", "{}", 1), "name"},
		"a kind without a schema":         {"apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n", "schema"},
		"nothing":                         {"# nothing\n", "no object"},
	} {
		t.Run(name, func(t *testing.T) {
			valid, invalid := conform(t.Context(), validate, rendered{name: "test", stream: []byte(test.manifest)})
			if test.want == "" && (valid != 1 || len(invalid) > 0) {
				t.Errorf("%d are valid, and this is not: %q", valid, invalid)
			}
			if test.want != "" && (valid != 0 || len(invalid) != 1 || !strings.Contains(invalid[0], test.want)) {
				t.Errorf("%d are valid, and this is not: %q, want %q", valid, invalid, test.want)
			}
		})
	}
}

func TestAnExemptionAcceptsWhatItNames(t *testing.T) {
	manifest := rendered{name: "test", stream: []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: web, image: 'web:v1'}\n")}
	findings, err := judge(manifest)
	if err != nil {
		t.Fatal(err)
	}
	limit := finding{"container-resources", "Pod web", "Memory limit is not set"}
	if !slices.Contains(findings, limit) {
		t.Fatalf("the findings are %q, without %q", findings, limit)
	}
	for name, test := range map[string]struct {
		exemption exemption
		want      bool
	}{
		"the check":                {exemption{check: limit.check}, true},
		"the check and the object": {exemption{check: limit.check, object: limit.object}, true},
		"all of it":                {exemption{check: limit.check, object: limit.object, comment: limit.comment}, true},
		"another check":            {exemption{check: "pod-probes"}, false},
		"another object":           {exemption{check: limit.check, object: "Pod other"}, false},
		"another comment":          {exemption{check: limit.check, comment: "CPU limit is not set"}, false},
	} {
		if _, got := limit.exempted([]exemption{test.exemption}); got != test.want {
			t.Errorf("%s: accepted: %v, want %v", name, got, test.want)
		}
	}
}

func TestAnExemptionThatAcceptsNothingIsReported(t *testing.T) {
	needed, other := exemption{check: "pod-probes"}, exemption{check: "pod-networkpolicy"}
	if got := unused([]exemption{needed, other}, map[exemption]bool{needed: true}); len(got) != 1 || !strings.Contains(got[0], other.check) {
		t.Errorf("this is reported: %q, want %s", got, other.check)
	}
}

func TestEveryExemptionHasAReason(t *testing.T) {
	for _, e := range exemptions {
		if e.reason == "" {
			t.Errorf("%s %s %s has no reason", e.check, e.object, e.comment)
		}
	}
}
