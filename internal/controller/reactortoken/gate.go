package reactortoken

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// gateState says what Reactor thinks of an API key.
type gateState int

const (
	// gateUnknown: nothing has been answered yet since the operator started. One call goes through; the others wait for its
	// answer.
	gateUnknown gateState = iota
	// gateOpen: the key is good.
	gateOpen
	// gateHeld: Reactor answered 429. Nothing goes through until an instant.
	gateHeld
	// gateRefused: Reactor answered 401. One call goes through every 15 minutes, so that a mistake on Reactor's side heals.
	gateRefused
)

const (
	// refusedProbeInterval is how often one call tries a key that was refused.
	refusedProbeInterval = 15 * time.Minute
	// defaultHold is how long a key is held after a first 429 that names no instant; it doubles with each further one, up
	// to maxHold.
	defaultHold = 30 * time.Second
	maxHold     = 10 * time.Minute
	// probeTimeout frees the place of a probe whose object vanished before it called. It is longer than a call may take.
	probeTimeout = time.Minute
)

// gate is what stands between all the ReactorTokens of one API key and Reactor. It lives in memory only: after a restart
// it is unknown, which costs one call.
type gate struct {
	state gateState
	until time.Time // of gateHeld and gateRefused: when one call may try again
	holds int       // consecutive 429s without Retry-After
	probe struct {
		object types.NamespacedName
		since  time.Time
	}
	waiting map[types.NamespacedName]struct{} // to be woken by the next answer
}

// gateView is a gate as a condition shows it.
type gateView struct {
	state gateState
	until time.Time
}

// lets reports whether the object may call now. While the gate is not open, one object at a time may.
func (g *gate) lets(object types.NamespacedName, now time.Time) bool {
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

// closed reports whether nothing goes through now.
func (g *gate) closed(now time.Time) bool {
	return g.state != gateOpen && g.state != gateUnknown && now.Before(g.until)
}

// calls takes note that the object calls now.
func (g *gate) calls(object types.NamespacedName, now time.Time) {
	if g.state != gateOpen {
		g.probe.object, g.probe.since = object, now
	}
}

// answer is what a call to Reactor says about the key.
type answer int

const (
	answerAccepted answer = iota // a token, or a refusal of the request rather than of the key
	answerRefused                // 401
	answerLimited                // 429
	answerNone                   // no usable answer: nothing was learned about the key
)

// answered takes an answer into account, and returns those who waited for it and can go on now. When nothing was learned
// about the key, that is one of them: it calls next, and the others wait for its answer.
func (g *gate) answered(object types.NamespacedName, what answer, retryAfter time.Duration, now time.Time) []types.NamespacedName {
	probed := g.probe.object == object
	if probed {
		g.probe.object = types.NamespacedName{}
	}
	if !probed && g.closed(now) {
		g.lateAnswer(what, retryAfter, now)
		return nil
	}
	switch what {
	case answerAccepted:
		g.state, g.holds = gateOpen, 0
	case answerRefused:
		g.state, g.until = gateRefused, now.Add(refusedProbeInterval)
	case answerLimited:
		g.hold(retryAfter, now)
	case answerNone:
		return g.release(1)
	}
	return g.release(len(g.waiting))
}

// release takes at most the given number of objects out of those that wait.
func (g *gate) release(most int) []types.NamespacedName {
	released := make([]types.NamespacedName, 0, most)
	for object := range g.waiting {
		if len(released) == most {
			break
		}
		delete(g.waiting, object)
		released = append(released, object)
	}
	return released
}

// view is the gate as a condition shows it. A hold that is over lasts, without an instant, until the one call that may try
// again has its answer: the conditions of those who wait for it must not flap.
func (g *gate) view(now time.Time) gateView {
	if g.state == gateOpen || now.Before(g.until) {
		return gateView{state: g.state, until: onWallClock(g.until, now, g.until.Sub(now))}
	}
	return gateView{state: g.state}
}

// onWallClock is the instant until which so much time is left, as the wall clock tells it now. The gate itself waits by the monotonic
// clock; after the wall clock has jumped, or the host was suspended, the instant that was stored may have passed on the wall clock, and who
// waits for it would ask again and again.
func onWallClock(stored, now time.Time, left time.Duration) time.Time {
	const tolerance = time.Second // between the two clocks; told to the second, the instant must not flap
	if wall := stored.Round(0).Sub(now.Round(0)); (wall - left).Abs() <= tolerance {
		return stored
	}
	return now.Round(0).Add(left)
}

// lateAnswer takes the answer of a call that was on its way when the gate closed. It says nothing that the answer which closed
// the gate did not, except that a 429 may name a later instant.
func (g *gate) lateAnswer(what answer, retryAfter time.Duration, now time.Time) {
	if until := now.Add(retryAfter); what == answerLimited && g.state == gateHeld && until.After(g.until) {
		g.until = until
	}
}

func (g *gate) hold(retryAfter time.Duration, now time.Time) {
	if retryAfter <= 0 {
		retryAfter = min(defaultHold<<min(g.holds, 8), maxHold)
		g.holds++
	}
	until := now.Add(retryAfter)
	if g.state == gateHeld && g.until.After(until) {
		return // an earlier answer named a later instant
	}
	g.state, g.until = gateHeld, until
}
