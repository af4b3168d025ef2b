package main

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMintsAreJudged(t *testing.T) {
	// mint is a token of 300 s for the Secret "s", if it came there.
	mint := func(at int, jti string, models ...string) call {
		return call{Time: after(at), Status: 200, Granted: 300, Models: models, JTI: jti}
	}
	faulted := mint(0, "lost", "m")
	faulted.Faulted = true
	for name, test := range map[string]struct {
		calls   []call
		written []string
		used    string
		why     circumstances
		want    mintTally
	}{
		"a first token and a renewal that was due": {
			calls: []call{mint(0, "a", "m"), {Time: after(5), Status: 503}, mint(170, "b", "m")}, written: []string{"a", "b"},
			want: mintTally{made: 2, needed: 2},
		},
		"a renewal that was not due": {
			calls: []call{mint(0, "a", "m"), mint(160, "b", "m")}, written: []string{"a", "b"},
			want: mintTally{made: 2, needed: 1, bad: []call{mint(160, "b", "m")}},
		},
		"a token that came nowhere, and nothing had happened": {
			calls: []call{mint(0, "a", "m"), mint(1, "b", "m")}, written: []string{"b"},
			want: mintTally{made: 2, needed: 1, bad: []call{mint(0, "a", "m")}},
		},
		"one lost by a crash": {
			calls: []call{mint(0, "a", "m")}, why: circumstances{crashes: []time.Time{after(5)}},
			want: mintTally{made: 1, beyond: map[cause]int{byCrash: 1}},
		},
		"more than an operator has workers for": {
			calls: slices.Repeat([]call{mint(0, "a", "m")}, 9), why: circumstances{crashes: []time.Time{after(5)}},
			want: mintTally{made: 9, beyond: map[cause]int{byCrash: 8}, bad: []call{mint(0, "a", "m")}},
		},
		"one that a crash long after, or before, does not excuse": {
			calls: []call{mint(10, "a", "m")}, why: circumstances{crashes: []time.Time{after(9), after(16)}},
			want: mintTally{made: 1, bad: []call{mint(10, "a", "m")}},
		},
		"one that was held while Kubernetes refused, by an operator that died": {
			calls: []call{mint(10, "a", "m")}, why: circumstances{crashes: []time.Time{after(30)}, refused: []window{{after(12), after(40)}}},
			want: mintTally{made: 1, beyond: map[cause]int{byRefuse: 1}},
		},
		"one that was held and not written later, though nobody died": {
			calls: []call{mint(10, "a", "m")}, why: circumstances{refused: []window{{after(8), after(40)}}},
			want: mintTally{made: 1, bad: []call{mint(10, "a", "m")}},
		},
		"one whose answer was spoiled": {
			calls: []call{faulted},
			want:  mintTally{made: 1, beyond: map[cause]int{byAnswer: 1}},
		},
		"one that was answered after nobody listened": {
			calls: []call{mint(31, "a", "m")}, why: circumstances{mute: []window{{after(0), after(30)}}},
			want: mintTally{made: 1, beyond: map[cause]int{byAnswer: 1}},
		},
		"one whose answer was lost on a connection that was blackholed": {
			calls: []call{mint(9, "a", "m")}, why: circumstances{blackholed: []time.Time{after(10)}},
			want: mintTally{made: 1, beyond: map[cause]int{bySilent: 1}},
		},
		"more than can be in flight when connections are blackholed": {
			calls: slices.Repeat([]call{mint(11, "a", "m")}, 9), why: circumstances{blackholed: []time.Time{after(10)}},
			want: mintTally{made: 9, beyond: map[cause]int{bySilent: 8}, bad: []call{mint(11, "a", "m")}},
		},
		"one that was answered on a new connection": {
			calls: []call{mint(13, "a", "m")}, why: circumstances{blackholed: []time.Time{after(10)}},
			want: mintTally{made: 1, bad: []call{mint(13, "a", "m")}},
		},
		"one that ended a session": {
			calls: []call{mint(0, "a")}, used: "a",
			want: mintTally{made: 1, cleanUps: 1},
		},
		"one without a scope that ended none": {
			calls: []call{mint(0, "a")},
			want:  mintTally{made: 1, bad: []call{mint(0, "a")}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			written := map[string]string{}
			for _, jti := range test.written {
				written[jti] = "s"
			}
			if test.want.beyond == nil {
				test.want.beyond = map[cause]int{}
			}
			got := judgeMints(test.calls, written, map[string]bool{test.used: true}, test.why)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(mintTally{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.made != got.needed+got.cleanUps+got.allowed()+len(got.bad) {
				t.Errorf("the parts are not the whole: %+v", got)
			}
		})
	}
}
