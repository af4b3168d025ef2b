package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSessionsAreJudged(t *testing.T) {
	// of is a session of the ReactorSession m; to 0 is open.
	of := func(id string, from, to int) session {
		s := session{ID: id, Model: "m", Created: after(from)}
		if to > 0 {
			s.Ended = after(to)
		}
		return s
	}
	for name, test := range map[string]struct {
		sessions []session
		unheard  string
		over     map[string]time.Time
		why      circumstances
		want     sessionTally
	}{
		"one after the other": {
			sessions: []session{of("a", 0, 10), of("b", 10, 20)},
			want:     sessionTally{started: 2, ended: 2},
		},
		"one beside the other": {
			sessions: []session{of("a", 0, 11), of("b", 10, 20)},
			want:     sessionTally{started: 2, ended: 2, doubles: [][2]session{{of("a", 0, 11), of("b", 10, 20)}}},
		},
		"one beside another ReactorSession's": {
			sessions: []session{of("a", 0, 11), {ID: "b", Model: "other", Created: after(5), Ended: after(9)}},
			want:     sessionTally{started: 2, ended: 2},
		},
		"one that is open": {
			sessions: []session{of("a", 0, 0)},
			want:     sessionTally{started: 1, open: []session{of("a", 0, 0)}},
		},
		"one that is open, and another is started": {
			sessions: []session{of("a", 1, 0), of("b", 50, 60)},
			want:     sessionTally{started: 2, ended: 1, open: []session{of("a", 1, 0)}, doubles: [][2]session{{of("a", 1, 0), of("b", 50, 60)}}},
		},
		"one that was started when nobody listened any more, and the next one": {
			sessions: []session{of("a", 31, 0), of("b", 50, 60)}, unheard: "a",
			why:  circumstances{mute: []window{{after(0), after(30)}}},
			want: sessionTally{started: 2, ended: 1, orphans: 1, orphansOpen: 1},
		},
		"one that nobody has heard of, though Reactor answered": {
			sessions: []session{of("a", 31, 40)}, unheard: "a",
			want: sessionTally{started: 1, ended: 1, strays: []session{of("a", 31, 40)}},
		},
		"one that was started as its program was killed": {
			sessions: []session{of("a", 31, 0)}, unheard: "a", why: circumstances{died: ends{"m": {after(31)}}},
			want: sessionTally{started: 1, orphans: 1, orphansOpen: 1},
		},
		"one whose program was killed, but later": {
			sessions: []session{of("a", 31, 40)}, unheard: "a", why: circumstances{died: ends{"m": {after(33)}, "other": {after(31)}}},
			want: sessionTally{started: 1, ended: 1, strays: []session{of("a", 31, 40)}},
		},
		"one that ends in time after its program": {
			sessions: []session{of("a", 0, 130)}, over: map[string]time.Time{"a": after(10)},
			want: sessionTally{started: 1, ended: 1, latest: 2 * time.Minute},
		},
		"one that ends late": {
			sessions: []session{of("a", 0, 131)}, over: map[string]time.Time{"a": after(10)},
			want: sessionTally{started: 1, ended: 1, latest: 121 * time.Second, late: []session{of("a", 0, 131)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := ledger{Sessions: test.sessions}
			for _, s := range test.sessions {
				l.SessionCalls = append(l.SessionCalls, sessionCall{Route: "POST /sessions", Session: s.ID})
				if s.ID != test.unheard {
					l.SessionCalls = append(l.SessionCalls, sessionCall{Route: "GET /sessions/{id}", Session: s.ID})
				}
			}
			got := judgeSessions(l, test.over, test.why)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(sessionTally{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
