package reactorsession

import (
	"slices"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// podsOf returns the pods of some classes.
func (o *observation) podsOf(classes ...attempts.Class) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range o.pods {
		if slices.Contains(classes, pod.Class) {
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
	return append(pods, o.podsOf(attempts.Stray, attempts.Recorded, attempts.Unrecorded, attempts.Outdated, attempts.Released)...)
}

// isIdle reports whether the session has neither an attempt nor a pod that may run.
func (o *observation) isIdle() bool {
	return o.status.CurrentAttempt == nil && len(o.podsOf(attempts.Stray)) == 0
}

// tokenChanges are the fields in which the token of the current attempt differs from what the attempt requested.
func (o *observation) tokenChanges(session *v1alpha1.ReactorSession) []attempts.FieldChange {
	return attempts.TokenChanges(session, &o.status, o.token, o.pod)
}

// isOutdated reports whether the spec requests another credential than the attempt that waits was started with.
func (o *observation) isOutdated(session *v1alpha1.ReactorSession) bool {
	return attempts.IsOutdated(session, &o.status, o.token, o.pod)
}
