package attempts

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// What a pod tells of its times is by other hosts' clocks: its creation and its deletion by the API server's, the start of its container by
// its node's. An operator whose own clock differs from them, or jumps, would stop sessions that have just begun. So it also takes note of
// what it saw itself, on a clock that carries Go's monotonic reading, and goes by that where it was there.

// see takes note of a pod. comes tells that it was not there when the process looked before.
func (s PodTimes) update(pod *corev1.Pod, comes bool, now time.Time) PodTimes {
	program := outcome.Program(pod)
	runs := program != nil && program.State.Running != nil
	if comes {
		s.created = now
	}
	if runs && s.started.IsZero() && (s.waiting || comes) {
		s.started = now
	}
	s.waiting = s.waiting || !runs
	s.seenAlive = s.seenAlive || pod.DeletionTimestamp == nil
	if pod.DeletionTimestamp != nil && s.deleted.IsZero() {
		s.deleted = now
	}
	if IsDeadlineLowered(pod) && s.lowered.IsZero() {
		s.lowered = now
	}
	return s
}

// waitsSince is from when on the start of the pod's program is waited for: since the pod was seen to come, else since the API server says
// that it was created; or later, since it was let go to the scheduler.
func (s PodTimes) WaitsSince(pod *corev1.Pod, gatedUntil time.Time) time.Time {
	since := s.created
	if since.IsZero() {
		since = pod.CreationTimestamp.Time
	}
	return later(since, gatedUntil)
}

// ranFor is how long the program has run. Where its start was seen, that counts, and what the sight of it was late.
func (s PodTimes) RanFor(started, now time.Time) time.Duration {
	if s.started.IsZero() {
		return now.Sub(started)
	}
	late := s.started.Round(0).Sub(started)
	if late < 0 || late > startTolerance { // the clocks differ
		late = 0
	}
	return now.Sub(s.started) + late
}

// see takes note of the pods that there are, and forgets the others. Nil stands for a session that the process has not looked at before.
func (s PodTimesByUID) Update(pods []*corev1.Pod, now time.Time) PodTimesByUID {
	looked := s != nil
	seen := make(PodTimesByUID, len(pods))
	for _, pod := range pods {
		before, known := s[pod.UID]
		seen[pod.UID] = before.update(pod, looked && !known, now)
	}
	return seen
}

// overdueAt is when a pod that is being deleted should have ended, and its node counts as lost. Where this process saw the deletion come, the
// grace period counts from then; else the deletion timestamp tells, which includes it.
func (s PodTimes) OverdueAt(session *v1alpha1.ReactorSession, pod *corev1.Pod) time.Time {
	if !s.seenAlive {
		return pod.DeletionTimestamp.Add(unreachableAfter)
	}
	grace := GracePeriod(&session.Spec.Template)
	if granted := pod.DeletionGracePeriodSeconds; granted != nil { // whoever deleted it may have asked for another
		grace = time.Duration(*granted) * time.Second
	}
	return s.deleted.Add(grace + unreachableAfter)
}

// stopOverdueAt is when a pod whose deadline was lowered should have ended, and its node counts as lost.
func (s PodTimes) StopOverdueAt(pod *corev1.Pod) time.Time {
	return s.lowered.Add(GracePeriod(&corev1.PodTemplateSpec{Spec: pod.Spec}) + unreachableAfter)
}

// endsBy is when a session that is being deleted is let go of at the latest, whatever has become of the pod; zero when it is not being
// deleted. However late the API server's clock makes it, the pod has had its grace period under the eyes of this process.
func (s PodTimes) EndsBy(session *v1alpha1.ReactorSession, pod *corev1.Pod) time.Time {
	bound := releaseBound(session, pod)
	if bound.IsZero() || s.deleted.IsZero() {
		return bound
	}
	return later(bound, s.deleted.Add(GracePeriod(&session.Spec.Template)+unreachableAfter))
}

const (
	// unreachableAfter is how long after its grace period a pod may take to end before its node counts as lost.
	unreachableAfter = time.Minute
	// deletionBound is how long a session that is being deleted waits for a pod that does not end.
	DeletionBound = 10 * time.Minute
)

// observedTimes is what this process has seen of a pod, and when. A time is zero when it was not there to see it.
type PodTimes struct {
	created   time.Time // the pod came to be
	waiting   bool      // its program did not run yet
	started   time.Time // its program began to run
	seenAlive bool      // it was there, and not being deleted
	deleted   time.Time // it was being deleted, also when that was found so
	lowered   time.Time // its deadline was lowered to stop it, also when that was found so
}

// startTolerance is how much later than on its node the start of a program is seen, at the most, when the clocks agree.
const startTolerance = 30 * time.Second

// observedTimesByUID are of the pods of one session, by their UIDs.
type PodTimesByUID map[types.UID]PodTimes

// releaseBound is when a session that is being deleted is let go of, whatever has become of its pod; zero when it is not being deleted. It
// counts from the pod's deletion too: the operator may have been away when the session's was asked for. A pod's deletion timestamp includes
// its grace period.
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

// isDeadlineLowered reports whether the kubelet is to end the pod now.
func IsDeadlineLowered(pod *corev1.Pod) bool {
	deadline := pod.Spec.ActiveDeadlineSeconds
	return deadline != nil && *deadline <= StopDeadline
}

// stopDeadline is the activeDeadlineSeconds of a pod that the operator stops, the least that the API server accepts. The field may be
// set and lowered, and never be raised (ValidatePodUpdate in k8s.io/kubernetes/pkg/apis/core/validation).
const StopDeadline = 1

func later(one, other time.Time) time.Time {
	if other.After(one) {
		return other
	}
	return one
}
