package reactorsession

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// podClass is what a pod is to a session. Each pod has exactly one class in a reconcile.
type podClass string

const (
	podCurrent    podClass = "Current"    // of the current attempt
	podStray      podClass = "Stray"      // of this session and not of the current attempt; it may still run
	podRecorded   podClass = "Recorded"   // ended, its outcome is recorded in status, and our finalizer must be removed
	podUnrecorded podClass = "Unrecorded" // ended, its outcome was never recorded in status, and our finalizer must be removed
	podOutdated   podClass = "Outdated"   // ended and released, of an attempt that status does not list anymore: it must be deleted
	podReleased   podClass = "Released"   // ended and released; it remains, with its logs
	podOrphan     podClass = "Orphan"     // ended, of an earlier session of this name; only our finalizer keeps it
	podForeign    podClass = "Foreign"    // of another owner, with the name of the current attempt's pod
	podUnrelated  podClass = "Unrelated"  // of another owner
)

// sessionPod is a pod and its class.
type sessionPod struct {
	*corev1.Pod

	class podClass
}

// classifyPod returns what a pod is to a session with this status. released are the pods from which this process removed our finalizer last:
// the cache may not show that yet.
func classifyPod(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, pod *corev1.Pod, released []types.UID) podClass {
	// Every client that may create pods can write our label, so it proves nothing about a pod that has another controller.
	isOwn := metav1.IsControlledBy(pod, session) || pod.Labels[SessionUIDLabel] == string(session.UID) && metav1.GetControllerOf(pod) == nil
	hasCurrentName := status.CurrentAttempt != nil && pod.Name == status.CurrentAttempt.PodName
	switch {
	case isOwn && hasCurrentName:
		return podCurrent
	case isOwn && !outcome.HasEnded(pod):
		return podStray
	case isOwn:
		return classifyEnded(status.RecentAttempts, pod, released)
	case isOrphan(pod, session.Name):
		return podOrphan
	case hasCurrentName:
		return podForeign
	default:
		return podUnrelated
	}
}

// classifyEnded is for an ended pod of the session that is not of the current attempt. recent are the attempts that status lists, the latest
// first. A session that runs forever must not leave pods forever, so the pods of older attempts are deleted.
func classifyEnded(recent []v1alpha1.EndedAttempt, pod *corev1.Pod, released []types.UID) podClass {
	number := attemptOf(pod)
	isOlder := len(recent) >= maxRecent && number < recent[len(recent)-1].Number
	isListed := slices.ContainsFunc(recent, func(ended v1alpha1.EndedAttempt) bool { return ended.Number == number })
	isTracked := hasFinalizer(pod, TrackingFinalizer)
	switch {
	case isTracked && slices.Contains(released, pod.UID):
		return podReleased
	case isTracked && (isListed || len(recent) >= maxRecent && number <= recent[len(recent)-1].Number):
		return podRecorded
	case isTracked:
		return podUnrecorded
	case isOlder && pod.DeletionTimestamp == nil:
		return podOutdated
	default:
		return podReleased
	}
}

// podsOf returns the pods of some classes.
func (o *observation) podsOf(classes ...podClass) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range o.pods {
		if slices.Contains(classes, pod.class) {
			pods = append(pods, pod.Pod)
		}
	}
	return pods
}

// ownPods are all pods of the session, that of the current attempt first.
func (o *observation) ownPods() []*corev1.Pod {
	var pods []*corev1.Pod
	if o.pod != nil {
		pods = append(pods, o.pod)
	}
	return append(pods, o.podsOf(podStray, podRecorded, podUnrecorded, podOutdated, podReleased)...)
}

// isIdle reports whether the session has neither an attempt nor a pod that may run.
func (o *observation) isIdle() bool {
	return o.status.CurrentAttempt == nil && len(o.podsOf(podStray)) == 0
}
