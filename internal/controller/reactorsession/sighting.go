package reactorsession

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

// observedTimes is what this process has seen of a pod, and when. A time is zero when it was not there to see it.
type observedTimes struct {
	came    time.Time // the pod came to be
	idle    bool      // its program did not run yet
	started time.Time // its program began to run
	whole   bool      // it was there, and not being deleted
	ending  time.Time // it was being deleted, also when that was found so
	lowered time.Time // its deadline was lowered to stop it, also when that was found so
}

// startTolerance is how much later than on its node the start of a program is seen, at the most, when the clocks agree.
const startTolerance = 30 * time.Second

// see takes note of a pod. comes tells that it was not there when the process looked before.
func (s observedTimes) see(pod *corev1.Pod, comes bool, now time.Time) observedTimes {
	program := outcome.Program(pod)
	runs := program != nil && program.State.Running != nil
	if comes {
		s.came = now
	}
	if runs && s.started.IsZero() && (s.idle || comes) {
		s.started = now
	}
	s.idle = s.idle || !runs
	s.whole = s.whole || pod.DeletionTimestamp == nil
	if pod.DeletionTimestamp != nil && s.ending.IsZero() {
		s.ending = now
	}
	if isDeadlineLowered(pod) && s.lowered.IsZero() {
		s.lowered = now
	}
	return s
}

// waitsSince is from when on the start of the pod's program is waited for: since the pod was seen to come, else since the API server says
// that it was created; or later, since it was let go to the scheduler.
func (s observedTimes) waitsSince(pod *corev1.Pod, gatedUntil time.Time) time.Time {
	since := s.came
	if since.IsZero() {
		since = pod.CreationTimestamp.Time
	}
	return later(since, gatedUntil)
}

// ranFor is how long the program has run. Where its start was seen, that counts, and what the sight of it was late.
func (s observedTimes) ranFor(started, now time.Time) time.Duration {
	if s.started.IsZero() {
		return now.Sub(started)
	}
	late := s.started.Round(0).Sub(started)
	if late < 0 || late > startTolerance { // the clocks differ
		late = 0
	}
	return now.Sub(s.started) + late
}

// observedTimesByUID are of the pods of one session, by their UIDs.
type observedTimesByUID map[types.UID]observedTimes

// see takes note of the pods that there are, and forgets the others. Nil stands for a session that the process has not looked at before.
func (s observedTimesByUID) see(pods []*corev1.Pod, now time.Time) observedTimesByUID {
	looked := s != nil
	seen := make(observedTimesByUID, len(pods))
	for _, pod := range pods {
		before, known := s[pod.UID]
		seen[pod.UID] = before.see(pod, looked && !known, now)
	}
	return seen
}

// overdueAt is when a pod that is being deleted should have ended, and its node counts as lost. Where this process saw the deletion come, the
// grace period counts from then; else the deletion timestamp tells, which includes it.
func (s observedTimes) overdueAt(session *v1alpha1.ReactorSession, pod *corev1.Pod) time.Time {
	if !s.whole {
		return pod.DeletionTimestamp.Add(unreachableAfter)
	}
	grace := graceOf(&session.Spec.Template)
	if granted := pod.DeletionGracePeriodSeconds; granted != nil { // whoever deleted it may have asked for another
		grace = time.Duration(*granted) * time.Second
	}
	return s.ending.Add(grace + unreachableAfter)
}

// endsBy is when a session that is being deleted is let go of at the latest, whatever has become of the pod; zero when it is not being
// deleted. However late the API server's clock makes it, the pod has had its grace period under the eyes of this process.
func (s observedTimes) endsBy(session *v1alpha1.ReactorSession, pod *corev1.Pod) time.Time {
	bound := releaseBound(session, pod)
	if bound.IsZero() || s.ending.IsZero() {
		return bound
	}
	return later(bound, s.ending.Add(graceOf(&session.Spec.Template)+unreachableAfter))
}
