package e2e

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/node"
)

// newReleaseWorld makes a world without an operator: the chart installs it, as a pod that works in this namespace.
func newReleaseWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, key: "rk_" + strings.ToLower(rand.Text()+rand.Text())}
	w.makeNamespace()
	w.kubectl("label", "namespace", w.namespace, "pod-security.kubernetes.io/enforce=restricted")
	w.startReactor()
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: keySecret},
		StringData: map[string]string{"api-key": w.key},
	})
	return w
}

// helm runs Helm as the administrator, in the world's namespace.
func (w *world) helm(args ...string) string {
	w.t.Helper()
	command := exec.CommandContext(w.t.Context(), cluster.helm, append([]string{"--namespace=" + w.namespace}, args...)...)
	command.Env = append(os.Environ(), "KUBECONFIG="+cluster.ControlPlane.KubeconfigPath(), "HOME="+w.t.TempDir())
	output, err := command.CombinedOutput()
	if err != nil {
		w.t.Fatalf("helm %s: %v\n%s\n%s", strings.Join(args, " "), err, output, w.kubectl("describe", "pods,jobs,reactortokens"))
	}
	return string(output)
}

// install packs the chart of a checkout and installs it with this image and these values, and waits until the operator is ready.
func (w *world) install(checkout, image string, values map[string]any) {
	w.t.Helper()
	w.helm(append([]string{"install", operatorName, w.pack(checkout, "1.2.3")}, w.values(image, values)...)...)
}

// pack packs the chart of a checkout.
func (w *world) pack(checkout, version string) string {
	w.t.Helper()
	folder := w.t.TempDir()
	w.helm("package", filepath.Join(checkout, "charts", "reactor-operator"), "--version="+version, "--destination", folder)
	return filepath.Join(folder, operatorName+"-"+version+".tgz")
}

// values are the arguments of an installation or an upgrade.
func (w *world) values(image string, more map[string]any) []string {
	w.t.Helper()
	registry, path, _ := strings.Cut(image, "/")
	repository, tag, _ := strings.Cut(path, ":")
	values := map[string]any{
		"scope":   "OwnNamespace",
		"crds":    map[string]any{"install": false},
		"image":   map[string]any{"registry": registry, "repository": repository, "tag": tag},
		"reactor": map[string]any{"apiURL": w.url},
		"logging": map[string]any{"level": "debug"},
		"tests":   map[string]any{"apiKeySecretRef": map[string]any{"name": keySecret}},
	}
	maps.Copy(values, more)
	text, err := json.Marshal(values)
	if err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return []string{"--values", file, "--wait", "--timeout=3m"}
}

// olderCheckout is the commit before the last change of the chart or of the API, and an image of its operator. A clone without history
// has but this commit.
func (w *world) olderCheckout() (checkout, image string) {
	w.t.Helper()
	checkout, image = w.t.TempDir(), "localhost/reactor-operator:older"
	archive := filepath.Join(w.t.TempDir(), "manager.tar")
	script := `change=$(git log -1 --first-parent --format=%H -- charts api)
		commit=$(git rev-parse --verify --quiet "$change^") || commit=HEAD
		git archive "$commit" | tar -x -C "$1"
		git log -1 --format='%h %s' "$commit"`
	command := exec.CommandContext(w.t.Context(), "bash", "-euo", "pipefail", "-c", script, "older", checkout)
	command.Dir = repository
	output, err := command.CombinedOutput()
	if err != nil {
		w.t.Fatalf("the commit before the last change of the chart: %v\n%s", err, output)
	}
	w.t.Logf("the older release is that of %s", output)
	if err := errors.Join(node.BuildImageOf(w.t.Context(), checkout, image, module+"/cmd/manager", archive), cluster.Import(w.t.Context(), archive)); err != nil {
		w.t.Fatal(err)
	}
	return checkout, image
}

// leader waits until the operator has so many pods, of which one leads that is not this other one, and returns its name.
func (w *world) leader(replicas int, other string) string {
	w.t.Helper()
	name := ""
	w.eventually("a pod of the operator that leads", func() error {
		pods, lease := &corev1.PodList{}, &coordinationv1.Lease{}
		if err := cluster.kube.List(w.t.Context(), pods, client.InNamespace(w.namespace), client.MatchingLabels{"app.kubernetes.io/component": "manager"}); err != nil {
			return err
		}
		if err := w.get("reactor-operator.reactor.inc", lease); err != nil {
			return err
		}
		if lease.Spec.HolderIdentity == nil {
			return errors.New("nobody leads")
		}
		holder, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
		known := slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool { return pod.Name == holder })
		if len(pods.Items) != replicas || !known || holder == other {
			return fmt.Errorf("there are %d pods, and the lease is held by %q", len(pods.Items), holder)
		}
		name = holder
		return nil
	})
	return name
}

func TestAReleaseOfTheChartIsTestedUpgradedRolledBackAndUninstalledWithASessionRunning(t *testing.T) {
	t.Parallel()
	w := newReleaseWorld(t)
	older, olderImage := w.olderCheckout()
	w.install(older, olderImage, nil)

	w.helm("test", operatorName, "--timeout=3m")
	if w.reactor.Ledger().Mints() == 0 {
		t.Error("helm test succeeds without a token")
	}

	w.kubectl("apply", "-f", filepath.Join(repository, "config", "samples", "reactortoken-minimal.yaml"))
	w.kubectl("wait", "--for=condition=Ready", "reactortoken/web", "--timeout=1m")
	w.session("night", nil)
	w.runs("night")

	mints, before := w.reactor.Ledger().Mints(), w.leader(1, "")
	w.helm(append([]string{"upgrade", operatorName, w.pack(repository, "1.3.0")}, w.values(managerImage, nil)...)...)
	upgraded := w.leader(1, before)
	w.helm("rollback", operatorName, "1", "--wait", "--timeout=3m")
	w.leader(1, upgraded)
	if got := w.reactor.Ledger(); got.Mints() != mints || len(got.Sessions) != 1 || len(got.Open()) != 1 {
		t.Errorf("after an upgrade and a rollback, %d tokens are minted instead of %d, and of %d Reactor sessions %d are open",
			got.Mints(), mints, len(got.Sessions), len(got.Open()))
	}
	w.helm("rollback", operatorName, "2", "--wait", "--timeout=3m")

	w.helm("uninstall", operatorName, "--wait", "--timeout=3m")
	w.wantEnd(w.waitForSession("night", v1alpha1.ReasonSuspended), v1alpha1.ClassStopped, "Suspended", v1alpha1.CleanupAlreadyOver)
	if err := w.get(operatorName, &appsv1.Deployment{}); err == nil {
		t.Error("the operator is still there")
	}
	token, secret := &v1alpha1.ReactorToken{}, &corev1.Secret{}
	if err := w.get("web", token); err != nil {
		t.Error("the token is gone:", err)
	}
	if err := w.get("web", secret); err != nil {
		t.Error("the token's Secret is gone:", err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	if err := cluster.kube.Delete(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	w.waitUntilGone(namespace)
}

func TestASecondReplicaTakesOverFromALeaderThatIsKilled(t *testing.T) {
	t.Parallel()
	w := newReleaseWorld(t)
	w.install(repository, managerImage, map[string]any{"replicas": 2})
	w.token("token", v1alpha1.ReactorTokenSpec{})
	first := w.waitForToken("token", "")
	w.session("night", nil)
	w.runs("night")
	leader, mints := w.leader(2, ""), w.reactor.Ledger().Mints()

	killed := time.Now()
	w.kubectl("delete", "pod", leader, "--grace-period=0", "--force") // it does not release its lease
	w.renew("token")
	w.waitForToken("token", first)
	t.Logf("another replica had done what was due %s after the leader was killed", time.Since(killed).Round(100*time.Millisecond))
	w.leader(2, leader)
	if got := w.reactor.Ledger(); got.Mints() != mints+1 || len(got.Sessions) != 1 || len(got.Open()) != 1 {
		t.Errorf("%d tokens are minted instead of %d, and of %d Reactor sessions %d are open", got.Mints(), mints+1, len(got.Sessions), len(got.Open()))
	}
}

// A workload that mounts the Secret, as the documentation says, and an operator in a pod: how long a new token takes from the one to
// the other. Alone, because eight tests at a time keep a small machine busier than nodes are.
func TestAReleaseHandsRenewedTokensToARunningPodAtOnce(t *testing.T) {
	w := newReleaseWorld(t)
	w.install(repository, managerImage, map[string]any{"allowPromptDelivery": true})
	type workload struct {
		name, latest string
		seen         *sightings
		pod          *corev1.Pod
	}
	var workloads []*workload
	for _, name := range []string{"one", "two", "three"} { // a token may be renewed ten times in a short time, and no more
		labels := map[string]string{"app": name}
		spec := mounting(name)
		restrict(&spec)
		w.runPod(name, labels, spec)
		w.token(name, v1alpha1.ReactorTokenSpec{PromptDelivery: &v1alpha1.PromptDelivery{PodSelector: &metav1.LabelSelector{MatchLabels: labels}}})
		mounted := &workload{name: name, latest: w.waitForToken(name, ""), pod: w.runningPod(name), seen: w.follow(name)}
		w.eventually("the first token in the pod", func() error { return mounted.seen.latest(mounted.latest) })
		workloads = append(workloads, mounted)
	}
	const samples = 20
	var took []time.Duration
	for i := range samples {
		mounted := workloads[i%len(workloads)]
		w.renew(mounted.name)
		mounted.latest = w.waitForToken(mounted.name, mounted.latest)
		changed := time.Now()
		w.eventually("the renewed token in the pod", func() error { return mounted.seen.latest(mounted.latest) })
		took = append(took, time.Since(changed))
	}
	slices.Sort(took)
	t.Logf("the file changed after the Secret, of %d times: median %s, worst %s, with a kubelet that looks every %s by itself",
		samples, took[samples/2].Round(time.Millisecond), took[samples-1].Round(time.Millisecond), *syncFrequency)
	for _, mounted := range workloads {
		if after := w.runningPod(mounted.name); after.UID != mounted.pod.UID || restarts(after) != 0 {
			t.Errorf("pod %q is another one, or was restarted", mounted.name)
		}
	}
}

// restrict gives a pod what Pod Security restricted asks for.
func restrict(spec *corev1.PodSpec) {
	spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: new(true), RunAsUser: new(int64(65532)), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	for i := range spec.Containers {
		spec.Containers[i].SecurityContext = &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}
	}
}
