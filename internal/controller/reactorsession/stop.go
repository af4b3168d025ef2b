package reactorsession

import (
	"context"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// A deletion takes the logs of a pod away. So the operator stops a pod as follows:
//
//  1. It writes the stop reason into status.
//  2. It sets the pod's activeDeadlineSeconds to 1, which has passed. The kubelet then ends the containers with the grace period of the
//     spec, and native sidecars after them. When all have ended, the phase is Failed and the reason DeadlineExceeded
//     (k8s.io/kubernetes/pkg/kubelet/active_deadline.go). The pod stays, with its logs, its termination message and its exit code.
//  3. If the pod still runs a minute after its grace period, its node may be lost: the operator deletes it. Kubernetes can only take
//     a pod away from a lost node that is being deleted, such as when the node is tainted node.kubernetes.io/out-of-service.
//
// One case is judged less exactly than after a deletion. A program with sidecars ends by itself, and less than a second later, before
// anybody sees that, the deadline is lowered. Nothing tells when it was lowered, so the attempt counts as stopped.

// stopping stops the pod of an attempt whose stop reason stands in status. A pod that no node has, such as one that is gated, has no
// logs, and no kubelet that would see its deadline. The pod of a deleted session goes with it anyway.
func stopping(session *v1alpha1.ReactorSession, seen *observation) *plan {
	reason, pod := seen.status.CurrentAttempt.StopReason, seen.pod
	stop := &plan{do: doDeletePod, delete: pod.Name, show: waitFor(v1alpha1.ReasonStopping, "the pod is being stopped: %s", reason)}
	if session.DeletionTimestamp != nil || pod.Spec.NodeName == "" {
		return stop
	}
	if !attempts.IsDeadlineLowered(pod) {
		stop.do, stop.delete = doLowerDeadline, ""
		return stop
	}
	overdue := seen.sightings[pod.UID].StopOverdueAt(pod)
	if seen.now.Before(overdue) {
		stop.do, stop.delete, stop.until = doNothing, "", overdue
	}
	return stop
}

// lowerDeadline has the kubelet end the pod. Where the patch fails, such as by a policy, the pod is deleted: to end the billing matters
// more than the logs.
func (r *Reconciler) lowerDeadline(ctx context.Context, pod *corev1.Pod) result {
	_, err := r.patch(ctx, pod, podPatch(map[string]any{"uid": pod.UID}, map[string]any{"activeDeadlineSeconds": attempts.StopDeadline}))
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return from(err)
	}
	ctrl.LoggerFrom(ctx).Info("the deadline of the pod cannot be lowered: the pod is deleted, and its logs with it", "pod", pod.Name, "error", err.Error())
	return from(r.delete(ctx, pod.DeepCopy(), client.Preconditions{UID: &pod.UID}))
}
