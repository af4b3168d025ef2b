package reactorsession

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// What Kueue v0.17.0 writes for plain pods (sigs.k8s.io/kueue/pkg/controller/jobs/pod: pod_webhook.go and pod_controller.go).
const (
	kueueManaged  = "kueue.x-k8s.io/managed" // a label, and a finalizer
	kueueGate     = "kueue.x-k8s.io/admission"
	kueueRoleHash = "kueue.x-k8s.io/role-hash"
)

// queued is a session whose template names a queue.
func queued(session *v1alpha1.ReactorSession) {
	session.Spec.Template.Labels = map[string]string{attempts.QueueNameLabel: "night"}
}

// kueue is Kueue's webhook: it gates the pods of a queue when they are created. all is for an installation that manages pods without the label, too.
func (w *world) kueue(all bool) {
	w.api.MutateWith(func(created client.Object) {
		pod, ok := created.(*corev1.Pod)
		if !ok || pod.Labels[attempts.QueueNameLabel] == "" && !all {
			return
		}
		pod.Labels[kueueManaged] = "true"
		pod.Finalizers = append(pod.Finalizers, kueueManaged)
		pod.Annotations[kueueRoleHash] = "5d1dc6e2"
		pod.Spec.SchedulingGates = append(pod.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: kueueGate})
	})
}

// onePod is the pod of a session that has not ended.
func (w *world) onePod(session string) *corev1.Pod {
	w.Helper()
	pods := w.pods()
	for i := range pods {
		if pods[i].Annotations[attempts.SessionAnnotation] == session && !outcome.HasEnded(&pods[i]) {
			return &pods[i]
		}
	}
	w.Fatalf("session %s has no pod that has not ended", session)
	return nil
}

// admit is what Kueue writes when it admits a pod: one patch, over the version that it has observed.
func (w *world) admit(session string) {
	w.Helper()
	pod := w.onePod(session)
	before := pod.DeepCopy()
	pod.Spec.SchedulingGates = slices.DeleteFunc(pod.Spec.SchedulingGates, func(gate corev1.PodSchedulingGate) bool { return gate.Name == kueueGate })
	pod.Spec.NodeSelector = map[string]string{"example.com/flavor": "spot"}
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: "spot", Operator: corev1.TolerationOpExists})
	pod.Labels = maps.Clone(pod.Labels)
	pod.Labels["kueue.x-k8s.io/podset"] = "main"
	if err := w.api.Patch(w.Context(), pod, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		w.Fatal(err)
	}
}

// preempt is what Kueue writes when it preempts a pod that it has admitted. Then it removes its finalizer.
func (w *world) preempt(session string) {
	w.Helper()
	pod := w.onePod(session)
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
		Type: "TerminationTarget", Status: corev1.ConditionTrue, Reason: "StoppedByEviction", LastTransitionTime: metav1.NewTime(time.Now()),
	})
	if err := w.api.Status().Update(w.Context(), pod); err != nil {
		w.Fatal(err)
	}
	w.remove(pod)
	w.release(pod)
}

// release removes Kueue's finalizer from a pod.
func (w *world) release(pod *corev1.Pod) {
	w.Helper()
	if err := w.api.Get(w.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
		w.Fatal(err)
	}
	pod.Finalizers = without(pod.Finalizers, kueueManaged)
	if err := w.api.Update(w.Context(), pod); err != nil {
		w.Fatal(err)
	}
}
