package reactortoken

import (
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// clocks is what the operator knows about the time when a reconcile starts.
type clocks struct {
	// now is the operator's clock, with Go's monotonic reading.
	now time.Time
	// elapsed since the token was received, on the monotonic clock, which does not jump with the wall clock but
	// stands still while a machine is suspended. 0 when this process did not receive the token.
	elapsed time.Duration
	// started is when this process started, and measured its newest measurement of Reactor's clock; zero without one.
	started  time.Time
	measured measurement
}

// measurement is what a process measured of Reactor's clock when it received a token.
type measurement struct {
	at   time.Time     // the operator's clock, with Go's monotonic reading
	skew time.Duration // Reactor's clock minus the operator's
}

// until returns how long it is until a time of Reactor's clock. Of the readings of that clock, the latest counts: a token that is
// renewed early costs less than one that is thought to be valid and is not. The result is negative when the time has passed.
func (c clocks) until(at time.Time, written *targetsecret.Record) time.Duration {
	return at.Sub(slices.MaxFunc(c.readings(written), time.Time.Compare))
}

// passedByOneReading reports whether a time of Reactor's clock has passed by the reading that counts, and not by another one:
// the clocks that disagree may be corrected.
func (c clocks) passedByOneReading(at time.Time, written *targetsecret.Record) bool {
	return c.until(at, written) <= 0 && at.After(slices.MinFunc(c.readings(written), time.Time.Compare))
}

// leftForProbe is how long the token may live, for the time at which a refused key is tried again. A token that has expired needs no early
// try. If another reading says that it has not expired, that reading counts:
//
//  1. The operator restarts on a host whose clock is fast. By that clock, a valid token of two minutes has expired. Corrected by the stored skew,
//     it has not.
//  2. Reactor answers 401 by mistake, twice. No answer has shown yet what Reactor's clock is.
//  3. The key is tried again after 30 seconds, and then after a minute. The token expires in this minute.
func (c clocks) leftForProbe(written *targetsecret.Record) time.Duration {
	if c.passedByOneReading(written.ExpiresAt, written) {
		return written.ExpiresAt.Sub(slices.MinFunc(c.readings(written), time.Time.Compare))
	}
	return c.until(written.ExpiresAt, written)
}

// readings are what Reactor's clock may show now. There are two or more, because no clock is trusted alone: the wall clock may
// jump, and the monotonic one stands still while a machine is suspended.
//
// The skew in a Secret belongs to the host that received the token. It misleads another host:
//
//  1. The clock of leader A is 30 minutes fast. A writes a skew of minus 30 minutes into the Secret.
//  2. Leader B, whose clock is correct, takes over. Corrected by that skew, its clock is 30 minutes slow.
//  3. The token expires, and for 30 minutes B reports it as valid and requests no other.
//
// So a token that this process did not receive is judged by the newest skew that this process measured. Before the first
// measurement it is not known whether the host is the same, and both the wall clock and the stored skew count.
func (c clocks) readings(written *targetsecret.Record) []time.Time {
	wall := c.now.Round(0)
	switch {
	case c.elapsed > 0:
		return []time.Time{wall.Add(written.Skew), written.IssuedAt.Add(c.elapsed)}
	case !c.measured.at.IsZero():
		return []time.Time{wall.Add(c.measured.skew), c.since(c.measured.at).Add(c.measured.skew)}
	default:
		monotonic := c.since(c.started)
		return []time.Time{wall, wall.Add(written.Skew), monotonic, monotonic.Add(written.Skew)}
	}
}

// since is an earlier reading of the operator's clock, advanced by what has elapsed on the monotonic clock. A clock that seems
// to run backwards is not believed.
func (c clocks) since(earlier time.Time) time.Time {
	elapsed := c.now.Sub(earlier)
	if earlier.IsZero() || elapsed <= 0 {
		return c.now.Round(0)
	}
	return earlier.Round(0).Add(elapsed)
}

// timekeeper is what this process knows of Reactor's clock. It is safe for concurrent use.
type timekeeper struct {
	started time.Time

	mu     sync.Mutex
	newest measurement
}

// clocksAt are the clocks for a token that this process received at the given time; the zero time means that another
// process received the token.
func (k *timekeeper) clocksAt(now, received time.Time) clocks {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := clocks{now: now, started: k.started, measured: k.newest}
	if !received.IsZero() {
		c.elapsed = now.Sub(received)
	}
	return c
}

// measureTolerance is what two measurements may differ by although no clock was set: each is exact to half a second and half
// the duration of its call (see reactor.Token), and a call takes at most 15 seconds.
const measureTolerance = 10 * time.Second

// record takes a measurement into account. It reports whether Reactor's clock turns out to differ from what was assumed. If it is
// ahead, the reconciles that are scheduled for tokens of other processes come too late. If it is behind, valid tokens were reported
// as expired.
func (k *timekeeper) record(m measurement) (corrected bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.newest.at.IsZero() && m.at.Sub(k.newest.at) < 0 {
		return false
	}
	before := clocks{now: m.at, started: k.started, measured: k.newest}
	k.newest = m
	return before.until(m.at.Round(0).Add(m.skew), &targetsecret.Record{}).Abs() > measureTolerance
}

// wholeSecond rounds up: status stores whole seconds, and a reconcile at a time that was rounded down would be too early.
func wholeSecond(at time.Time) time.Time {
	return at.Add(time.Second - 1).Truncate(time.Second)
}

func timestamp(at time.Time) *metav1.Time {
	if at.IsZero() {
		return nil
	}
	return &metav1.Time{Time: at.UTC().Truncate(time.Second)}
}
