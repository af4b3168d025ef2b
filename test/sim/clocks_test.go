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
// what the hosts were suspended; the operator's host and Reactor may tell another one, and so may nodes.
type clocks struct {
	mu        sync.Mutex
	suspended time.Duration // all in all
	operator  time.Duration // how far the operator's wall clock is ahead of the true time
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

func (c *clocks) setOperator(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.operator = ahead
}

// suspendedFor is how long hosts were suspended, all in all.
func (c *clocks) suspendedFor() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.suspended
}

// aheadNow is how far the operator's wall clock is ahead of the true time.
func (c *clocks) aheadNow() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.operator
}

// worldClock tells the true time.
type worldClock struct{ *clocks }

func (c worldClock) Now() time.Time                     { return c.trueTime() }
func (c worldClock) Since(then time.Time) time.Duration { return c.Now().Sub(then) }

// operatorClock is that of the operator's host. Its readings carry a monotonic part, as time.Now's do outside of bubbles: it knows nothing
// of jumps, and stood still while the host was suspended.
type operatorClock struct {
	*clocks

	read func() // is told of each reading
}

func (c operatorClock) Now() time.Time {
	c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return reading(now.Add(c.suspended+c.operator), now.Sub(bubbleBegin))
}

func (c operatorClock) Since(then time.Time) time.Duration { return c.Now().Sub(then) }

var _, _ clock.PassiveClock = worldClock{}, operatorClock{}

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
		operator := operatorClock{c, func() {}}
		before := operator.Now()
		time.Sleep(time.Minute + time.Nanosecond)
		c.suspend(time.Hour)
		c.setOperator(-24 * time.Hour)
		after := operator.Now()
		if got := after.Sub(before); got != time.Minute+time.Nanosecond {
			t.Errorf("by the monotonic clock, %s passed", got)
		}
		if got, want := after.Round(0).Sub(before.Round(0)), time.Minute+time.Nanosecond+time.Hour-24*time.Hour; got != want {
			t.Errorf("by the wall clock, %s passed, want %s", got, want)
		}
		if !before.Round(0).Equal(bubbleBegin) {
			t.Errorf("the first reading is %s", before)
		}
		if got := c.trueTime().Sub(bubbleBegin); got != time.Hour+time.Minute+time.Nanosecond {
			t.Errorf("the true time is %s after the begin", got)
		}
	})
}
