package integration

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// queueGate is the gate of a queue. Kueue's is kueue.x-k8s.io/admission.
const queueGate = "example.com/queue"

// admit is what Kueue writes when it admits a pod: one patch over the version that it has seen, with what the flavor of its quota says.
func (w *world) admit(pod *corev1.Pod) {
	w.t.Helper()
	expect.Eventually(w.t, "the queue to admit pod "+pod.Name, func() error {
		if err := w.kube.Get(w.t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		before := pod.DeepCopy()
		pod.Spec.SchedulingGates = slices.DeleteFunc(pod.Spec.SchedulingGates, func(gate corev1.PodSchedulingGate) bool { return gate.Name == queueGate })
		pod.Spec.NodeSelector = map[string]string{"example.com/flavor": "spot"}
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: "spot", Operator: corev1.TolerationOpExists})
		pod.Labels["kueue.x-k8s.io/podset"] = "main"
		return w.kube.Patch(w.t.Context(), pod, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	})
}

func TestAPodInAQueueGetsItsTokenWhenItIsAdmitted(t *testing.T) {
	t.Parallel()
	w := sessionWorld(t)
	w.start("--session-starts-per-minute=0", "--sessions-per-key=1")
	w.createSession("night", func(s *v1alpha1.ReactorSession) {
		s.Spec.Template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: queueGate}}
	})
	w.sessionIs("night", v1alpha1.ReasonSchedulingGated)
	pod := w.podOf("night", 1)
	w.createSession("other", nil)
	w.sessionIs("other", v1alpha1.ReasonStarting) // the pod in the queue has no slot
	if err := w.kube.Get(t.Context(), client.ObjectKeyFromObject(pod), &v1alpha1.ReactorToken{}); !apierrors.IsNotFound(err) || w.mints() != 1 {
		t.Errorf("%d mints, and reading the token of the pod that waits: %v", w.mints(), err)
	}
	w.admit(pod)
	w.sessionIs("night", v1alpha1.ReasonWaitingForCapacity)
	if err := w.kube.Delete(t.Context(), &v1alpha1.ReactorSession{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "other"}}); err != nil {
		t.Fatal(err)
	}
	session := w.sessionIs("night", v1alpha1.ReasonStarting)
	if attempt := session.Status.CurrentAttempt; attempt.PodUID != string(pod.UID) || attempt.TokenIssuedTime == nil {
		t.Errorf("the attempt is %+v", attempt)
	}
	expect.Eventually(t, "the last gate to be gone, and nothing else", func() error {
		if err := w.kube.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if len(pod.Spec.SchedulingGates) > 0 || pod.Spec.NodeSelector["example.com/flavor"] != "spot" || pod.Labels["kueue.x-k8s.io/podset"] != "main" {
			return fmt.Errorf("gates %v, node selector %v, labels %v", pod.Spec.SchedulingGates, pod.Spec.NodeSelector, pod.Labels)
		}
		return nil
	})
	if pod.Annotations[attempts.GatedAnnotation] == "" || session.Status.Attempts != 1 {
		t.Errorf("annotations %v, %d attempts", pod.Annotations, session.Status.Attempts)
	}
}

// A queue gives a pod up before it has admitted it: it is deleted while no node has it.
func TestAPodInAQueueIsDeletedWithItsSession(t *testing.T) {
	t.Parallel()
	w := sessionWorld(t)
	w.start()
	w.createSession("night", func(s *v1alpha1.ReactorSession) {
		s.Spec.Template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: queueGate}}
	})
	pod := w.podOf("night", 1)
	session := &v1alpha1.ReactorSession{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "night"}}
	if err := w.kube.Delete(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	w.waitUntilGone(session)
	w.waitUntilGone(pod)
	if w.mints() != 0 {
		t.Errorf("%d mints", w.mints())
	}
}
