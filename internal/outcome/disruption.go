package outcome

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// disruptionReasons are the reasons in a pod's status, or in its condition DisruptionTarget, that are not the program's fault.
var disruptionReasons = []string{
	"Evicted", "NodeShutdown", "Terminated", "Preempting", "NodeAffinity", "NodeLost", "Shutdown", "UnexpectedAdmissionError", "OutOfcpu", "OutOfmemory",
	"OutOfpods", "PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI", "DeletionByPodGC", "TerminationByKubelet",
}

// disruptionReason is why the pod was removed or not admitted, if that is not the program's fault; empty otherwise.
func disruptionReason(pod *corev1.Pod) string {
	if target := disruptionTarget(pod); target != nil && slices.Contains(disruptionReasons, target.Reason) {
		return target.Reason
	}
	if slices.Contains(disruptionReasons, pod.Status.Reason) {
		return pod.Status.Reason
	}
	return ""
}

// endedByItself reports whether the program ended before the end of the pod was requested. What happens to the pod afterwards does not change
// the outcome, nor does a stop that was recorded too late. Times are in whole seconds. If the request and the end have the same second, the
// request counts as the first of them.
func endedByItself(pod *corev1.Pod, ran run, stopReason string) bool {
	switch {
	case ran.endTime.IsZero() || !ran.started:
		return false
	case stopReason == StopContainerEnded:
		return true
	case slices.Contains(disruptionReasons, pod.Status.Reason): // it has no time
		return false
	case stopReason != "" && isDeletedForGood(pod): // the operator records no other stop for a container that it observed as ended
		return false
	case pod.DeletionTimestamp == nil && disruptionTarget(pod) == nil && pod.Status.Reason != reasonDeadlineExceeded:
		return true
	default:
		return ran.endTime.Before(earlier(earlier(deletionRequestedAt(pod), disruptedAt(pod)), deadlineOf(pod)))
	}
}

// endedByControlPlane reports whether the garbage collector of pods set the phase of the pod, because its node is deleted or out of service.
func endedByControlPlane(pod *corev1.Pod) bool {
	target := disruptionTarget(pod)
	return target != nil && target.Reason == "DeletionByPodGC"
}

// deadlineOf is when the kubelet started to end the pod by its activeDeadlineSeconds; zero if it did not.
func deadlineOf(pod *corev1.Pod) time.Time {
	if pod.Status.Reason != reasonDeadlineExceeded || pod.Status.StartTime == nil || pod.Spec.ActiveDeadlineSeconds == nil {
		return time.Time{}
	}
	return pod.Status.StartTime.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)
}

// disruptionTarget is the condition that announced the end of the pod, such as an eviction; nil if there is none.
func disruptionTarget(pod *corev1.Pod) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if condition := &pod.Status.Conditions[i]; condition.Type == corev1.DisruptionTarget && condition.Status == corev1.ConditionTrue {
			return condition
		}
	}
	return nil
}

// disruptedAt is when that condition became true; zero if there is none.
func disruptedAt(pod *corev1.Pod) time.Time {
	if target := disruptionTarget(pod); target != nil {
		return target.LastTransitionTime.Time
	}
	return time.Time{}
}

// lastDeletionWithin is how long after the end of a pod's containers the kubelet of a busy node deletes the pod without a grace period.
const lastDeletionWithin = 30 * time.Second

// deletionRequestedAt is when the deletion of the pod was requested; zero if it was not. A deletion timestamp is the end of the grace period.
func deletionRequestedAt(pod *corev1.Pod) time.Time {
	switch {
	case pod.DeletionTimestamp == nil:
		return time.Time{}
	case isDeletedForGood(pod): // it was requested then, or before
		return pod.DeletionTimestamp.Add(-lastDeletionWithin)
	default:
		return pod.DeletionTimestamp.Add(-time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second)
	}
}

// isDeletedForGood reports whether the pod was deleted without a grace period. The kubelet does this again when a pod that is being deleted
// has ended. The API server then replaces the time of the first request (BeforeDelete in k8s.io/apiserver/pkg/registry/rest).
func isDeletedForGood(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil && (pod.DeletionGracePeriodSeconds == nil || *pod.DeletionGracePeriodSeconds == 0)
}

// earlier returns the earlier one of two times. Zero means that there is no such time.
func earlier(one, other time.Time) time.Time {
	if one.IsZero() || !other.IsZero() && other.Before(one) {
		return other
	}
	return one
}
