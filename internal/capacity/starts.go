package capacity

import (
	"slices"
	"time"
)

// startBurst is how many sessions may start at the same time after a quiet minute. Reactor's default allows that many.
const startBurst = 3

// starts is the limit of starts per minute of one API key: a token bucket to which a start can be returned long after it was taken, as if
// it had never been taken. rate.Limiter cannot do that: it restores a token at the time of the reservation, so that the time since then
// counts twice, or, a few seconds later, not at all.
//
// So the starts that can still be returned are kept one by one, with the level of the bucket before the first of them.
type starts struct {
	perMinute, burst int

	left   float64 // before recent[0]
	at     time.Time
	recent []*start // ordered by time; the first one is not used
}

// start is one start that a session has taken.
type start struct {
	at   time.Time
	used bool // by a pod: it can no longer be returned
}

func newStarts(perMinute int) *starts {
	burst := min(startBurst, perMinute)
	return &starts{perMinute: perMinute, burst: burst, left: float64(burst)}
}

// refill is the level of the bucket at now, if it was left at the time at.
func (s *starts) refill(left float64, at, now time.Time) float64 {
	return min(left+max(now.Sub(at), 0).Minutes()*float64(s.perMinute), float64(s.burst))
}

// leftAt is the number of starts that are available. now may be earlier than in the call before: concurrent reconciles read the clock in
// another order than they call.
func (s *starts) leftAt(now time.Time) float64 {
	if s.latest().Sub(now) > time.Minute { // the clock was set back
		s.left, s.at = s.leftAt(s.latest()), now
		for _, taken := range s.recent {
			s.left, taken.at = s.left+1, now
		}
	}
	left, at := s.left, s.at
	for _, taken := range s.recent {
		left, at = s.refill(left, at, taken.at)-1, taken.at
	}
	return s.refill(left, at, now)
}

// latest is when the last start that still counts was taken.
func (s *starts) latest() time.Time {
	if len(s.recent) > 0 {
		return s.recent[len(s.recent)-1].at
	}
	return s.at
}

// wait is how long it takes until a start is available; 0 if one is available now.
func (s *starts) wait(now time.Time) time.Duration {
	left := s.leftAt(now)
	if left >= 1 {
		return 0
	}
	return max(time.Duration((1-left)/float64(s.perMinute)*float64(time.Minute)), time.Nanosecond)
}

func (s *starts) take(now time.Time) *start {
	if now.Before(s.latest()) {
		now = s.latest()
	}
	taken := &start{at: now}
	s.recent = append(s.recent, taken)
	return taken
}

// use marks a start as used by a pod.
func (s *starts) use(taken *start) {
	taken.used = true
	for len(s.recent) > 0 && s.recent[0].used {
		first := s.recent[0]
		s.left, s.at, s.recent = s.refill(s.left, s.at, first.at)-1, first.at, s.recent[1:]
	}
}

// undo returns a start that no pod has used.
func (s *starts) undo(taken *start) {
	s.recent = slices.DeleteFunc(s.recent, func(other *start) bool { return other == taken })
	if len(s.recent) > 0 && s.recent[0].used {
		s.use(s.recent[0])
	}
}

// reservation is what a session took when it was admitted: one start of each key of its pool.
type reservation map[*starts]*start

func (r reservation) use() {
	for of, taken := range r {
		of.use(taken)
	}
}

func (r reservation) undo() {
	for of, taken := range r {
		of.undo(taken)
	}
}
