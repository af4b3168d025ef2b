package reactortoken

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

func TestUntil(t *testing.T) {
	// The token was issued at noon by Reactor's clock; the instant asked for is an hour later.
	tests := []struct {
		name   string
		skew   time.Duration // Reactor's clock is ahead by this
		clocks clocks
		want   time.Duration
	}{
		{name: "the clocks agree", clocks: clocks{now: noon.Add(10 * time.Minute)}, want: 50 * time.Minute},
		{name: "the instant has passed", clocks: clocks{now: noon.Add(2 * time.Hour)}, want: -time.Hour},
		{name: "Reactor's clock is ahead", skew: 10 * time.Minute, clocks: clocks{now: noon}, want: 50 * time.Minute},
		{name: "Reactor's clock is behind", skew: -10 * time.Minute, clocks: clocks{now: noon.Add(-10 * time.Minute), measured: measurement{noon.Add(-11 * time.Minute), -10 * time.Minute}}, want: 80 * time.Minute},
		{name: "both clocks have gone on alike", clocks: clocks{now: noon.Add(10 * time.Minute), elapsed: 10 * time.Minute}, want: 50 * time.Minute},
		{name: "the wall clock was turned back", clocks: clocks{now: noon.Add(-5 * time.Hour), elapsed: 10 * time.Minute}, want: 50 * time.Minute},
		{name: "the wall clock was turned forward", clocks: clocks{now: noon.Add(5 * time.Hour), elapsed: 10 * time.Minute}, want: -4 * time.Hour},
		{name: "the machine was suspended", clocks: clocks{now: noon.Add(40 * time.Minute), elapsed: time.Minute}, want: 20 * time.Minute},
		{name: "a skew means nothing to the monotonic clock", skew: -10 * time.Minute, clocks: clocks{now: noon, elapsed: 10 * time.Minute}, want: 50 * time.Minute},
		{
			name: "the skew in the Secret is of a host whose clock was fast", skew: -30 * time.Minute,
			clocks: clocks{now: noon.Add(time.Hour + 5*time.Minute)}, want: -5 * time.Minute,
		},
		{
			name: "this process measured another skew than the host before", skew: -30 * time.Minute,
			clocks: clocks{now: noon.Add(10 * time.Minute), measured: measurement{noon.Add(9 * time.Minute), 0}}, want: 50 * time.Minute,
		},
		{
			name:   "this process measured that its clock is fast",
			clocks: clocks{now: noon.Add(40 * time.Minute), measured: measurement{noon.Add(39 * time.Minute), -30 * time.Minute}}, want: 50 * time.Minute,
		},
		{
			name: "a token that this process received keeps its own skew", skew: 5 * time.Minute,
			clocks: clocks{now: noon, elapsed: time.Minute, measured: measurement{noon, time.Hour}}, want: 55 * time.Minute,
		},
		{name: "a clock that seems to run backwards is not believed", clocks: clocks{now: noon, elapsed: -time.Minute}, want: time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.clocks.until(noon.Add(time.Hour), &targetsecret.Record{IssuedAt: noon, Skew: test.skew})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("until (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatHasPassedByOneReadingAlone(t *testing.T) {
	for name, test := range map[string]struct {
		clocks clocks
		skew   time.Duration
		want   bool
	}{
		"by neither":                     {clocks{now: noon.Add(59 * time.Minute), elapsed: 59 * time.Minute}, 0, false},
		"by both":                        {clocks{now: noon.Add(time.Hour), elapsed: time.Hour}, 0, false},
		"by the wall clock alone":        {clocks{now: noon.Add(time.Hour), elapsed: 59 * time.Minute}, 0, true},
		"by the monotonic clock alone":   {clocks{now: noon, elapsed: time.Hour}, 0, true},
		"by the clock of another host":   {clocks{now: noon}, time.Hour, true},
		"there is but the wall clock":    {clocks{now: noon.Add(time.Hour)}, 0, false},
		"one that seems to go backwards": {clocks{now: noon.Add(time.Hour), elapsed: -time.Minute}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.clocks.passedByOneReading(noon.Add(time.Hour), &targetsecret.Record{IssuedAt: noon, Skew: test.skew}); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

// Two readings of Go's clock carry the monotonic one, so that a jump of the wall clock between them does not show.
func TestClocksAtMeasuresOnTheMonotonicClock(t *testing.T) {
	received := time.Now()
	now := received.Add(time.Minute) // moves both readings
	k := &timekeeper{}
	if got := k.clocksAt(now, received).elapsed; got != time.Minute {
		t.Errorf("elapsed %s", got)
	}
	if got := k.clocksAt(now, time.Time{}); got.elapsed != 0 || !got.now.Equal(now) {
		t.Errorf("without the time of receipt, the clocks are %+v", got)
	}
}

func TestAWallClockThatIsSetBackDoesNotPutOffWhatThisProcessKnows(t *testing.T) {
	started := time.Now()
	later := started.Add(2 * time.Hour) // on both clocks
	c := clocks{now: later, started: started}
	if got, want := c.since(started), started.Round(0).Add(2*time.Hour); !got.Equal(want) {
		t.Errorf("the clock of the start shows %s, want %s", got, want)
	}
	if got := (clocks{now: noon}).since(noon.Add(time.Hour)); !got.Equal(noon) {
		t.Errorf("a clock that seems to run backwards shows %s", got)
	}
}

func TestAMeasurementReportsAClockThatDiffersFromTheAssumedOne(t *testing.T) {
	minutes := func(n int) time.Duration { return time.Duration(n) * time.Minute }
	for name, test := range map[string]struct {
		before []measurement
		skew   time.Duration
		want   bool
	}{
		"the first one, of a right clock":         {nil, 0, false},
		"the first one, of a fast clock":          {nil, -minutes(30), true},
		"the first one, of a slow clock":          {nil, minutes(30), true},
		"a slow clock that was measured before":   {[]measurement{{noon.Add(-minutes(5)), minutes(30)}}, minutes(30) + time.Second, false},
		"a fast clock that was corrected":         {[]measurement{{noon.Add(-minutes(5)), -minutes(30)}}, 0, true},
		"a call that took long after a quick one": {[]measurement{{noon.Add(-minutes(5)), 0}}, 8 * time.Second, false},
		"a measurement that was overtaken":        {[]measurement{{noon.Add(minutes(1)), 0}}, minutes(30), false},
	} {
		t.Run(name, func(t *testing.T) {
			k := &timekeeper{}
			for _, m := range test.before {
				k.record(m)
			}
			if got := k.record(measurement{noon, test.skew}); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}
