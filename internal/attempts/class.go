package attempts

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// Class is what a pod is to a session. Each pod has exactly one class in a reconcile.
type Class string

// The classes of pods.
const (
	Current    Class = "Current"    // of the current attempt
	Stray      Class = "Stray"      // of this session and not of the current attempt; it may still run
	Recorded   Class = "Recorded"   // ended, its outcome is recorded in status, and our finalizer must be removed
	Unrecorded Class = "Unrecorded" // ended, its outcome was never recorded in status, and our finalizer must be removed
	Outdated   Class = "Outdated"   // ended and released, of an attempt that status does not list anymore: it must be deleted
	Released   Class = "Released"   // ended and released; it remains, with its logs
	Orphan     Class = "Orphan"     // ended, of an earlier session of this name; only our finalizer keeps it
	Foreign    Class = "Foreign"    // of another owner, with the name of the current attempt's pod
	Unrelated  Class = "Unrelated"  // of another owner
)

// Pod is a pod and its class.
type Pod struct {
	*corev1.Pod

	Class Class
}

// classify returns what a pod is to a session with this status. released are the pods from which this process removed our finalizer last:
// the cache may not show that yet.
func classify(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, pod *corev1.Pod, released []types.UID) Class {
	// Every client that may create pods can write our label, so it proves nothing about a pod that has another controller.
	isOwn := metav1.IsControlledBy(pod, session) || pod.Labels[SessionUIDLabel] == string(session.UID) && metav1.GetControllerOf(pod) == nil
	hasCurrentName := status.CurrentAttempt != nil && pod.Name == status.CurrentAttempt.PodName
	switch {
	case isOwn && hasCurrentName:
		return Current
	case isOwn && !outcome.HasEnded(pod):
		return Stray
	case isOwn:
		return classifyEnded(status.RecentAttempts, pod, released)
	case IsOrphan(pod, session.Name):
		return Orphan
	case hasCurrentName:
		return Foreign
	default:
		return Unrelated
	}
}

// classifyEnded is for an ended pod of the session that is not of the current attempt. recent are the attempts that status lists, the latest
// first. A session that runs forever must not leave pods forever, so the pods of older attempts are deleted.
func classifyEnded(recent []v1alpha1.EndedAttempt, pod *corev1.Pod, released []types.UID) Class {
	number := LabeledNumber(pod)
	isOlder := len(recent) >= MaxRecent && number < recent[len(recent)-1].Number
	isListed := slices.ContainsFunc(recent, func(ended v1alpha1.EndedAttempt) bool { return ended.Number == number })
	isTracked := HasFinalizer(pod, TrackingFinalizer)
	switch {
	case isTracked && slices.Contains(released, pod.UID):
		return Released
	case isTracked && (isListed || len(recent) >= MaxRecent && number <= recent[len(recent)-1].Number):
		return Recorded
	case isTracked:
		return Unrecorded
	case isOlder && pod.DeletionTimestamp == nil:
		return Outdated
	default:
		return Released
	}
}

// Classify gives each pod its class. released are the pods from which this process removed our finalizer last.
func Classify(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, pods []corev1.Pod, released []types.UID) []Pod {
	classified := make([]Pod, len(pods))
	for i := range pods {
		classified[i] = Pod{&pods[i], classify(session, status, &pods[i], released)}
	}
	return classified
}

// IsOrphan reports whether a pod has ended that belongs to a session of this name, and our finalizer still keeps it.
func IsOrphan(pod *corev1.Pod, name string) bool {
	return pod.Annotations[SessionAnnotation] == name && outcome.HasEnded(pod) && HasFinalizer(pod, TrackingFinalizer)
}

// HasFinalizer reports whether an object has a finalizer.
func HasFinalizer(object metav1.Object, name string) bool {
	return slices.Contains(object.GetFinalizers(), name)
}
