package reactorsession

import (
	"slices"
	"time"
)

// starts are those of a minute that the limit of an API key leaves: a token bucket to which a start can be returned long after it was taken,
// as if it had never been taken. rate.Limiter is none: it restores at the time of the reservation, so that the time since then counts twice,
// or, a few seconds later, not at all.
//
// So the starts that may still be returned are kept one by one, with the bucket as it was before the first of them.
type starts struct {
	perMinute, burst int

	left   float64 // before the first one that is kept
	at     time.Time
	recent []*takenStart // the earliest first, and the first one may be returned
}

// takenStart is one that a session has taken.
type takenStart struct {
	at   time.Time
	used bool // by a pod: it cannot be returned any more
}

func newStarts(perMinute int) *starts {
	burst := min(startBurst, perMinute)
	return &starts{perMinute: perMinute, burst: burst, left: float64(burst)}
}

// after is the bucket at a time after another one, when it had this left.
func (s *starts) after(left float64, at, now time.Time) float64 {
	return min(left+max(now.Sub(at), 0).Minutes()*float64(s.perMinute), float64(s.burst))
}

// leftAt is how many starts there are. A session may call with an earlier time than the one before it: reconciles read the clock in another
// order than they come here.
func (s *starts) leftAt(now time.Time) float64 {
	if s.latest().Sub(now) > time.Minute { // the clock was set back
		s.left, s.at = s.leftAt(s.latest()), now
		for _, taken := range s.recent {
			s.left, taken.at = s.left+1, now
		}
	}
	left, at := s.left, s.at
	for _, taken := range s.recent {
		left, at = s.after(left, at, taken.at)-1, taken.at
	}
	return s.after(left, at, now)
}

// latest is when a start was taken last, as far as that counts.
func (s *starts) latest() time.Time {
	if len(s.recent) > 0 {
		return s.recent[len(s.recent)-1].at
	}
	return s.at
}

// wait is how long it takes until there is a start; 0 if there is one now.
func (s *starts) wait(now time.Time) time.Duration {
	left := s.leftAt(now)
	if left >= 1 {
		return 0
	}
	return max(time.Duration((1-left)/float64(s.perMinute)*float64(time.Minute)), time.Nanosecond)
}

func (s *starts) take(now time.Time) *takenStart {
	taken := &takenStart{at: later(now, s.latest())}
	s.recent = append(s.recent, taken)
	return taken
}

// use is for a start that a pod has used, so that it cannot be returned any more.
func (s *starts) use(taken *takenStart) {
	taken.used = true
	for len(s.recent) > 0 && s.recent[0].used {
		first := s.recent[0]
		s.left, s.at, s.recent = s.after(s.left, s.at, first.at)-1, first.at, s.recent[1:]
	}
}

// giveBack is for a start that no pod has used.
func (s *starts) giveBack(taken *takenStart) {
	s.recent = slices.DeleteFunc(s.recent, func(other *takenStart) bool { return other == taken })
	if len(s.recent) > 0 && s.recent[0].used {
		s.use(s.recent[0])
	}
}

// start is what a session took of the starts when it was admitted: one of each key of its pool.
type start map[*starts]*takenStart

func (s start) use() {
	for of, taken := range s {
		of.use(taken)
	}
}

func (s start) giveBack() {
	for of, taken := range s {
		of.giveBack(taken)
	}
}
