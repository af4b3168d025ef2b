package integration

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// bind does what the scheduler does; no node of that name runs here.
func (w *world) bind(pod *corev1.Pod) {
	w.t.Helper()
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: "worker"}}
	if err := w.kube.SubResource("binding").Create(w.t.Context(), pod, binding); err != nil {
		w.t.Fatal("bind the pod:", err)
	}
}

// runsAsBilled creates a session that runs, and returns its pod and the Reactor session that its program has told of.
func (w *world) runsAsBilled(name string) (pod *corev1.Pod, id string) {
	w.t.Helper()
	w.createSession(name, nil)
	pod = w.podOf(name, 1)
	id = w.startReactorSession(pod)
	w.bind(pod)
	w.play(pod, corev1.PodRunning, running())
	w.sessionIs(name, v1alpha1.ReasonRunning)
	return pod, id
}

// waitForStop waits until the kubelet is to end the pod.
func (w *world) waitForStop(pod *corev1.Pod) {
	w.t.Helper()
	expect.Eventually(w.t, "the pod to be stopped", func() error {
		if err := w.kube.Get(w.t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if deadline := pod.Spec.ActiveDeadlineSeconds; deadline == nil || *deadline > 1 {
			return errors.New("its deadline is not lowered")
		}
		return nil
	})
}

func TestAfterADrainANamespaceCanBeDeletedWithoutTheOperator(t *testing.T) {
	t.Parallel()
	w := sessionWorld(t)
	o := w.start()
	pod, id := w.runsAsBilled("night")
	o.kill()
	drain := w.drain()
	w.waitForStop(pod)
	w.play(pod, corev1.PodFailed, ended(metav1.Now(), 137, `{"sessionId":"`+id+`"}`))
	if code := drain.waitForExit(); code != 0 {
		t.Fatalf("the drain ended with exit code %d", code)
	}
	drain.checkLogFor(forbidden)
	if open := w.reactor.Ledger().Open(); len(open) != 0 {
		t.Errorf("%d Reactor sessions are open: %+v", len(open), open)
	}
	session := w.sessionIs("night", v1alpha1.ReasonSuspended)
	if got := session.Status.RecentAttempts[0]; got.Class != v1alpha1.ClassStopped || got.Cleanup != v1alpha1.CleanupEnded {
		t.Errorf("the attempt is told as %+v", got)
	}
	if err := w.kube.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil { // as the kubelet does at the end
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	w.deleteObject(namespace)
	w.waitUntilGone(namespace)
}

// As the hook of an uninstallation meets it. That the pod ends is played by this test, for both of them.
func TestADrainBesideTheOperatorAndOfAPodThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	w := sessionWorld(t)
	w.start()
	pod, _ := w.runsAsBilled("night")
	drain := w.drain("--timeout=5s")
	if code := drain.waitForExit(); code != 0 {
		t.Fatalf("the drain ended with exit code %d", code)
	}
	w.waitForStop(pod)
	session := &v1alpha1.ReactorSession{}
	if err := w.kube.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "night"}, session); err != nil {
		t.Fatal(err)
	}
	if len(session.Finalizers)+len(pod.Finalizers) > 0 || !session.Spec.Suspended() {
		t.Errorf("the session is kept by %v, the pod by %v; suspended: %t", session.Finalizers, pod.Finalizers, session.Spec.Suspended())
	}
	if !strings.Contains(drain.said.String(), "CleanupUnverified") { // the event may be lost with the process that tells it
		t.Error("the drain did not say that it does not know how the session ended")
	}
}

func TestADrainOfAClusterWithoutSessionsHasNothingToDo(t *testing.T) {
	t.Parallel()
	w := sessionWorld(t)
	if code := w.drain().waitForExit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
