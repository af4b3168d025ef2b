package reactorsession

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Who was first: the program with its end, or somebody who asked the pod to end.

// endedByItself reports whether the program had ended before anybody asked the pod to end: what became of the pod afterwards does not
// matter, nor a stop that was written down and came too late. Instants have whole seconds: of two in one second the request was first.
func (e *ending) endedByItself(pod *corev1.Pod, stopReason string) bool {
	switch {
	case e.at.IsZero() || !e.started:
		return false
	case stopReason == stopContainerEnded:
		return true
	case slices.Contains(podFailures, pod.Status.Reason): // it has no time
		return false
	case stopReason != "" && isDeletedForGood(pod): // no stop is written down for a container that is seen to have ended
		return false
	case pod.DeletionTimestamp == nil && disruption(pod) == nil && pod.Status.Reason != deadlineExceeded:
		return true
	default:
		return e.at.Before(earlier(earlier(deletionAsked(pod), disruptedAt(pod)), deadlineOf(pod)))
	}
}

// deadlineOf is when the kubelet began to end the pod by its activeDeadlineSeconds; zero when it did not.
func deadlineOf(pod *corev1.Pod) time.Time {
	if pod.Status.Reason != deadlineExceeded || pod.Status.StartTime == nil || pod.Spec.ActiveDeadlineSeconds == nil {
		return time.Time{}
	}
	return pod.Status.StartTime.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)
}

// disruption is what announced the end of the pod, such as an eviction; nil when nothing but a deletion did.
func disruption(pod *corev1.Pod) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if condition := &pod.Status.Conditions[i]; condition.Type == corev1.DisruptionTarget && condition.Status == corev1.ConditionTrue {
			return condition
		}
	}
	return nil
}

// disruptedAt is when that was; zero when there was nothing.
func disruptedAt(pod *corev1.Pod) time.Time {
	if announced := disruption(pod); announced != nil {
		return announced.LastTransitionTime.Time
	}
	return time.Time{}
}

// lastDeletionWithin is how long after a pod's containers have ended the kubelet deletes it for good, on a node that has much to do.
const lastDeletionWithin = 30 * time.Second

// deletionAsked is when the pod's deletion was asked for; zero when it was not. A deletion timestamp is the end of the grace period.
func deletionAsked(pod *corev1.Pod) time.Time {
	switch {
	case pod.DeletionTimestamp == nil:
		return time.Time{}
	case isDeletedForGood(pod): // it was asked for then, or before
		return pod.DeletionTimestamp.Add(-lastDeletionWithin)
	default:
		return pod.DeletionTimestamp.Add(-time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second)
	}
}

// isDeletedForGood reports whether the pod was deleted without a grace period, as the kubelet does once more when a pod that is being
// deleted has ended. The API server then puts the time of that in the place of what was asked for before (BeforeDelete in
// k8s.io/apiserver/pkg/registry/rest).
func isDeletedForGood(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil && (pod.DeletionGracePeriodSeconds == nil || *pod.DeletionGracePeriodSeconds == 0)
}

// earlier returns the earlier one of two instants, of which zero is none.
func earlier(one, other time.Time) time.Time {
	if one.IsZero() || !other.IsZero() && other.Before(one) {
		return other
	}
	return one
}
