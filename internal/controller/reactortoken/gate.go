package reactortoken

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// gateState is what Reactor's answers say about an API key.
type gateState int

const (
	// gateUnknown: Reactor has not answered a call with this key since the operator started. One call is allowed; the other
	// objects wait for its answer.
	gateUnknown gateState = iota
	// gateOpen: Reactor accepts the key.
	gateOpen
	// gateRateLimited: Reactor answered 429. No call is allowed until a known time.
	gateRateLimited
	// gateRefused: Reactor answered 401. One object, the prober, tries the key again from time to time, because the 401 may
	// be a mistake of Reactor or of a proxy.
	gateRefused
)

const (
	// A refused key is tried again after minProbeWait. The wait doubles, up to maxProbeWait, while Reactor continues to answer
	// with 401. It is never longer than one part in probeShare of the shortest remaining life among the tokens that wait for
	// the key, so that one mistaken 401 lets no token expire.
	minProbeWait = 30 * time.Second
	maxProbeWait = 15 * time.Minute
	probeShare   = 4
	// probeFloor keeps tokens that are close to their expiry from trying a refused key in a hot loop.
	probeFloor = 5 * time.Second
	// A key is held for minLimitWait after a first 429 that names no time. The wait doubles with each further one, up to
	// maxLimitWait.
	minLimitWait = 30 * time.Second
	maxLimitWait = 10 * time.Minute
	// probeTimeout frees the place of a call that never reported its answer. It is longer than a call may take.
	probeTimeout = time.Minute
)

// gate is the state of one API key, which all ReactorTokens with this key share. It is kept in memory only: after a restart
// the state is unknown, which costs one call.
//
// At most one object, the prober, has the duty to try a key that is not open. It alone requeues itself for the time at which
// the key is tried again. Otherwise each of 10,000 tokens would write that time to its status whenever it moves.
type gate struct {
	fingerprint string
	users       int // objects that asked for a call with this key last

	state           gateState
	until           time.Time // gateRateLimited, gateRefused: when the prober may try the key again
	refusedSince    time.Time // the first 401 since Reactor last accepted the key; zero without one
	consecutive429s int       // without Retry-After
	prober          types.NamespacedName
	probe           struct { // the call that tries the key now
		object types.NamespacedName
		since  time.Time
	}
	waiting map[types.NamespacedName]waiter // the prober is one of them
}

func newGate(fingerprint string) *gate {
	return &gate{fingerprint: fingerprint, waiting: map[types.NamespacedName]waiter{}}
}

// waiter is an object that waits for the answer to its key.
type waiter struct {
	ticket

	reported gateState // what its status says about the key: gateRateLimited, gateRefused, or else nothing
}

// gateView is what a gate means for one object, as its conditions show it.
type gateView struct {
	state  gateState
	closed bool      // no call is allowed now
	until  time.Time // when this object tries the key again; zero unless it is the prober
}

// allows reports whether the object may call now. While the gate is not open, one object at a time may.
func (g *gate) allows(object types.NamespacedName, now time.Time) bool {
	switch {
	case g.state == gateOpen:
		return true
	case g.closed(now):
		return false
	case g.probe.object == object || g.probe.object == types.NamespacedName{}:
		return true
	default:
		return now.Sub(g.probe.since) >= probeTimeout
	}
}

// closed reports whether no call is allowed now.
func (g *gate) closed(now time.Time) bool {
	return g.state != gateOpen && g.state != gateUnknown && now.Before(g.until)
}

// recordCall notes that the object calls now.
func (g *gate) recordCall(object types.NamespacedName, now time.Time) {
	if g.state != gateOpen {
		g.probe.object, g.probe.since = object, now
		g.prober = object
	}
}

// wait adds an object that is not allowed to call to those that wait. A token that would expire before the key is tried again
// brings that time forward, and tries it itself. So does the first one that waits after the prober left.
func (g *gate) wait(t ticket, now time.Time) {
	w := waiter{ticket: t}
	if g.closed(now) {
		w.reported = g.state
		if (g.prober == types.NamespacedName{}) {
			g.prober = t.object
		}
		if at := now.Add(g.probeWait(t.expires, now)); g.state == gateRefused && at.Before(g.until) {
			g.until, g.prober = at, t.object
		}
	}
	g.waiting[t.object] = w
}

// answer is what a call to Reactor says about the key.
type answer int

const (
	answerAccepted answer = iota // a token, or a refusal of the request rather than of the key
	answerRefused                // 401
	answerLimited                // 429
	answerNone                   // no usable answer: nothing was learned about the key
)

// recordAnswer takes an answer into account, and returns the waiting objects to reconcile now. When nothing was learned about
// the key, that is one of them: it calls next, and the others wait for its answer.
func (g *gate) recordAnswer(t ticket, what answer, retryAfter time.Duration, now time.Time) []ticket {
	probed := g.probe.object == t.object
	if probed {
		g.probe.object = types.NamespacedName{}
	}
	if !probed && g.closed(now) {
		return g.recordLateAnswer(t, what, retryAfter, now)
	}
	switch what {
	case answerAccepted:
		return g.open()
	case answerRefused:
		g.refuse(t, now)
	case answerLimited:
		g.rateLimit(t, retryAfter, now)
	case answerNone:
		return g.passOn()
	}
	return g.releaseUnreported()
}

// recordLateAnswer takes the answer of a call that was sent before the gate closed.
//
//  1. Two calls are on their way. The first is answered 401 by mistake, and the gate closes.
//  2. The second is answered 200. The key is good, so the gate opens again.
//
// After a 429, a 200 says nothing: it used up what the limit left. A further 429 may name a later time.
func (g *gate) recordLateAnswer(t ticket, what answer, retryAfter time.Duration, now time.Time) []ticket {
	if what == answerAccepted && g.state == gateRefused {
		return g.open()
	}
	if until := now.Add(retryAfter); what == answerLimited && g.state == gateRateLimited && until.After(g.until) {
		g.until = until
	}
	if what == answerRefused || what == answerLimited {
		g.wait(t, now)
	}
	return nil
}

func (g *gate) open() []ticket {
	g.state, g.refusedSince, g.consecutive429s, g.prober = gateOpen, time.Time{}, 0, types.NamespacedName{}
	return g.release(func(waiter) bool { return true })
}

// refuse closes the gate after a 401. The object that got it tries the key again.
func (g *gate) refuse(t ticket, now time.Time) {
	g.state = gateRefused
	if g.refusedSince.IsZero() {
		g.refusedSince = now
	}
	wait := g.probeWait(t.expires, now)
	for _, w := range g.waiting {
		wait = min(wait, g.probeWait(w.expires, now))
	}
	g.until, g.prober = now.Add(wait), t.object
	g.wait(t, now)
}

// probeWait is how long a refused key is left alone, as far as a token that expires at the given time can afford it. A token
// that has expired, or does not exist, needs no earlier probe than others.
//
// The wait is as long as the key has been refused, and minProbeWait more: 30 seconds, then 1, 2, 4 and 8 minutes. It does not
// depend on the number of 401s:
//
//  1. Reactor answers 401 by mistake for two minutes.
//  2. A token that has 47 seconds left brings eight probes forward. Each of them is answered with 401.
//  3. The token expires. A wait that doubled with each 401 would now be 15 minutes long, and the token would be missing for
//     that time, although Reactor accepts the key again a minute later.
func (g *gate) probeWait(expires, now time.Time) time.Duration {
	wait := minProbeWait
	if !g.refusedSince.IsZero() {
		wait = min(now.Sub(g.refusedSince)+minProbeWait, maxProbeWait)
	}
	if left := expires.Sub(now.Round(0)); !expires.IsZero() && left > 0 {
		wait = min(wait, max(left/probeShare, probeFloor))
	}
	return wait
}

// rateLimit closes the gate after a 429. The object that got it tries the key again.
func (g *gate) rateLimit(t ticket, retryAfter time.Duration, now time.Time) {
	if retryAfter <= 0 {
		retryAfter = min(minLimitWait<<min(g.consecutive429s, 8), maxLimitWait)
		g.consecutive429s++
	}
	if until := now.Add(retryAfter); g.state != gateRateLimited || until.After(g.until) {
		g.until = until // otherwise an earlier answer named a later time
	}
	g.state, g.prober = gateRateLimited, t.object
	g.wait(t, now)
}

// passOn gives the duty to try the key to one of the objects that wait, the one whose token expires first, and returns it to
// be reconciled.
func (g *gate) passOn() []ticket {
	g.prober = types.NamespacedName{}
	if len(g.waiting) == 0 {
		return nil
	}
	next := slices.MinFunc(slices.Collect(maps.Values(g.waiting)), func(one, other waiter) int {
		return cmp.Or(compareExpiries(one.expires, other.expires), strings.Compare(one.object.String(), other.object.String()))
	})
	g.prober = next.object
	return []ticket{next.ticket}
}

// compareExpiries orders the expiries of tokens. Zero stands for no token, and comes last.
func compareExpiries(one, other time.Time) int {
	if one.IsZero() != other.IsZero() {
		return -one.Compare(other)
	}
	return one.Compare(other)
}

// abandon notes that an object neither waits nor calls. When it had the duty to try the key, another object has it now and is
// returned, to be reconciled.
func (g *gate) abandon(object types.NamespacedName) []ticket {
	delete(g.waiting, object)
	if g.prober != object {
		return nil
	}
	return g.passOn()
}

// releaseUnreported takes those out of the waiting objects whose status does not say yet why they wait.
func (g *gate) releaseUnreported() []ticket {
	return g.release(func(w waiter) bool { return w.reported != g.state })
}

// release takes the matching objects out of those that wait.
func (g *gate) release(matches func(waiter) bool) []ticket {
	var released []ticket
	for object, w := range g.waiting {
		if matches(w) {
			delete(g.waiting, object)
			released = append(released, w.ticket)
		}
	}
	return released
}

// view is the gate as the conditions of an object show it. A wait that is over stays in status, without a time, until the one
// call that may try the key has its answer: the conditions of the objects that wait for it must not flap.
func (g *gate) view(object types.NamespacedName, now time.Time) gateView {
	view := gateView{state: g.state, closed: g.closed(now)}
	if view.closed && g.prober == object {
		view.until = onWallClock(g.until, now, g.until.Sub(now))
	}
	return view
}

// onWallClock is the time until which so much time is left, by the wall clock as it is now.
//
//  1. The gate closes and stores the time at which the key may be tried again.
//  2. The wall clock jumps forward, or the host is suspended.
//  3. The stored time is in the past by the wall clock, but the gate uses the monotonic clock and stays closed.
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
