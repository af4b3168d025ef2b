package reactorsession

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func endedPods(_ *v1alpha1.ReactorSession, seen *observation) *plan {
	if len(seen.stale) == 0 && len(releasable(seen)) == 0 && len(outdated(seen)) == 0 {
		return nil
	}
	return &plan{do: doRelease}
}

// outdated are the pods of attempts that status does not list any more: a session that runs for ever must not leave pods for ever.
func outdated(seen *observation) []*corev1.Pod {
	recent := seen.status.RecentAttempts
	if len(recent) < mostRecent {
		return nil
	}
	var pods []*corev1.Pod
	for i := range seen.others {
		pod := &seen.others[i]
		if hasEnded(pod) && !hasFinalizer(pod, TrackingFinalizer) && pod.DeletionTimestamp == nil && attemptOf(pod) < recent[len(recent)-1].Number {
			pods = append(pods, pod)
		}
	}
	return pods
}

// releasable are the pods that have ended, are not of the current attempt, and are still kept by our finalizer.
func releasable(seen *observation) []*corev1.Pod {
	var pods []*corev1.Pod
	for i := range seen.others {
		if pod := &seen.others[i]; hasEnded(pod) && hasFinalizer(pod, TrackingFinalizer) {
			pods = append(pods, pod)
		}
	}
	return pods
}
