package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// standIns puts commands of these names first on PATH, in an empty folder where the test continues. They record how they are called in the
// file calls. make also leaves the digests that `make image` leaves.
func standIns(t *testing.T, names ...string) (calls func() []string) {
	t.Helper()
	folder := t.TempDir()
	t.Chdir(folder)
	script := `#!/bin/sh
echo "$(basename "$0") $*" | sed "s|$PWD/||g" >>"$PWD/calls"
case $0 in
*/make) mkdir -p bin; for image in operator token-server emulator; do echo "x@sha256:$image" >bin/reactor-$image.digest; done ;;
esac
`
	path := filepath.Join(folder, "path")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(path, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", path+string(os.PathListSeparator)+"/usr/bin"+string(os.PathListSeparator)+"/bin")
	return func() []string {
		text, err := os.ReadFile(filepath.Join(folder, "calls"))
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
}

// newSession makes a session with a cluster of one node, in which the operator becomes ready as soon as it is installed.
func newSession(t *testing.T, what installation, kubeconfig string, objects ...client.Object) (*session, *bytes.Buffer) {
	t.Helper()
	chosen, err := recognizeText(t, kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	objects = append(objects,
		&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "node1"},
			Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "arm64"}},
		},
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: what.namespace, Name: what.release, Labels: map[string]string{"app.kubernetes.io/instance": what.release}},
			Status:     appsv1.DeploymentStatus{UpdatedReplicas: 1, Replicas: 1, AvailableReplicas: 1},
		},
	)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	scheme.AddKnownTypeWithName(crdKind, &metav1.PartialObjectMetadata{})
	scheme.AddKnownTypeWithName(crdKind.GroupVersion().WithKind(crdKind.Kind+"List"), &metav1.PartialObjectMetadataList{})
	output := &bytes.Buffer{}
	return &session{
		settings: settings{helm: "helm", kubectl: "kubectl", version: "v1", timeout: time.Minute},
		terminal: newTerminal(strings.NewReader(""), output, false),
		what:     what,
		target:   chosen,
		cluster:  &cluster{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()},
	}, output
}

const (
	wantBuild = "make image PLATFORMS=arm64 VERSION=v1 IMAGE=ghcr.io/reactor-operator/reactor-operator:v1 " +
		"TOKEN_SERVER_IMAGE=ghcr.io/reactor-operator/reactor-token-server:v1 EMULATOR_IMAGE=ghcr.io/reactor-operator/reactor-emulator:v1"
	wantHelm = "helm upgrade --install reactor-operator charts/reactor-operator --values bin/install/values.json --labels reactor.inc/installed-by=make-deploy --set replicas=2 --kube-context "
)

// The commands of kind, k3d, minikube and of a registry's push are stand-ins. How kind, k3d and minikube take these arguments is known from their
// documentation only.
func TestImagesGetIntoTheClusterOfTheContext(t *testing.T) {
	tests := map[string]struct {
		kubeconfig, registry string
		yes                  bool
		want                 []string
	}{
		"kind": {kubeconfig: kubeconfig("kind-dev", "kind-dev", "https://127.0.0.1:41234", ""), want: []string{
			wantBuild,
			"kind load image-archive bin/reactor-operator.tar --name dev",
			"kind load image-archive bin/reactor-token-server.tar --name dev",
			wantHelm + "kind-dev --namespace reactor-operator-system",
		}},
		"k3d": {kubeconfig: kubeconfig("k3d-dev", "k3d-dev", "https://0.0.0.0:6550", ""), want: []string{
			wantBuild,
			"k3d image import bin/reactor-operator.tar --cluster dev",
			"k3d image import bin/reactor-token-server.tar --cluster dev",
			wantHelm + "k3d-dev --namespace reactor-operator-system",
		}},
		"minikube": {kubeconfig: kubeconfig("minikube", "minikube", "https://192.168.49.2:8443", ""), want: []string{
			wantBuild,
			"minikube image load bin/reactor-operator.tar --profile minikube",
			"minikube image load bin/reactor-token-server.tar --profile minikube",
			wantHelm + "minikube --namespace reactor-operator-system",
		}},
		"a registry": {
			kubeconfig: kubeconfig("production", "production", "https://k8s.example.com", ""), registry: "registry.example.com/team", yes: true,
			want: []string{
				strings.NewReplacer("make image", "make image-push", published, "registry.example.com/team").Replace(wantBuild),
				wantHelm + "production --namespace reactor-operator-system",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			calls := standIns(t, "make", "kind", "k3d", "minikube", "helm")
			s, output := newSession(t, operatorInstallation, test.kubeconfig)
			s.registry, s.yes, s.helmArgs = test.registry, test.yes, []string{"--set", "replicas=2"}
			if err := s.up(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, calls()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			for _, want := range []string{s.target.context, "kubectl create secret generic reactor-api-key", "make undeploy", "wait until the operator is ready ... 0.0s"} {
				if !strings.Contains(output.String(), want) {
					t.Errorf("the output does not have %q:\n%s", want, output)
				}
			}
			namespace := &corev1.Namespace{}
			if err := s.cluster.Get(t.Context(), client.ObjectKey{Name: "reactor-operator-system"}, namespace); err != nil || namespace.Labels[installedByLabel] != "make-deploy" {
				t.Errorf("the namespace is %v: %v", namespace.Labels, err)
			}
		})
	}
}

func TestWhatCannotWorkIsRefusedBeforeAnythingIsBuilt(t *testing.T) {
	remote := kubeconfig("production", "production", "https://k8s.example.com", "")
	kind := kubeconfig("kind-dev", "kind-dev", "https://127.0.0.1:41234", "")
	tests := map[string]struct {
		kubeconfig, registry, answer string
		what                         installation
		objects                      []client.Object
		commands                     []string
		want                         string
	}{
		"no registry":                   {kubeconfig: remote, what: operatorInstallation, want: "REGISTRY"},
		"no consent, and no terminal": {kubeconfig: remote, what: operatorInstallation, registry: "registry.example.com/team", want: "YES=1"},
		"the answer is no":              {kubeconfig: remote, what: operatorInstallation, registry: "registry.example.com/team", answer: "no\n", want: "the answer was not yes"},
		"no answer":                     {kubeconfig: remote, what: operatorInstallation, registry: "registry.example.com/team", answer: "\n", want: "the answer was not yes"},
		"no kind":                       {kubeconfig: kind, what: operatorInstallation, commands: []string{"make"}, want: `the command "kind" is needed`},
		"another installation": {kubeconfig: kind, what: trialInstallation, want: "second operator", objects: []client.Object{
			&metav1.PartialObjectMetadata{
				TypeMeta:   metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
				ObjectMeta: metav1.ObjectMeta{Name: "reactortokens.reactor.inc"},
			},
		}},
		"a namespace of another user": {kubeconfig: kind, what: trialInstallation, want: `"reactor-try" exists`, objects: []client.Object{
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "reactor-try"}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.commands == nil {
				test.commands = []string{"make", "kind", "helm", "kubectl"}
			}
			calls := standIns(t, test.commands...)
			s, output := newSession(t, test.what, test.kubeconfig, test.objects...)
			s.registry = test.registry
			if test.answer != "" {
				s.terminal = newTerminal(strings.NewReader(test.answer), output, true)
			}
			err := s.up(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one with %q", err, test.want)
			}
			if got := calls(); got != nil {
				t.Errorf("these commands ran: %q", got)
			}
			if err := s.cluster.Get(t.Context(), client.ObjectKey{Name: test.what.namespace}, &corev1.Namespace{}); !apierrors.IsNotFound(err) {
				t.Errorf("the namespace exists, or: %v", err)
			}
		})
	}
}

func TestAQuestionNamesTheContextAndTheServer(t *testing.T) {
	calls := standIns(t, "make", "helm")
	s, output := newSession(t, operatorInstallation, kubeconfig("production", "production", "https://k8s.example.com", ""))
	s.registry, s.terminal = "registry.example.com/team", newTerminal(strings.NewReader("yes\n"), output, true)
	if err := s.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := `context "production", cluster at https://k8s.example.com is not on this machine. Install the operator as release "reactor-operator" in namespace "reactor-operator-system"? [y/N]`
	if !strings.Contains(output.String(), want) {
		t.Errorf("the output does not ask %q:\n%s", want, output)
	}
	if got := calls(); len(got) != 2 {
		t.Errorf("after the answer, these commands ran: %q", got)
	}
}

func TestAFailedCommandIsShownWithItsOutput(t *testing.T) {
	standIns(t, "kind", "helm")
	if err := os.WriteFile(filepath.Join("path", "make"), []byte("#!/bin/sh\necho 'cmd/manager/main.go:1: it does not compile' >&2\nexit 2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s, output := newSession(t, operatorInstallation, kubeconfig("kind-dev", "kind-dev", "https://127.0.0.1:41234", ""))
	err := s.up(t.Context())
	if err == nil || !strings.Contains(err.Error(), "it does not compile") || !strings.Contains(err.Error(), "run make image PLATFORMS=arm64") {
		t.Errorf("the error is %v", err)
	}
	if !strings.Contains(output.String(), "build the images for arm64 ... failed after") {
		t.Errorf("the output is\n%s", output)
	}
}

// helmRelease is a Secret of Helm.
func helmRelease(labels map[string]string) *corev1.Secret {
	all := map[string]string{"owner": "helm", "name": "reactor-operator"}
	maps.Copy(all, labels)
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "reactor-operator-system", Name: "sh.helm.release.v1.reactor-operator.v1", Labels: all}}
}

func TestARemovalLeavesWhatTheCommandsDidNotInstall(t *testing.T) {
	marked := map[string]string{installedByLabel: "make-deploy"}
	uninstall := []string{"helm uninstall reactor-operator --wait --timeout 6m0s --kube-context kind-dev --namespace reactor-operator-system"}
	tests := map[string]struct {
		release, namespace map[string]string // labels
		wantCalls          []string
		wantNamespace      bool
		wantOutput         string
	}{
		"all is of make deploy":                 {release: marked, namespace: marked, wantCalls: uninstall, wantOutput: "the namespace reactor-operator-system with all"},
		"the namespace existed before":          {release: marked, wantCalls: uninstall, wantNamespace: true, wantOutput: "the namespace reactor-operator-system is kept"},
		"a user installed a release by its own": {wantNamespace: true, wantOutput: "The cluster has no installation of `make deploy`"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			calls := standIns(t, "helm")
			s, output := newSession(t, operatorInstallation, kubeconfig("kind-dev", "kind-dev", "https://127.0.0.1:41234", ""),
				&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "reactor-operator-system", Labels: test.namespace}}, helmRelease(test.release))
			if err := s.down(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.wantCalls, calls()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if !strings.Contains(output.String(), test.wantOutput) {
				t.Errorf("the output does not have %q:\n%s", test.wantOutput, output)
			}
			err := s.cluster.Get(t.Context(), client.ObjectKey{Name: "reactor-operator-system"}, &corev1.Namespace{})
			if exists := !apierrors.IsNotFound(err); exists != test.wantNamespace {
				t.Errorf("the namespace exists: %t, %v", exists, err)
			}
		})
	}
}

func TestARemovalFromAClusterThatIsNotLocalNeedsConsent(t *testing.T) {
	calls := standIns(t, "helm")
	s, output := newSession(t, operatorInstallation, kubeconfig("production", "production", "https://k8s.example.com", ""),
		helmRelease(map[string]string{installedByLabel: "make-deploy"}))
	if err := s.down(t.Context()); err == nil || !strings.Contains(err.Error(), "YES=1") {
		t.Errorf("the error is %v, want one with YES=1", err)
	}
	if got := calls(); got != nil {
		t.Errorf("these commands ran: %q", got)
	}
	if !strings.Contains(output.String(), `the Helm release "reactor-operator"`) {
		t.Errorf("the output does not list what would go:\n%s", output)
	}
}

func TestTwoTokensEndTheTrialAndATokenThatIsShownAgainCountsOnce(t *testing.T) {
	const (
		absent = "2026-01-31T10:00:00Z no token: /var/run/secrets/reactor/jwt does not exist. A token is printed when it appears"
		first  = `2026-01-31T10:00:01Z token "aa01" expires 2026-01-31T10:01:00Z, 59s left`
		again  = `2026-01-31T10:00:09Z token "aa01" expires 2026-01-31T10:01:00Z, 51s left`
		second = `2026-01-31T10:00:40Z token "aa02" expires 2026-01-31T10:01:40Z, 1m0s left`
		third  = `2026-01-31T10:01:19Z token "aa03" expires 2026-01-31T10:02:19Z, 1m0s left`
	)
	lines, shown := &tokenLines{}, []string(nil)
	show := func(line string) { shown = append(shown, line) }
	// The pod was started again in between.
	for _, log := range [][]string{{absent, first}, {again, second, third}} {
		if err := lines.read(strings.NewReader(strings.Join(log, "\n")+"\n"), show); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{absent, first, again, second}, shown); diff != "" || lines.count != wantTokens {
		t.Errorf("%d tokens (-want +got):\n%s", lines.count, diff)
	}
}
