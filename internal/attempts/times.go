package attempts

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// The times in a pod are those of other hosts' clocks: its creation and its deletion of the API server's, the start of its container of its
// node's. An operator whose own clock differs from them, or jumps, would stop sessions that have just started. So the operator also records what it
// observed itself, on a clock with Go's monotonic reading, and uses that where it observed the event.

const (
	// DeletionBound is how long a session that is being deleted waits for a pod that does not end.
	DeletionBound = 10 * time.Minute
	// StopDeadline is the activeDeadlineSeconds of a pod that the operator stops, the minimum of the API server. The field may be set and lowered,
	// and never raised (ValidatePodUpdate in k8s.io/kubernetes/pkg/apis/core/validation).
	StopDeadline = 1
	// unreachableAfter is how long after its grace period a pod may take to end before its node counts as lost.
	unreachableAfter = time.Minute
	// startTolerance is the maximum time between the start of a program on its node and its observation, if the clocks agree.
	startTolerance = 30 * time.Second
)

// PodTimes is what this process has observed of a pod, and when. A time is zero if the process did not observe the event.
type PodTimes struct {
	created time.Time // the pod was created
	waiting bool      // its program did not run yet
	started time.Time // its program started
	alive   bool      // it existed, and was not being deleted
	deleted time.Time // it was being deleted, even if it was when it was observed first
	lowered time.Time // its deadline was lowered to stop it, even if it was when it was observed first
}

// PodTimesByUID are the times of the pods of one session, by their UIDs. It is nil for a session that the process has not observed before.
type PodTimesByUID map[types.UID]PodTimes

// Update returns the times with what is observed now. It drops pods that do not exist anymore.
func (t PodTimesByUID) Update(pods []*corev1.Pod, now time.Time) PodTimesByUID {
	updated := make(PodTimesByUID, len(pods))
	for _, pod := range pods {
		before, known := t[pod.UID]
		updated[pod.UID] = before.update(pod, t != nil && !known, now)
	}
	return updated
}

// update returns the times of a pod. isNew says that it did not exist when the process observed the session before.
func (t PodTimes) update(pod *corev1.Pod, isNew bool, now time.Time) PodTimes {
	program := outcome.Program(pod)
	runs := program != nil && program.State.Running != nil
	if isNew {
		t.created = now
	}
	if runs && t.started.IsZero() && (t.waiting || isNew) {
		t.started = now
	}
	t.waiting = t.waiting || !runs
	t.alive = t.alive || pod.DeletionTimestamp == nil
	if pod.DeletionTimestamp != nil && t.deleted.IsZero() {
		t.deleted = now
	}
	if IsDeadlineLowered(pod) && t.lowered.IsZero() {
		t.lowered = now
	}
	return t
}

// WaitsSince is when the time starts in which the pod's program must start: when the process observed its creation, or else the creation timestamp.
// If scheduling gates held the pod back until heldUntil, the time starts then.
func (t PodTimes) WaitsSince(pod *corev1.Pod, heldUntil time.Time) time.Time {
	since := t.created
	if since.IsZero() {
		since = pod.CreationTimestamp.Time
	}
	return later(since, heldUntil)
}

// RanFor is how long the program has run. If the process observed the start, that counts, plus the delay of the observation.
func (t PodTimes) RanFor(started, now time.Time) time.Duration {
	if t.started.IsZero() {
		return now.Sub(started)
	}
	delay := t.started.Round(0).Sub(started)
	if delay < 0 || delay > startTolerance { // the clocks differ
		delay = 0
	}
	return now.Sub(t.started) + delay
}

// OverdueAt is when a pod that is being deleted should have ended, and its node counts as lost. If the process observed the deletion, the grace
// period counts from then. Otherwise the deletion timestamp counts, which includes it.
func (t PodTimes) OverdueAt(session *v1alpha1.ReactorSession, pod *corev1.Pod) time.Time {
	if !t.alive {
		return pod.DeletionTimestamp.Add(unreachableAfter)
	}
	grace := GracePeriod(&session.Spec.Template)
	if granted := pod.DeletionGracePeriodSeconds; granted != nil { // the client that deleted it may have requested another one
		grace = time.Duration(*granted) * time.Second
	}
	return t.deleted.Add(grace + unreachableAfter)
}

// StopOverdueAt is when a pod whose deadline was lowered should have ended, and its node counts as lost.
func (t PodTimes) StopOverdueAt(pod *corev1.Pod) time.Time {
	return t.lowered.Add(GracePeriod(&corev1.PodTemplateSpec{Spec: pod.Spec}) + unreachableAfter)
}

// EndsBy is when the finalizer of a session that is being deleted is removed, whatever happened to the pod; zero if the session is not being
// deleted. Even if the API server's clock is behind, the pod had its grace period by the clock of this process.
func (t PodTimes) EndsBy(session *v1alpha1.ReactorSession, pod *corev1.Pod) time.Time {
	bound := releaseBound(session, pod)
	if bound.IsZero() || t.deleted.IsZero() {
		return bound
	}
	return later(bound, t.deleted.Add(GracePeriod(&session.Spec.Template)+unreachableAfter))
}

// releaseBound is EndsBy by the clock of the API server. It counts from the pod's deletion too: the operator may not have run when the deletion of
// the session was requested. A pod's deletion timestamp includes its grace period.
func releaseBound(session *v1alpha1.ReactorSession, pod *corev1.Pod) time.Time {
	if session.DeletionTimestamp == nil {
		return time.Time{}
	}
	bound := session.DeletionTimestamp.Add(DeletionBound + GracePeriod(&session.Spec.Template))
	if pod.DeletionTimestamp != nil {
		bound = later(bound, pod.DeletionTimestamp.Add(DeletionBound))
	}
	return bound
}

// IsDeadlineLowered reports whether the kubelet must end the pod now.
func IsDeadlineLowered(pod *corev1.Pod) bool {
	deadline := pod.Spec.ActiveDeadlineSeconds
	return deadline != nil && *deadline <= StopDeadline
}

func later(one, other time.Time) time.Time {
	if other.After(one) {
		return other
	}
	return one
}
