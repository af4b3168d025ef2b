package reactorsession

import (
	"slices"
	"sync"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// stateStore is what the operator knows of each ReactorSession beside what stands in it. Losing it costs reads.
type stateStore struct {
	mu      sync.Mutex
	objects map[types.NamespacedName]*objectState
}

// objectState belongs to one object. Only the one worker that passes over that object touches it.
type objectState struct {
	uid types.UID
	// status and finalizers are what the object had when it was written last, and version its resourceVersion with them: a cache that
	// lags does not show them yet.
	status     *v1alpha1.ReactorSessionStatus
	finalizers []string
	version    string
	// conflicts counts in a row how often the API server had a version that the cache did not show, and gone says that it had none.
	conflicts int
	gone      bool
	// statusRefused says that the API server refused to write status, and that an event reports it.
	statusRefused bool
	// cleanup is how the tries to see to the Reactor sessions of an attempt go.
	cleanup cleanup
	// gated says until when the pod of that name was held back by scheduling gates, or that it is.
	gated struct {
		pod   string
		is    bool
		until time.Time
	}
	// observedTimesByUID are what was seen of the session's pods; nil before the first look.
	sightings attempts.PodTimesByUID
	// released are the pods that our finalizer was taken off last: the cache may not show that yet.
	released []types.UID
	// lifted is the pod that our own scheduling gate was removed from last: the cache may not show that yet.
	lifted types.UID
	// next is a time of the next attempt, and nextSince when it was first read.
	next      *metav1.Time
	nextSince time.Time
	// slotSince is since when the session holds a slot and has no pod that may run; zero: it holds none.
	slotSince time.Time
	// managers are who manages the fields of the attempt's token at a version of it.
	managers struct {
		version string
		entries []metav1.ManagedFieldsEntry
	}
	// marks counts in a row how often the pod was given its labels and annotations back, and says when it may be again.
	marks struct {
		times int
		next  time.Time
	}
	// tokenOf is the number of the attempt for which this process created a ReactorToken last.
	tokenOf int32
	// refusals counts in a row how often the API server refused the pod, and tokenRefusals how often it refused the ReactorToken.
	refusals      int
	tokenRefusals int
}

// cleanup is of one attempt. An operator that is started anew begins it anew, and so has its whole time.
type cleanup struct {
	attempt int32
	how     *outcome.Outcome // as the first pass saw it: what becomes of the pod while the clean-up goes on does not change it
	since   time.Time        // the first try
	times   int
	ended   bool     // Reactor accepted a DELETE of a session that was open
	unknown []string // the sessions for which Reactor answered 404 before; at most as many as the program may report

	unscoped unscoped
}

// confirm takes a session as over that Reactor showed as CLOSED, or for which it answered 404 in an earlier try too.
func (c *cleanup) confirm(over reactor.Session) error {
	if !over.Unknown || slices.Contains(c.unknown, over.ID) {
		return nil
	}
	c.unknown = append(c.unknown, over.ID)
	return &unknownError{over.ID}
}

// until is when the last try begins. A DELETE that was accepted in the last one is followed by one more look.
func (c *cleanup) until() time.Time {
	if c.ended {
		return c.since.Add(cleanupBound + cleanupCap)
	}
	return c.since.Add(cleanupBound)
}

// unscoped is the token of a clean-up that may act on all sessions of the account.
type unscoped struct {
	token reactor.Secret
	key   string    // the fingerprint of the API key that it was minted with
	until time.Time // it is used so long
	err   error     // why there is none, in this try
}

// cleanupOf returns how the clean-up of an attempt goes that ended in this way. It begins now if it has not begun.
func (r *objectState) cleanupOf(attempt int32, how *outcome.Outcome, now time.Time) *cleanup {
	if r.cleanup.attempt != attempt {
		r.cleanup = cleanup{attempt: attempt, how: how, since: now}
	}
	return &r.cleanup
}

// endingOf returns how the attempt ended whose clean-up has begun; nil when it has not.
func (r *objectState) endingOf(attempt *v1alpha1.SessionAttempt) *outcome.Outcome {
	if attempt == nil || attempt.Number != r.cleanup.attempt {
		return nil
	}
	return r.cleanup.how
}

func newStateStore() *stateStore {
	return &stateStore{objects: map[types.NamespacedName]*objectState{}}
}

// of returns the memory of an object. One that was deleted and created anew under its name begins with none; the UID that it had before
// is returned.
func (m *stateStore) of(session *v1alpha1.ReactorSession) (known *objectState, replaced types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := types.NamespacedName{Namespace: session.Namespace, Name: session.Name}
	known, ok := m.objects[name]
	if ok && known.uid == session.UID {
		return known, ""
	}
	if ok {
		replaced = known.uid
	}
	known = &objectState{uid: session.UID}
	m.objects[name] = known
	return known, replaced
}

// observeGates returns until when the pod was held back by scheduling gates, which is now while it is: the time that it may take to start
// counts from there. Of a pod that had some and has none now, an operator that was just started knows no more than that. Zero: it never was.
func (r *objectState) observeGates(pod *corev1.Pod, now time.Time) time.Time {
	if pod == nil || !attempts.IsGated(pod) && pod.Annotations[attempts.GatedAnnotation] == "" && r.gated.pod != pod.Name {
		return time.Time{}
	}
	if attempts.IsGated(pod) || r.gated.is || r.gated.pod != pod.Name {
		r.gated.pod, r.gated.is, r.gated.until = pod.Name, attempts.IsGated(pod), now
	}
	return r.gated.until
}

// showLifted removes our own scheduling gate from a pod as the cache shows it, if it is removed from the pod.
func (r *objectState) showLifted(pod *corev1.Pod) {
	if pod != nil && pod.UID == r.lifted {
		pod.Spec.SchedulingGates = slices.DeleteFunc(pod.Spec.SchedulingGates, attempts.IsTokenGate)
	}
}

// observeNext returns since when the time of the next attempt is known.
func (r *objectState) observeNext(next *metav1.Time, now time.Time) time.Time {
	if !next.Equal(r.next) {
		r.next, r.nextSince = next.DeepCopy(), now
	}
	return r.nextSince
}

// forget drops the memory of an object that is gone, and returns the UID that it had.
func (m *stateStore) forget(name types.NamespacedName) types.UID {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.objects[name]
	if !ok {
		return ""
	}
	delete(m.objects, name)
	return known.uid
}

// isAhead reports whether what was written last is newer than what the cache shows.
func (r *objectState) isAhead(session *v1alpha1.ReactorSession) bool {
	if r.status == nil {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(session.ResourceVersion, r.version)
	return err == nil && order < 0
}

// bringUpToDate gives a session from the cache what was written last, while the cache does not show it yet. Its spec is the same: every
// write was one over the version that was seen.
func (r *objectState) bringUpToDate(session *v1alpha1.ReactorSession) {
	if r.isAhead(session) {
		session.Status, session.Finalizers, session.ResourceVersion = *r.status.DeepCopy(), slices.Clone(r.finalizers), r.version
	}
}

// awaitCache returns how long a pass waits, longer each time, for the cache to show what the API server had instead.
func (r *objectState) awaitCache() time.Duration {
	r.conflicts++
	return min(retryBase<<min(r.conflicts-1, 8), retryCap)
}

// wrote remembers the session as it stands at the API server after a write.
func (r *objectState) wrote(session *v1alpha1.ReactorSession) {
	r.status, r.finalizers, r.version = session.Status.DeepCopy(), slices.Clone(session.Finalizers), session.ResourceVersion
}
