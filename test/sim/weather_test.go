package sim

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// weather is what was out of order, where, and from when to when. Its times are the bubble's.
type weather struct{ spells []spell }

// spell is one thing that was out of order. The operator has until settled to put right what came of it.
type spell struct {
	scope, why    string
	from          time.Time
	over, settled time.Time // zero: it is in force
}

// begin notes what is out of order from now on.
func (w *weather) begin(now time.Time, scope, why string) {
	if w.current(scope, why) == nil {
		w.spells = append(w.spells, spell{scope: scope, why: why, from: now})
	}
}

// end takes back what began, and gives time to put things right.
func (w *weather) end(now time.Time, scope, why string, grace time.Duration) {
	if s := w.current(scope, why); s != nil {
		s.over, s.settled = now, now.Add(grace)
	}
}

// strike notes what disturbed for an instant.
func (w *weather) strike(now time.Time, scope, why string, grace time.Duration) {
	w.spells = append(w.spells, spell{scope, why, now, now, now.Add(grace)})
}

func (w *weather) current(scope, why string) *spell {
	for i := range w.spells {
		if s := &w.spells[i]; s.scope == scope && s.why == why && s.settled.IsZero() {
			return s
		}
	}
	return nil
}

// isFine reports whether all should be in order in these scopes.
func (w *weather) isFine(now time.Time, scopes ...string) bool { return w.wasFine(now, now, scopes...) }

// wasFine reports whether all should have been in order in these scopes, from one time to another.
func (w *weather) wasFine(from, to time.Time, scopes ...string) bool {
	return !slices.ContainsFunc(w.spells, func(s spell) bool {
		return slices.Contains(scopes, s.scope) && !s.from.After(to) && (s.settled.IsZero() || s.settled.After(from))
	})
}

// lasted is how much of the time from one to another had this out of order.
func (w *weather) lasted(from, to time.Time, why string) time.Duration {
	sum := time.Duration(0)
	for _, s := range w.spells {
		if !strings.HasPrefix(s.why, why) {
			continue
		}
		begin, end := s.from, s.over
		if begin.Before(from) {
			begin = from
		}
		if s.settled.IsZero() || end.After(to) {
			end = to
		}
		sum += max(end.Sub(begin), 0)
	}
	return sum
}

// clearedAt is when the last of what was out of order in these scopes was over; it reports whether nothing is in force now.
func (w *weather) clearedAt(scopes ...string) (at time.Time, ended bool) {
	for _, s := range w.spells {
		if !slices.Contains(scopes, s.scope) {
			continue
		}
		if s.settled.IsZero() {
			return time.Time{}, false
		}
		if s.over.After(at) {
			at = s.over
		}
	}
	return at, true
}

func TestWeather(t *testing.T) {
	at := func(minute int) time.Time { return bubbleBegin.Add(time.Duration(minute) * time.Minute) }
	var w weather
	w.begin(at(10), "here", "a")
	w.begin(at(11), "here", "a")
	w.begin(at(12), "here", "b")
	w.end(at(20), "here", "a", 5*time.Minute)
	w.end(at(14), "here", "b", time.Minute)
	w.strike(at(40), "there", "c", time.Minute)
	for minute, fine := range map[int]bool{9: true, 10: false, 15: false, 24: false, 25: true, 40: true} {
		if got := w.isFine(at(minute), "here"); got != fine {
			t.Errorf("in minute %d it was fine: %t, want %t", minute, got, fine)
		}
	}
	if w.isFine(at(40), "here", "there") || !w.isFine(at(41), "here", "there") {
		t.Error("what struck there is told wrong")
	}
	if w.wasFine(at(5), at(30), "here") || !w.wasFine(at(25), at(45), "here") {
		t.Error("a time is fine that had a spell in it, or none that had not")
	}
	if got, ended := w.clearedAt("here"); !ended || !got.Equal(at(20)) {
		t.Errorf("it was over at %s (%t), want minute 20", got, ended)
	}
	for to, want := range map[int]time.Duration{9: 0, 15: 3 * time.Minute, 30: 8 * time.Minute} {
		if got := w.lasted(at(12), at(to), "a"); got != want {
			t.Errorf("from minute 12 to %d it lasted %s, want %s", to, got, want)
		}
	}
	w.begin(at(50), "here", "a")
	if got := w.lasted(at(45), at(55), "a"); got != 5*time.Minute {
		t.Errorf("what is in force lasted %s", got)
	}
	if _, ended := w.clearedAt("here", "there"); ended {
		t.Error("what is in force is not told")
	}
}
