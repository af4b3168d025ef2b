package attempts

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// QueueNameLabel on a pod names its queue of Kueue, which adds a gate to the pod when it is created.
const QueueNameLabel = "kueue.x-k8s.io/queue-name"

// ExpectsGates reports whether the pods of a template are created behind the operator's own gate.
func ExpectsGates(template *corev1.PodTemplateSpec) bool {
	return len(template.Spec.SchedulingGates) > 0 || template.Labels[QueueNameLabel] != ""
}

// IsGated reports whether a scheduling gate, the operator's own or another one, holds the pod back from the scheduler.
func IsGated(pod *corev1.Pod) bool { return pod != nil && len(pod.Spec.SchedulingGates) > 0 }

// AwaitsToken reports whether the operator's own gate holds the pod back: its program has no token, and its session needs no slot.
func AwaitsToken(pod *corev1.Pod) bool {
	return pod != nil && slices.ContainsFunc(pod.Spec.SchedulingGates, IsTokenGate)
}

// IsTokenGate reports whether a gate is the operator's own.
func IsTokenGate(gate corev1.PodSchedulingGate) bool { return gate.Name == TokenGate }

// OtherGates are the names of the gates of a pod that are not the operator's.
func OtherGates(pod *corev1.Pod) []string {
	var names []string
	for _, gate := range pod.Spec.SchedulingGates {
		if !IsTokenGate(gate) {
			names = append(names, gate.Name)
		}
	}
	return names
}
