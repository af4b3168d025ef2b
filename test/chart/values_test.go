package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestAWrongValueIsRefusedAndTheMessageSaysWhy(t *testing.T) {
	tests := map[string]struct {
		set  []string
		want string // in the message
	}{
		"a value that there is not": {
			[]string{"replicaz=2"}, "additional properties 'replicaz' not allowed"},
		"a value that there is not, in a group": {
			[]string{"image.tagg=1"}, "at '/image': additional properties 'tagg' not allowed"},
		"a number that is a word": {
			[]string{"replicas=two"}, "at '/replicas': got string, want integer"},
		"a number below the least": {
			[]string{"replicas=-1"}, "at '/replicas': minimum: got -1, want 0"},
		"a switch that is a word": {
			[]string{"metrics.auth=maybe"}, "at '/metrics/auth': got string, want null or boolean"},
		"a scope that there is not": {
			[]string{"scope=cluster"}, "at '/scope': value must be one of 'Cluster', 'Namespaces', 'OwnNamespace'"},
		"a namespace that cannot be": {
			[]string{"scope=Namespaces", "namespaces={Studio}"}, "at '/namespaces/0': 'Studio' does not match pattern"},
		"a namespace twice": {
			[]string{"scope=Namespaces", "namespaces={studio,studio}"}, "at '/namespaces': items at 0 and 1 are equal"},
		"an address of the API without a scheme": {
			[]string{"reactor.apiURL=api.reactor.inc"}, "at '/reactor/apiURL': 'api.reactor.inc' does not match pattern"},
		"an address of the API with a password": {
			[]string{"reactor.apiURL=https://user:password@api.reactor.inc"}, "at '/reactor/apiURL'"},
		"a rate of nothing": {
			[]string{"reactor.mintQPS=0"}, "at '/reactor/mintQPS': exclusiveMinimum: got 0, want 0"},
		"a digest that is none": {
			[]string{"image.digest=latest"}, "at '/image/digest': 'latest' does not match pattern"},
		"a level of the log that there is not": {
			[]string{"logging.level=trace"}, "at '/logging/level': value must be one of 'debug', 'info', 'warn', 'error'"},
		"a list of namespaces that is empty": {
			[]string{"scope=Namespaces"}, "scope is Namespaces, and namespaces is empty. Set namespaces to the namespaces to watch."},
		"a list of namespaces for the whole cluster": {
			[]string{"namespaces={studio}"}, "namespaces is set, but scope is Cluster. Set scope to Namespaces, or omit namespaces."},
		"a list of namespaces for one's own": {
			[]string{"scope=OwnNamespace", "namespaces={studio}"}, "namespaces is set, but scope is OwnNamespace."},
		"nothing to run": {
			[]string{"controllers.tokens=false", "controllers.sessions=false"}, "the operator has nothing to run. Set at least one of them to true."},
		"restarts without tokens": {
			[]string{"controllers.tokens=false", "allowRestart=true"}, "allowRestart and allowPromptDelivery have no effect, because controllers.tokens is false."},
		"prompt delivery without tokens": {
			[]string{"controllers.tokens=false", "allowPromptDelivery=true"}, "allowRestart and allowPromptDelivery have no effect, because controllers.tokens is false."},
		"certificates from two places": {
			[]string{"reactor.caBundle.configMap.name=a", "reactor.caBundle.secret.name=b"}, "reactor.caBundle names a ConfigMap and a Secret. Name only one of them."},
		"a service account without a name": {
			[]string{"serviceAccount.create=false"}, "Set serviceAccount.name to an existing service account."},
		"a ServiceMonitor of nothing": {
			[]string{"metrics.enabled=false", "serviceMonitor.enabled=true"}, "serviceMonitor.enabled is true, but metrics.enabled is false. Enable both or neither."},
		"one port for two servers": {
			[]string{"metrics.port=8081"}, "metrics.port is 8081, which the probes use. Set another port."},
		"exceptions of no proxy": {
			[]string{"proxy.noProxy=.example.com"}, "proxy.noProxy has no effect without a proxy. Set proxy.httpProxy or proxy.httpsProxy"},
		"a token server without tokens": {
			[]string{"tokenServer.enabled=true", "tokenServer.allowAnonymous=true"}, "tokenServer needs exactly one source of tokens."},
		"a token server with both sources": {
			[]string{"tokenServer.enabled=true", "tokenServer.allowAnonymous=true", "tokenServer.tokenSecretName=a", "tokenServer.apiKeySecretRef.name=b"},
			"tokenServer needs exactly one source of tokens."},
		"a token server for all models": {
			[]string{"tokenServer.enabled=true", "tokenServer.allowAnonymous=true", "tokenServer.apiKeySecretRef.name=b"}, "tokenServer.models is empty. Set it to the models"},
		"a token server that nobody guards": {
			[]string{"tokenServer.enabled=true", "tokenServer.tokenSecretName=a"}, "tokenServer needs exactly one way to authenticate callers."},
		"a token server with two guards": {
			[]string{"tokenServer.enabled=true", "tokenServer.tokenSecretName=a", "tokenServer.allowAnonymous=true", "tokenServer.oidc.issuer=https://a.example"},
			"tokenServer needs exactly one way to authenticate callers."},
		"a header that everybody may write": {
			[]string{"tokenServer.enabled=true", "tokenServer.tokenSecretName=a", "tokenServer.proxy.header=X-User"}, "tokenServer.proxy.networks is empty. Set it to the networks"},
		"an issuer without an audience": {
			[]string{"tokenServer.enabled=true", "tokenServer.tokenSecretName=a", "tokenServer.oidc.issuer=https://a.example"}, "tokenServer.oidc.audience is empty. Set it to the audience"},
		"a token server without a service account": {
			[]string{"serviceAccount.create=false", "serviceAccount.name=operator", "tokenServer.enabled=true", "tokenServer.tokenSecretName=a", "tokenServer.allowAnonymous=true"},
			"Set tokenServer.serviceAccountName to an existing service account."},
		"an emulator and another API": {
			[]string{"developmentEmulator.enabled=true", "reactor.apiURL=https://reactor.example.com"},
			"developmentEmulator.enabled is true, and reactor.apiURL is https://reactor.example.com. With the emulator, the operator uses the emulator's URL. Omit reactor.apiURL"},
		"the image of a checkout, which nobody publishes": {
			nil, "the image ghcr.io/reactor-operator/reactor-operator:latest is not published. Run make deploy in the checkout"},
		"the same in another registry": {
			[]string{"image.registry=registry.example.com"}, "the image registry.example.com/reactor-operator/reactor-operator:latest is not published. Run make deploy in the checkout"},
		"a test without tokens": {
			[]string{"controllers.tokens=false", "tests.apiKeySecretRef.name=key"}, "helm test needs a ReactorToken, but controllers.tokens is false."},
		"a test where nothing is watched": {
			[]string{"scope=OwnNamespace", "tests.apiKeySecretRef.name=key", "tests.namespace=media"}, "tests.namespace is media, which the operator does not watch"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			args := []string{"template", operatorName, chart, "--namespace", systemNamespace}
			for _, value := range test.set {
				args = append(args, "--set", value)
			}
			_, stderr, ok := run(t, "", shared.helm, args...)
			if ok {
				t.Fatal("it is taken")
			}
			if !strings.Contains(stderr, test.want) {
				t.Errorf("the message is\n%s\nand should say %q", stderr, test.want)
			}
		})
	}
}

func TestTheSchemaKnowsEachValueAndNoOther(t *testing.T) {
	values, schema := map[string]any{}, map[string]any{}
	content, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(content, &values); err != nil {
		t.Fatal(err)
	}
	content, err = os.ReadFile(filepath.Join(chart, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &schema); err != nil {
		t.Fatal(err)
	}
	known := described(t, "", schema)
	known = slices.DeleteFunc(known, func(path string) bool { return path == ".global" }) // Helm's
	if diff := cmp.Diff(given("", values, known), known); diff != "" {
		t.Errorf("values.yaml and values.schema.json differ (-values +schema):\n%s", diff)
	}
}

// described returns the paths of all that a schema describes, but for what Kubernetes describes, and sees to it that nothing else is taken.
func described(t *testing.T, at string, schema map[string]any) []string {
	t.Helper()
	properties, isOurs := schema["properties"].(map[string]any)
	if !isOurs {
		return []string{at}
	}
	if schema["additionalProperties"] != false {
		t.Errorf("%q takes values that the chart does not know", at)
	}
	var paths []string
	for name, property := range properties {
		paths = append(paths, described(t, at+"."+name, property.(map[string]any))...)
	}
	slices.Sort(paths)
	return paths
}

// given returns the paths of all values. Below a known path, what is given is Kubernetes' concern.
func given(at string, value any, known []string) []string {
	group, isGroup := value.(map[string]any)
	if !isGroup || slices.Contains(known, at) {
		return []string{at}
	}
	var paths []string
	for name, inside := range group {
		paths = append(paths, given(at+"."+name, inside, known)...)
	}
	slices.Sort(paths)
	return paths
}
