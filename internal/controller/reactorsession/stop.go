package reactorsession

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// A deletion removes the logs of a pod. So the operator stops a pod as follows:
//
//  1. It records the stop reason in status.
//  2. It sets the pod's activeDeadlineSeconds to 1, which has passed. The kubelet then ends the containers with the grace period of the
//     spec, and native sidecars after them. When all have ended, the phase is Failed and the reason DeadlineExceeded
//     (k8s.io/kubernetes/pkg/kubelet/active_deadline.go). The pod stays, with its logs, its termination message and its exit code.
//  3. If the pod still runs a minute after its grace period, its node may be lost: the operator deletes it. Kubernetes can only remove
//     a pod from a lost node if it is being deleted, such as when the node is tainted node.kubernetes.io/out-of-service.
//
// In one case the result is less exact than after a deletion. A program with sidecars ends by itself, and less than a second later, before
// anything shows that, the deadline is lowered. Nothing records when it was lowered, so the attempt counts as stopped.

// stopFor records in status why the attempt is stopped.
func stopFor(reason string) *plan {
	return &plan{do: doStop, stop: reason, ready: podIsStopped(reason)}
}

func podIsStopped(reason string) *readyCondition {
	return waitFor(v1alpha1.ReasonStopping, "the pod is being stopped: %s", reason)
}

// stopWanted returns why the attempt must stop; or, if it may continue, when that changes without an event.
func stopWanted(session *v1alpha1.ReactorSession, observed *observation) (reason string, stopAt time.Time) {
	status, times := outcome.Program(observed.pod), observed.state.podTimes[observed.pod.UID]
	switch {
	case status != nil && status.State.Terminated != nil:
		return stopAfterProgram(session, observed.pod), time.Time{}
	case session.DeletionTimestamp != nil:
		return outcome.StopDeleted, time.Time{}
	case session.Spec.Suspended():
		return outcome.StopSuspended, time.Time{}
	case status != nil && status.State.Running != nil:
		left := attempts.Remaining(&session.Spec, &observed.status)
		if left == 0 {
			return "", time.Time{}
		}
		reason, stopAt = outcome.StopDuration, observed.now.Add(left-times.RanFor(status.State.Running.StartedAt.Time, observed.now))
	case attempts.IsGated(observed.pod):
		return "", time.Time{}
	default:
		reason, stopAt = outcome.StopStartDeadline, times.WaitsSince(observed.pod, observed.heldUntil).Add(session.Spec.EffectiveStartDeadline())
	}
	if observed.now.Before(stopAt) {
		return "", stopAt
	}
	return reason, time.Time{}
}

// stopAfterProgram returns why a pod must stop whose program has ended. It is empty if the kubelet ends the pod by itself.
func stopAfterProgram(session *v1alpha1.ReactorSession, pod *corev1.Pod) string {
	if session.DeletionTimestamp != nil || session.Spec.Suspended() || outcome.HasOpenContainer(pod) {
		return outcome.StopContainerEnded
	}
	return ""
}

// stopping stops the pod of an attempt whose stop reason is recorded in status. A pod without a node, such as one that is gated, has no
// logs, and no kubelet that would read its deadline. The pod of a deleted session is deleted with it anyway.
func stopping(session *v1alpha1.ReactorSession, observed *observation) *plan {
	reason, pod := observed.status.CurrentAttempt.StopReason, observed.pod
	overdue := observed.state.podTimes[pod.UID].StopOverdueAt(pod)
	switch {
	case session.DeletionTimestamp != nil || pod.Spec.NodeName == "":
	case !attempts.IsDeadlineLowered(pod):
		return &plan{do: doLowerDeadline, ready: podIsStopped(reason)}
	case observed.now.Before(overdue):
		return &plan{ready: podIsStopped(reason), requeue: at(observed.now, overdue, "the pod must have stopped")}
	}
	return &plan{do: doDeletePod, delete: pod.Name, ready: podIsStopped(reason)}
}

// terminating waits for a pod that is being deleted. A pod on a lost node does not end, and is never deleted by force: its program may still run.
func terminating(session *v1alpha1.ReactorSession, observed *observation) *plan {
	times := observed.state.podTimes[observed.pod.UID]
	overdue, bound := times.OverdueAt(session, observed.pod), times.EndsBy(session, observed.pod)
	switch {
	case !bound.IsZero() && !observed.now.Before(bound):
		return &plan{do: doRemoveFinalizer}
	case observed.now.Before(overdue):
		return &plan{ready: waitFor(v1alpha1.ReasonStopping, "the pod has its grace period to end"), requeue: at(observed.now, overdue, "the pod must have ended")}
	}
	return &plan{requeue: at(observed.now, bound, "the finalizer of the session may be removed"), ready: waitFor(v1alpha1.ReasonNodeUnreachable,
		"pod %q does not end: node %q may be lost. The next attempt waits until the node is back, is deleted, or is tainted node.kubernetes.io/out-of-service",
		observed.pod.Name, observed.pod.Spec.NodeName)}
}

// isReleaseRefused reports whether a session that is being deleted has waited long enough for its pods to be released. The API server has
// refused that before, as status shows: an operator that did not run until the bound tries it first.
func isReleaseRefused(session *v1alpha1.ReactorSession, observed *observation) bool {
	if session.DeletionTimestamp == nil || !attempts.HasFinalizer(session, attempts.CleanupFinalizer) || !observed.isIdle() {
		return false
	}
	ready := meta.FindStatusCondition(observed.status.Conditions, v1alpha1.ConditionReady)
	bound := session.DeletionTimestamp.Add(attempts.DeletionBound + attempts.GracePeriod(&session.Spec.Template))
	return ready != nil && ready.Reason == v1alpha1.ReasonWriteRefused && !observed.now.Before(bound)
}
