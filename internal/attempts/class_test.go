package attempts

import (
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestEachPodHasOneClass(t *testing.T) {
	session := newSession("night")
	session.UID = "night-uid"
	mine := []metav1.OwnerReference{ControllerReference(session)}
	theirs := []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "other", UID: "other", Controller: new(true)}}
	// The current attempt is the 9th. Status lists the 4th to the 8th, and the outcome of the 7th was never recorded.
	status := &v1alpha1.ReactorSessionStatus{CurrentAttempt: &v1alpha1.SessionAttempt{Number: 9, PodName: Name(session, 9)}}
	for _, number := range []int32{8, 6, 5, 4, 3}[:MaxRecent] {
		status.RecentAttempts = append(status.RecentAttempts, v1alpha1.EndedAttempt{Number: number})
	}
	pod := func(number int32, changes ...func(*corev1.Pod)) *corev1.Pod {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Name: Name(session, number), UID: types.UID(strconv.Itoa(int(number))), OwnerReferences: mine, Labels: Labels(session, number),
			Annotations: map[string]string{SessionAnnotation: session.Name}, Finalizers: []string{TrackingFinalizer},
		}}
		for _, change := range changes {
			change(pod)
		}
		return pod
	}
	ended := func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded }
	untracked := func(pod *corev1.Pod) { pod.Finalizers = nil }
	ownedBy := func(owners []metav1.OwnerReference) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.OwnerReferences = owners }
	}
	unlabeled := func(pod *corev1.Pod) { pod.Labels = nil }
	earlier := func(pod *corev1.Pod) { pod.Labels[SessionUIDLabel] = "an earlier one" }
	tests := []struct {
		name string
		pod  *corev1.Pod
		want Class
	}{
		{"of the current attempt", pod(9), Current},
		{"of the current attempt, ended", pod(9, ended), Current},
		{"of the current attempt, without its labels", pod(9, unlabeled), Current},
		{"of the current attempt, without its owner", pod(9, ownedBy(nil)), Current},
		{"of another owner, with the name of the current attempt's pod", pod(9, ownedBy(theirs), unlabeled), Foreign},
		{"of another owner, with that name and our label", pod(9, ownedBy(theirs)), Foreign},
		{"of another owner, with our label", pod(8, ownedBy(theirs)), Unrelated},
		{"of an earlier attempt, still running", pod(8), Stray},
		{"of an earlier attempt, ended", pod(8, ended), Recorded},
		{"of an earlier attempt, ended, released a moment ago", pod(1, ended), Released},
		{"of an earlier attempt, ended and released", pod(8, ended, untracked), Released},
		{"of an attempt whose outcome was never recorded", pod(7, ended), Unrecorded},
		{"of an attempt that status does not list anymore", pod(2, ended, untracked), Outdated},
		{"of an earlier session of this name", pod(2, ended, ownedBy(nil), earlier), Orphan},
		{"of an earlier session of this name, still running", pod(2, ownedBy(nil), earlier), Unrelated},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := classify(session, status, test.pod, []types.UID{"1"}); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
