package reactorsession

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// The kubelet shows for a moment that a container has ended before it says that the pod has. A pod that is deleted in that moment is gone
// with its logs.
func TestAPodIsStoppedForTheEndOfItsProgramOnlyWhileOthersRun(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	done := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.NewTime(now), FinishedAt: metav1.NewTime(now)}}
	runs := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now)}}
	for name, test := range map[string]struct {
		others []corev1.ContainerState
		inits  []corev1.ContainerState
		want   action
	}{
		"it is the only one":               {want: doNothing},
		"all others have ended too":        {others: []corev1.ContainerState{done, done}, want: doNothing},
		"another one runs":                 {others: []corev1.ContainerState{done, runs}, want: doStop},
		"another one waits":                {others: []corev1.ContainerState{{Waiting: &corev1.ContainerStateWaiting{}}}, want: doStop},
		"the kubelet ends native sidecars": {inits: []corev1.ContainerState{runs}, want: doNothing},
	} {
		t.Run(name, func(t *testing.T) {
			session := newSession("night")
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "night-1", UID: "1", Labels: attemptLabels(session, 1), Annotations: map[string]string{ContainerAnnotation: "stream"}}}
			pod.Status.Phase = corev1.PodRunning
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "stream", State: done}}
			for _, state := range test.others {
				pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: "other", State: state})
			}
			for _, state := range test.inits {
				pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, corev1.ContainerStatus{Name: "sidecar", State: state})
			}
			seen := &observation{now: now, pod: pod}
			seen.status.CurrentAttempt = &v1alpha1.SessionAttempt{Number: 1, PodName: pod.Name, PodUID: "1"}
			if got := decide(session, seen); got.do != test.want {
				t.Errorf("%q, want %q", got.do, test.want)
			}
		})
	}
}
