package integration

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// deployment creates a Deployment whose pods read the token once.
func (w *world) deployment(name string) {
	w.t.Helper()
	labels := map[string]string{"app": name}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	deployment.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	deployment.Spec.Template.Labels = labels
	deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "main", Image: "example.com/none"}}
	if err := w.kube.Create(w.t.Context(), deployment); err != nil {
		w.t.Fatal(err)
	}
}

// rolledFor returns the generation of a Deployment, and the id of the token that its pods were rolled for.
func (w *world) rolledFor(name string) (generation int64, tokenID string) {
	w.t.Helper()
	deployment := &appsv1.Deployment{}
	if err := w.kube.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, deployment); err != nil {
		w.t.Fatal(err)
	}
	return deployment.Generation, deployment.Spec.Template.Annotations[v1alpha1.TokenIDAnnotation]
}

func restarting(kind v1alpha1.WorkloadKind, name string) edit {
	return func(token *v1alpha1.ReactorToken) {
		token.Spec.Restart = append(token.Spec.Restart, v1alpha1.WorkloadReference{Kind: kind, Name: name})
	}
}

// waitUntilDelivered waits until status says that the Secret's token has been handed out.
func (w *world) waitUntilDelivered(name string) {
	w.t.Helper()
	w.waitFor(name, "the delivery of its token", func(token *v1alpha1.ReactorToken) error {
		if want := idOf(w.secret(token.TargetSecretName())); token.Status.DeliveredTokenID != want {
			return fmt.Errorf("status tells of token %q, and the Secret holds %q", token.Status.DeliveredTokenID, want)
		}
		return nil
	})
}

func TestAWorkloadIsRolledWhenItsTokenChangesAndOnlyThen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.grant("watched-namespace/restart")
	o := w.start("--allow-restart")
	w.deployment("web")
	token := w.create("web", restarting(v1alpha1.KindDeployment, "web"), restarting(v1alpha1.KindStatefulSet, "gone"), restarting(v1alpha1.KindDaemonSet, "gone"))
	first := w.waitUntilReady("web")
	w.waitUntilDelivered("web")
	if generation, id := w.rolledFor("web"); generation != 1 || id != "" {
		t.Error("the first token has rolled the Deployment, which has just been started by it")
	}

	w.requestRenewal("web", "now")
	second := w.waitForAnother("web", idOf(first))
	w.waitUntilDelivered("web")
	generation, id := w.rolledFor("web")
	if generation != 2 || id != idOf(second) {
		t.Errorf("the Deployment is at generation %d, for token %q and not %q", generation, id, idOf(second))
	}
	w.waitForEvent(token.UID, "Restarted")

	// Everything else that happens to the Secret or the object rolls nothing.
	w.editSecret("web", addTheirs)
	w.edit("web", furnished)
	w.waitUntilReady("web")
	w.settle(o)
	o.kill()
	o = w.start("--allow-restart")
	w.settle(o)
	if again, _ := w.rolledFor("web"); again != generation {
		t.Error("the Deployment was rolled without a new token")
	}
}

func TestACrashBeforeARestartLosesNoRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.grant("watched-namespace/restart")
	o := w.start("--allow-restart")
	w.deployment("web")
	w.create("web", restarting(v1alpha1.KindDeployment, "web"))
	first := w.waitUntilReady("web")
	w.waitUntilDelivered("web")
	roll := w.api.stopNext(t, writeOf("PATCH", "deployments"))
	w.requestRenewal("web", "now")
	roll.waitUntilReached("the patch of the Deployment")
	o.kill()
	roll.goOn(loseRequest)
	w.start("--allow-restart")
	second := w.waitForAnother("web", idOf(first))
	w.waitUntilDelivered("web")
	if _, id := w.rolledFor("web"); id != idOf(second) {
		t.Error("the Deployment was not rolled for the token that was written before the crash")
	}
	if mints := w.mints(); mints != 2 {
		t.Errorf("%d mints, want the first and the renewal", mints)
	}
}

// runningPod creates a pod that mounts the Secret, and has it run as far as the API server is concerned.
func (w *world) runningPod(name, secret string, phase corev1.PodPhase) {
	w.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: map[string]string{"app": "web"}}}
	pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "example.com/none"}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: secret},
	}}}
	expect.Eventually(w.t, "the pod to be admitted", func() error { return w.kube.Create(w.t.Context(), pod.DeepCopy()) }) // its service account is on its way
	pod.Status.Phase = phase
	if err := w.kube.Status().Update(w.t.Context(), pod); err != nil {
		w.t.Fatal(err)
	}
}

// toldOf is the id of the token that the pod was told of.
func (w *world) toldOf(name string) string {
	w.t.Helper()
	pod := &corev1.Pod{}
	if err := w.kube.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, pod); err != nil {
		w.t.Fatal(err)
	}
	return pod.Annotations[v1alpha1.TokenIDAnnotation]
}

func promptly(token *v1alpha1.ReactorToken) {
	token.Spec.PromptDelivery = &v1alpha1.PromptDelivery{}
	token.Spec.PromptDelivery.PodSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
}

func TestRunningPodsThatMountTheSecretAreToldOfANewToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.grant("watched-namespace/prompt-delivery")
	o := w.start("--allow-prompt-delivery")
	w.runningPod("runs", "web", corev1.PodRunning)
	w.runningPod("runs-too", "web", corev1.PodRunning)
	w.runningPod("waits", "web", corev1.PodPending)
	w.runningPod("mounts-another", "other", corev1.PodRunning)
	w.create("web", promptly)
	secret := w.waitUntilReady("web")
	for _, name := range []string{"now", "later"} {
		w.waitUntilDelivered("web")
		for pod, want := range map[string]string{
			"runs": idOf(secret), "runs-too": idOf(secret), "waits": "", "mounts-another": "",
		} {
			if got := w.toldOf(pod); got != want {
				t.Errorf("pod %s was told of token %q, want %q", pod, got, want)
			}
		}
		w.requestRenewal("web", name)
		secret = w.waitForAnother("web", idOf(secret))
	}
	w.settle(o)
	patches := w.api.since(0, writeOf("PATCH", "pods"))
	if len(patches) != 6 {
		t.Errorf("%d patches of pods, want one for each of two pods and three tokens", len(patches))
	}
}

func TestWhatTheInstallationDoesNotAllowIsNotDoneAndSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start("--controllers=tokens") // with sessions, it reads pods of theirs
	w.deployment("web")
	w.runningPod("runs", "web", corev1.PodRunning)
	token := w.create("web", promptly, restarting(v1alpha1.KindDeployment, "web"))
	first := w.waitUntilReady("web")
	w.waitForEvent(token.UID, "PromptDeliveryNotAllowed")
	w.requestRenewal("web", "now")
	w.waitForAnother("web", idOf(first))
	w.waitForEvent(token.UID, "RestartNotAllowed")
	w.settle(o)
	if generation, _ := w.rolledFor("web"); generation != 1 {
		t.Error("the Deployment was rolled")
	}
	if id := w.toldOf("runs"); id != "" {
		t.Error("the pod was annotated")
	}
	asked := w.api.since(0, func(r request) bool { return r.resource == "deployments" || r.resource == "pods" })
	if len(asked) > 0 {
		t.Errorf("requests about what is not allowed, such as %s", asked[0])
	}
}

// An installation that allows what its Role does not must not spend tokens on it.
func TestAMissingRoleForRestartsIsToldAndCostsNoMint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start("--allow-restart")
	w.deployment("web")
	token := w.create("web", restarting(v1alpha1.KindDeployment, "web"))
	first := w.waitUntilReady("web")
	w.waitUntilDelivered("web")
	mark := w.api.mark()
	w.requestRenewal("web", "now")
	second := w.waitForAnother("web", idOf(first))
	w.waitForEvent(token.UID, "DeliveryRefused")
	if count := len(w.api.since(mark, writeOf("PATCH", "deployments"))); count != 1 {
		t.Errorf("%d attempts", count)
	}
	w.grant("watched-namespace/restart")
	w.edit("web", restarting(v1alpha1.KindDeployment, "another")) // a new spec does not wait for the next attempt
	w.waitUntilDelivered("web")
	if _, id := w.rolledFor("web"); id != idOf(second) {
		t.Error("the Deployment was not rolled once that was allowed")
	}
	if mints := w.mints(); mints != 2 {
		t.Errorf("%d mints, want the first and the renewal", mints)
	}
}
