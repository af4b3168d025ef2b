package mintqueue

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// KeyState is what Reactor's answers say about an API key.
type KeyState int

// The states of a key.
const (
	// KeyUnknown: Reactor has not answered a call with this key since the operator started. One call is allowed; the other
	// objects wait for its answer.
	KeyUnknown KeyState = iota
	// KeyAccepted: Reactor accepts the key.
	KeyAccepted
	// KeyRateLimited: Reactor answered 429. No call is allowed until a known time.
	KeyRateLimited
	// KeyRejected: Reactor answered 401. One object, the prober, tries the key again from time to time, because the 401 may
	// be a mistake of Reactor or of a proxy.
	KeyRejected
)

const (
	// MinProbeWait is how long after a 401 a rejected key is tried again. The wait doubles, up to maxProbeWait, while Reactor continues to answer
	// with 401. It is never longer than one part in probeShare of the shortest remaining life among the tokens that wait for
	// the key, so that one mistaken 401 lets no token expire.
	MinProbeWait = 30 * time.Second
	maxProbeWait = 15 * time.Minute
	probeShare   = 4
	// probeFloor keeps tokens that are close to their expiry from trying a rejected key in a hot loop.
	probeFloor = 5 * time.Second
	// MinLimitWait is how long no call is made with a key after a first 429 that names no time. The wait doubles with each further one, up to
	// maxLimitWait.
	MinLimitWait = 30 * time.Second
	maxLimitWait = 10 * time.Minute
	// ProbeTimeout is when another object may try a key after a call that never reported its outcome. It is longer than a call may take.
	ProbeTimeout = time.Minute
)

// key is the state of one API key, which all objects with this key share. It is kept in memory only: after a restart the state is unknown,
// which costs one call. A key is closed while no call with it is allowed.
//
// At most one object, the prober, has the duty to try a key that is not accepted. It alone requeues itself for the time at which
// the key is tried again. Otherwise each of 10,000 tokens would write that time to its status whenever it moves.
type key struct {
	fingerprint  string
	minProbeWait time.Duration // Limits.ProbeWait
	users        int           // objects whose last request was for a call with this key

	state           KeyState
	until           time.Time // KeyRateLimited, KeyRejected: when the prober may try the key again
	rejectedSince   time.Time // the first 401 since Reactor last accepted the key; zero without one
	consecutive429s int       // without Retry-After
	prober          types.NamespacedName
	probe           struct { // the call that tries the key now
		object types.NamespacedName
		since  time.Time
	}
	waiting map[types.NamespacedName]waiter // the prober is one of them
}

func newKey(fingerprint string, minProbeWait time.Duration) *key {
	return &key{fingerprint: fingerprint, minProbeWait: minProbeWait, waiting: map[types.NamespacedName]waiter{}}
}

// waiter is an object that waits for the answer to its key.
type waiter struct {
	Request

	reported KeyState // what its status says about the key: KeyRateLimited, KeyRejected, or else nothing
}

// KeyStatus is what the state of a key means for one object, as its conditions show it.
type KeyStatus struct {
	State  KeyState
	Closed bool      // no call is allowed now
	Until  time.Time // when this object tries the key again; zero unless it is the prober
}

// allows reports whether the object may call now. While the key is not accepted, one object at a time may.
func (k *key) allows(object types.NamespacedName, now time.Time) bool {
	switch {
	case k.state == KeyAccepted:
		return true
	case k.closed(now):
		return false
	case k.probe.object == object || k.probe.object == types.NamespacedName{}:
		return true
	default:
		return now.Sub(k.probe.since) >= ProbeTimeout
	}
}

// closed reports whether no call is allowed now.
func (k *key) closed(now time.Time) bool {
	return k.state != KeyAccepted && k.state != KeyUnknown && now.Before(k.until)
}

// recordCall records that the object calls now.
func (k *key) recordCall(object types.NamespacedName, now time.Time) {
	if k.state != KeyAccepted {
		k.probe.object, k.probe.since = object, now
		k.prober = object
	}
}

// wait adds an object that is not allowed to call to the waiting objects. If its token expires before the key is tried again, the object
// becomes the prober, and the key is tried earlier. The first object that waits after the prober left also becomes the prober.
func (k *key) wait(r Request, now time.Time) {
	w := waiter{Request: r}
	if k.closed(now) {
		w.reported = k.state
		if (k.prober == types.NamespacedName{}) {
			k.prober = r.Object
		}
		if at := now.Add(k.probeWait(r.Expires, now)); k.state == KeyRejected && at.Before(k.until) {
			k.until, k.prober = at, r.Object
		}
	}
	k.waiting[r.Object] = w
}

// Answer is what a call to Reactor says about the key.
type Answer int

// The answers.
const (
	AnswerAccepted    Answer = iota // a token, or a refusal of the request rather than of the key
	AnswerRejected                  // 401
	AnswerRateLimited               // 429
	AnswerNone                      // no usable answer: nothing was learned about the key
)

// Outcome is how a call to Reactor ended.
type Outcome struct {
	Answer     Answer
	RetryAfter time.Duration // requested by Reactor; zero if it requested none
}

// recordAnswer records the outcome of a call, and returns the waiting objects to reconcile now. If nothing was learned about the key, that is
// one of them: it calls next, and the others wait for its answer.
func (k *key) recordAnswer(r Request, outcome Outcome, now time.Time) []Request {
	probed := k.probe.object == r.Object
	if probed {
		k.probe.object = types.NamespacedName{}
	}
	if !probed && k.closed(now) {
		return k.recordLateAnswer(r, outcome, now)
	}
	switch outcome.Answer {
	case AnswerAccepted:
		return k.accept()
	case AnswerRejected:
		k.reject(r, now)
	case AnswerRateLimited:
		k.rateLimit(r, outcome.RetryAfter, now)
	case AnswerNone:
		return k.nextProber()
	}
	return k.takeUnreported()
}

// recordLateAnswer records the outcome of a call that was sent before the key was closed.
//
//  1. Two calls are pending. Reactor answers the first with 401 by mistake, and the key is closed.
//  2. Reactor answers the second with 200. The key is valid, so it is accepted again.
//
// After a 429, a 200 says nothing: it used up what the limit left. A further 429 may name a later time.
func (k *key) recordLateAnswer(r Request, outcome Outcome, now time.Time) []Request {
	switch {
	case outcome.Answer == AnswerAccepted && k.state == KeyRejected:
		return k.accept()
	case outcome.Answer == AnswerRateLimited || outcome.Answer == AnswerRejected:
		if until := now.Add(outcome.RetryAfter); outcome.Answer == AnswerRateLimited && k.state == KeyRateLimited && until.After(k.until) {
			k.until = until
		}
		k.wait(r, now)
	}
	return nil
}

func (k *key) accept() []Request {
	k.state, k.rejectedSince, k.consecutive429s, k.prober = KeyAccepted, time.Time{}, 0, types.NamespacedName{}
	return k.take(func(waiter) bool { return true })
}

// reject closes the key after a 401. The object that got it tries the key again.
func (k *key) reject(r Request, now time.Time) {
	k.state = KeyRejected
	if k.rejectedSince.IsZero() {
		k.rejectedSince = now
	}
	wait := k.probeWait(r.Expires, now)
	for _, w := range k.waiting {
		wait = min(wait, k.probeWait(w.Expires, now))
	}
	k.until, k.prober = now.Add(wait), r.Object
	k.wait(r, now)
}

// probeWait is how long no call is made with a rejected key, as far as a token that expires at the given time can afford it. A token that has
// expired, or does not exist, needs no earlier probe than others.
//
// The wait is as long as the key has been rejected, and MinProbeWait more: 30 seconds, then 1, 2, 4 and 8 minutes. It does not
// depend on the number of 401s:
//
//  1. Reactor answers 401 by mistake for two minutes.
//  2. A token that has 47 seconds left brings eight probes forward. Each of them is answered with 401.
//  3. The token expires. A wait that doubled with each 401 would now be 15 minutes long, and the token would be missing for
//     that time, although Reactor accepts the key again a minute later.
func (k *key) probeWait(expires, now time.Time) time.Duration {
	wait := k.minProbeWait
	if !k.rejectedSince.IsZero() {
		wait = min(now.Sub(k.rejectedSince)+k.minProbeWait, maxProbeWait)
	}
	if left := expires.Sub(now.Round(0)); !expires.IsZero() && left > 0 {
		wait = min(wait, max(left/probeShare, probeFloor))
	}
	return wait
}

// rateLimit closes the key after a 429. The object that got it tries the key again.
func (k *key) rateLimit(r Request, retryAfter time.Duration, now time.Time) {
	if retryAfter <= 0 {
		retryAfter = min(MinLimitWait<<min(k.consecutive429s, 8), maxLimitWait)
		k.consecutive429s++
	}
	if until := now.Add(retryAfter); k.state != KeyRateLimited || until.After(k.until) {
		k.until = until // otherwise an earlier answer named a later time
	}
	k.state, k.prober = KeyRateLimited, r.Object
	k.wait(r, now)
}

// nextProber gives the duty to try the key to one of the objects that wait, the one whose token expires first, and returns it to
// be reconciled.
func (k *key) nextProber() []Request {
	k.prober = types.NamespacedName{}
	if len(k.waiting) == 0 {
		return nil
	}
	next := slices.MinFunc(slices.Collect(maps.Values(k.waiting)), func(one, other waiter) int {
		return cmp.Or(compareExpiries(one.Expires, other.Expires), strings.Compare(one.Object.String(), other.Object.String()))
	})
	k.prober = next.Object
	return []Request{next.Request}
}

// compareExpiries orders the expiries of tokens. Zero means no token, and is last.
func compareExpiries(one, other time.Time) int {
	if one.IsZero() != other.IsZero() {
		return -one.Compare(other)
	}
	return one.Compare(other)
}

// abandon records that an object neither waits nor calls. If it had the duty to try the key, another object has it now and is
// returned, to be reconciled.
func (k *key) abandon(object types.NamespacedName) []Request {
	delete(k.waiting, object)
	if k.prober != object {
		return nil
	}
	return k.nextProber()
}

// takeUnreported removes and returns the waiting objects whose status does not report yet why they wait.
func (k *key) takeUnreported() []Request {
	return k.take(func(w waiter) bool { return w.reported != k.state })
}

// take removes and returns the waiting objects that match.
func (k *key) take(matches func(waiter) bool) []Request {
	var taken []Request
	for object, w := range k.waiting {
		if matches(w) {
			delete(k.waiting, object)
			taken = append(taken, w.Request)
		}
	}
	return taken
}

// status is the state of the key as the conditions of an object show it. A wait that is over stays in status, without a time, until the one call
// that may try the key has its answer: the conditions of the objects that wait for it must not flap.
func (k *key) status(object types.NamespacedName, now time.Time) KeyStatus {
	status := KeyStatus{State: k.state, Closed: k.closed(now)}
	if status.Closed && k.prober == object {
		status.Until = onWallClock(k.until, now, k.until.Sub(now))
	}
	return status
}

// onWallClock is the time until which so much time is left, by the wall clock as it is now.
//
//  1. The key is closed, and the time is stored at which the key may be tried again.
//  2. The wall clock jumps forward, or the host is suspended.
//  3. The stored time is in the past by the wall clock, but the key uses the monotonic clock and stays closed.
//  4. An object that waits for the stored time would reconcile in a hot loop.
//
// To prevent this, the time is computed again from the remaining wait.
func onWallClock(stored, now time.Time, left time.Duration) time.Time {
	const tolerance = time.Second // between the two clocks: status has whole seconds, and the time must not flap
	if wall := stored.Round(0).Sub(now.Round(0)); (wall - left).Abs() <= tolerance {
		return stored
	}
	return now.Round(0).Add(left)
}
