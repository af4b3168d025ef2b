package sim

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// schedule is all that a simulation depends on: it can be printed, kept in a file, shortened and played again.
type schedule struct {
	Seed        uint64        `json:"seed"`        // of the UIDs, and of what the schedule was drawn from
	Concurrency int           `json:"concurrency"` // passes of each controller at once
	Lag         time.Duration `json:"lag"`         // of the caches
	Steps       []step        `json:"steps"`
}

// step is one event. What its members mean stands with the operation that it names.
type step struct {
	After time.Duration `json:"after"` // the step before it
	Do    string        `json:"do"`    // an operation of operations
	On    string        `json:"on,omitempty"`
	How   string        `json:"how,omitempty"`
	For   time.Duration `json:"for,omitempty"`
	Count int           `json:"count,omitempty"`
}

// String is how a step reads in a report.
func (s step) String() string {
	text := []string{fmt.Sprintf("+%-10s %s", s.After, s.Do)}
	if s.On != "" {
		text = append(text, s.On)
	}
	if s.How != "" {
		text = append(text, s.How)
	}
	if s.For != 0 {
		text = append(text, "for "+s.For.String())
	}
	if s.Count != 0 {
		text = append(text, fmt.Sprintf("#%d", s.Count))
	}
	return strings.Join(text, " ")
}

func (s schedule) String() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	var steps strings.Builder
	at := time.Duration(0)
	for _, step := range s.Steps {
		at += step.After
		fmt.Fprintf(&steps, "  %12s %s\n", at, step)
	}
	return fmt.Sprintf("seed %d, %d passes at once, caches that lag %s:\n%s  as a file of testdata: %s", s.Seed, s.Concurrency, s.Lag, steps.String(), text)
}

// dice draws schedules. What a simulation draws while it plays comes from elsewhere: see newUIDs.
type dice struct{ *rand.Rand }

func (d dice) one(of ...string) string { return of[d.IntN(len(of))] }

// between draws a duration in whole seconds, such that each order of magnitude is as likely as another.
func (d dice) between(least, most time.Duration) time.Duration {
	span := float64(most) / float64(least)
	return time.Duration(float64(least) * math.Pow(span, d.Float64())).Truncate(time.Second)
}

// draw draws the schedule of a seed.
func draw(seed uint64) schedule {
	d := dice{rand.New(rand.NewPCG(seed, 1))}
	s := schedule{Seed: seed, Concurrency: 1 + d.IntN(2), Lag: []time.Duration{20 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second}[d.IntN(3)]}
	if d.IntN(6) == 0 {
		return calm(d, s)
	}
	s.Steps = opening(d)
	longest := []time.Duration{2 * time.Minute, 10 * time.Minute, 40 * time.Minute}[d.IntN(3)]
	for range 20 + d.IntN(25) {
		next := drawOperation(d)
		next.After = d.between(time.Second, longest)
		if d.IntN(4) == 0 {
			next.After = time.Duration(d.IntN(1500)) * time.Millisecond // together with the one before
		}
		s.Steps = append(s.Steps, next)
	}
	return s
}

// calm draws a schedule in which a crowd of tokens begins together, and little happens. Where much does, the judge makes so many allowances
// that it would not see renewals that come together, or too late by a clock: it is mostly a clock that is set here, a host that is another one,
// or an answer that is wrong.
func calm(d dice, s schedule) schedule {
	s.Steps = []step{{Do: "start operator"}}
	lifetime := d.one("30m", "1h")
	for _, name := range crowdNames {
		s.Steps = append(s.Steps, step{Do: "create token", On: name, How: lifetime})
	}
	for i := range 1 + d.IntN(3) {
		next := drawOperation(d)
		if i == 0 || d.IntN(2) == 0 {
			few := slices.Concat(clockOperations, hostOperations, betweenOperations)
			next = few[d.IntN(len(few))].drawn(d)
		}
		next.After = 90*time.Minute + d.between(time.Minute, time.Hour)
		s.Steps = append(s.Steps, next)
	}
	s.Steps = append(s.Steps, step{After: 2 * time.Hour, Do: "edit metadata", On: "web"})
	return s
}

// opening is what there is at the begin: some tokens and sessions, and mostly the operator.
func opening(d dice) []step {
	var steps []step
	for _, name := range tokenNames[:1+d.IntN(len(tokenNames))] {
		steps = append(steps, step{Do: "create token", On: name, How: d.one(lifetimes...)})
	}
	for _, name := range sessionNames[:d.IntN(len(sessionNames)+1)] {
		steps = append(steps, step{Do: "create session", On: name, How: d.one(sessionForms...)})
	}
	start := step{Do: "start operator"}
	at := d.IntN(len(steps) + 1)
	return append(steps[:at:at], append([]step{start}, steps[at:]...)...)
}

// drawOperation draws one of the operations by its weight.
func drawOperation(d dice) step {
	sum := 0
	for _, o := range operations {
		sum += o.weight
	}
	drawn := d.IntN(sum)
	for _, o := range operations {
		if drawn -= o.weight; drawn < 0 {
			return o.drawn(d)
		}
	}
	panic("the weights do not add up")
}

// drawn is the operation as a step, with what it is about drawn too.
func (o operation) drawn(d dice) step {
	next := step{}
	if o.draw != nil {
		next = o.draw(d)
	}
	next.Do = o.name
	return next
}
