package sim

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"k8s.io/utils/clock"
)

// clocks are the clocks of a simulation. The bubble's time is the one that timers know; it never jumps. The true time is ahead of it by
// the time for which hosts were suspended. Hosts of the operator, Reactor and nodes can each have a clock that differs from the true time.
type clocks struct {
	mu        sync.Mutex
	suspended time.Duration // in total
}

// host is a machine that runs the operator. A run stays on its host; the next run may have another one.
type host struct {
	ahead time.Duration // how far its wall clock is ahead of the true time; clocks.mu guards it
}

// trueTime tells the true time.
func (c *clocks) trueTime() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.suspended)
}

func (c *clocks) suspend(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.suspended += d
}

// set sets the wall clock of a host.
func (c *clocks) set(h *host, ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.ahead = ahead
}

// suspendedFor is how long hosts were suspended, all in all.
func (c *clocks) suspendedFor() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.suspended
}

// aheadOf returns how far the wall clock of a host is ahead of the true time.
func (c *clocks) aheadOf(h *host) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return h.ahead
}

// worldClock tells the true time.
type worldClock struct{ *clocks }

func (c worldClock) Now() time.Time                     { return c.trueTime() }
func (c worldClock) Since(then time.Time) time.Duration { return c.Now().Sub(then) }

// operatorClock is the clock of the host of one run of the operator. Its readings carry a monotonic part, as time.Now's do outside of bubbles: it knows nothing
// of jumps, and stood still while the host was suspended.
type operatorClock struct {
	clock.RealClock // its timers are those of the bubble
	*clocks

	host *host
	read func() // called with each reading
}

func (c operatorClock) Now() time.Time {
	c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return reading(now.Add(c.suspended+c.host.ahead), now.Sub(bubbleBegin))
}

func (c operatorClock) Since(then time.Time) time.Duration { return c.Now().Sub(then) }

var (
	_ clock.PassiveClock = worldClock{}
	_ clock.Clock        = operatorClock{}
)

// bubbleBegin is when the time of each bubble begins (testing/synctest).
var bubbleBegin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// reading makes a reading of a clock from its two parts. Package time lets nobody do this, and bubbles have no monotonic clock: this
// writes the representation that Time has had since Go 1.9. A test holds it to that.
func reading(wall time.Time, monotonic time.Duration) time.Time {
	const (
		hasMonotonic = 1 << 63
		nsecShift    = 30
	)
	begin := time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	made := struct {
		wall     uint64
		ext      int64
		location *time.Location
	}{hasMonotonic | uint64(wall.Unix()-begin)<<nsecShift | uint64(wall.Nanosecond()), int64(monotonic) + 1, time.UTC}
	return *(*time.Time)(unsafe.Pointer(&made))
}

func TestTheOperatorsClockHasTwoParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &clocks{}
		here := &host{}
		operator, elsewhere := operatorClock{clocks: c, host: here, read: func() {}}, operatorClock{clocks: c, host: &host{ahead: time.Minute}, read: func() {}}
		before := operator.Now()
		time.Sleep(time.Minute + time.Nanosecond)
		c.suspend(time.Hour)
		c.set(here, -24*time.Hour)
		after := operator.Now()
		if got := after.Sub(before); got != time.Minute+time.Nanosecond {
			t.Errorf("by the monotonic clock, %s passed", got)
		}
		if got, want := after.Round(0).Sub(before.Round(0)), time.Minute+time.Nanosecond+time.Hour-24*time.Hour; got != want {
			t.Errorf("by the wall clock, %s passed, want %s", got, want)
		}
		if got, want := elsewhere.Now().Round(0).Sub(after.Round(0)), 24*time.Hour+time.Minute; got != want {
			t.Errorf("the clock of another host is %s ahead, want %s", got, want)
		}
		if !before.Round(0).Equal(bubbleBegin) {
			t.Errorf("the first reading is %s", before)
		}
		if got := c.trueTime().Sub(bubbleBegin); got != time.Hour+time.Minute+time.Nanosecond {
			t.Errorf("the true time is %s after the begin", got)
		}
	})
}
