package main

import (
	"slices"
	"time"
)

// session is one that Reactor has, or had, as the emulator's ledger has it.
type session struct {
	ID        string    `json:"id"`
	JTI       string    `json:"jti"`
	Model     string    `json:"model"` // each ReactorSession has one of its own
	Created   time.Time `json:"created"`
	Ended     time.Time `json:"ended"`
	EndReason string    `json:"end_reason"`
	Billed    float64   `json:"billed_seconds"`
}

// sessionCall is a request about sessions, as the emulator's ledger has it.
type sessionCall struct {
	Route   string `json:"route"`
	Status  int    `json:"status"`
	Session string `json:"session"`
	JTI     string `json:"jti"`
}

// ledger is what the emulator was asked, and what it did.
type ledger struct {
	Calls        []call        `json:"calls"`
	Sessions     []session     `json:"sessions"`
	SessionCalls []sessionCall `json:"session_calls"`
}

// used are the ids of the tokens that came with a call about a session.
func (l ledger) used() map[string]bool {
	used := map[string]bool{}
	for _, c := range l.SessionCalls {
		used[c.JTI] = true
	}
	return used
}

// heard are the sessions whose id somebody has got: there is a call that names it. Of a session whose start was answered to nobody, nobody
// can end it; max_session_duration does.
func (l ledger) heard() map[string]bool {
	const start = "POST /sessions"
	heard := map[string]bool{}
	for _, c := range l.SessionCalls {
		if c.Route != start {
			heard[c.Session] = true
		}
	}
	return heard
}

// open are the sessions that are billed.
func (l ledger) open() []session {
	return slices.DeleteFunc(slices.Clone(l.Sessions), func(s session) bool { return !s.Ended.IsZero() })
}

// endBound is how long a session may live after Kubernetes reported the end of its program: a fault lasts a minute at most, and after
// another half an operator leads, or retries, again.
const endBound = 2 * time.Minute

// sessionTally says what became of the Reactor sessions.
type sessionTally struct {
	started, ended int
	open           []session    // that somebody could have ended
	doubles        [][2]session // of one ReactorSession, at one time
	orphans        int          // whose start was answered when nobody listened any more; those alone may be open, and beside another
	orphansOpen    int
	strays         []session     // that nobody has heard of, though Reactor answered
	late           []session     // that ended more than endBound after the end of their program was told
	latest         time.Duration // the longest time from then to the end of the session
}

// judgeSessions goes through the ledger. Over says when Kubernetes told that the program of a session had ended, by
// the session's id.
func judgeSessions(l ledger, over map[string]time.Time, why circumstances) sessionTally {
	tally := sessionTally{started: len(l.Sessions)}
	heard := l.heard()
	live := map[string][]session{} // by model
	for _, s := range l.Sessions {
		if !s.Ended.IsZero() {
			tally.ended++
		}
		if !heard[s.ID] {
			tally.addUnheard(s, why)
			continue
		}
		if s.Ended.IsZero() {
			tally.open = append(tally.open, s)
		}
		for _, other := range live[s.Model] {
			if other.Ended.IsZero() || other.Ended.After(s.Created) {
				tally.doubles = append(tally.doubles, [2]session{other, s})
			}
		}
		live[s.Model] = append(live[s.Model], s)
		if end, known := over[s.ID]; known && !s.Ended.IsZero() {
			wait := s.Ended.Sub(end)
			tally.latest = max(tally.latest, wait)
			if wait > endBound {
				tally.late = append(tally.late, s)
			}
		}
	}
	return tally
}

// ends are when programs ended, in whole seconds, by the models of their sessions.
type ends map[string][]time.Time

// near reports whether a program of the model ended in the second in which something was, or the one before or after it: a container's end is
// told in whole seconds.
func (e ends) near(model string, at time.Time) bool {
	return slices.ContainsFunc(e[model], func(ended time.Time) bool {
		return at.Sub(ended) < 2*time.Second && ended.Sub(at) < time.Second
	})
}

// addUnheard counts a session of which nobody has heard. Nobody could, if Reactor was mute, or if the program died as it was answered: a signal
// that comes before a program's own handler ends it, and what it does meanwhile is lost.
func (t *sessionTally) addUnheard(s session, why circumstances) {
	if !inAny(why.mute, s.Created, answering) && !why.died.near(s.Model, s.Created) {
		t.strays = append(t.strays, s)
		return
	}
	t.orphans++
	if s.Ended.IsZero() {
		t.orphansOpen++
	}
}

// startedIn counts the sessions that began, and those that ended, in a time.
func (l ledger) startedIn(w window) (started, ended int) {
	for _, s := range l.Sessions {
		if w.holds(s.Created, 0) {
			started++
		}
		if !s.Ended.IsZero() && w.holds(s.Ended, 0) {
			ended++
		}
	}
	return started, ended
}

// during are the calls for tokens in a time.
func (l ledger) during(w window) []call {
	return slices.DeleteFunc(slices.Clone(l.Calls), func(c call) bool { return !w.holds(c.Time, 0) })
}
