package main

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheSameSeedDrawsTheSameSchedule(t *testing.T) {
	first, again := draw(7, 14, 30*time.Second, true), draw(7, 14, 30*time.Second, true)
	if diff := cmp.Diff(first, again, cmp.AllowUnexported(round{}, fault{}, failure{})); diff != "" {
		t.Errorf("the second differs:\n%s", diff)
	}
	if other := draw(8, 14, 30*time.Second, true); cmp.Equal(first, other, cmp.AllowUnexported(round{}, fault{}, failure{})) {
		t.Error("another seed draws the same")
	}
}

func TestNoScheduleExcusesAnOperator(t *testing.T) {
	for _, lifetime := range []time.Duration{leastLifetime, 6 * time.Minute, 10 * time.Minute} {
		longest := longestSpan(lifetime)
		for seed := range uint64(500) {
			for _, r := range draw(seed, 20, longest, true) {
				if r.span() > longest || r.span()+takeover+readerLag+slack > lifetime/3 {
					t.Fatalf("seed %d: %s lasts %s, and tokens that live %s have no time for that", seed, r, r.span(), lifetime)
				}
				victims := []string{}
				for _, f := range r.faults {
					if f.lasts < 0 || f.after < 0 {
						t.Fatalf("seed %d: %+v", seed, f)
					}
					if f.kind == operatorLoop && len(f.lives) == 0 {
						t.Fatalf("seed %d: a loop of nothing", seed)
					}
					if f.kind == errorsByProxy && f.after == 0 && f.lasts != time.Minute {
						t.Fatalf("seed %d: error pages for %s, want a minute", seed, f.lasts)
					}
					if f.kind != errorsByProxy && f.lasts > maxSpan {
						t.Fatalf("seed %d: %s", seed, f)
					}
					victims = append(victims, f.kind.victim())
				}
				if slices.Sort(victims); len(slices.Compact(victims)) != len(r.faults) {
					t.Fatalf("seed %d: %s hits one program twice", seed, r)
				}
			}
		}
	}
}

func TestEachKindIsDrawnAloneIfThereAreRoundsEnough(t *testing.T) {
	for _, node := range []bool{true, false} {
		want := kinds(node)
		var alone []kind
		pairs := 0
		for _, r := range draw(1, len(want)+3, 30*time.Second, node) {
			if len(r.faults) == 1 {
				alone = append(alone, r.faults[0].kind)
			} else {
				pairs++
			}
		}
		slices.Sort(want)
		if slices.Sort(alone); !slices.Equal(alone, want) || pairs != 3 {
			t.Errorf("alone %q, want %q; %d pairs", alone, want, pairs)
		}
	}
	if slices.Contains(kinds(false), kubeletKilled) {
		t.Error("a kubelet is to be killed where there is none")
	}
}

func TestARoundSaysWhatHappens(t *testing.T) {
	for _, test := range []struct {
		round round
		want  string
	}{
		{round{faults: []fault{{kind: leaderKilled}}}, "the leader of two operators is killed"},
		{round{faults: []fault{{kind: operatorLoop, lasts: time.Minute, lives: make([]time.Duration, 5)}}}, "the only operator is killed in a loop, 5 times"},
		{
			round{faults: []fault{{kind: reactorFails, lasts: 20 * time.Second, fails: failures[0]}, {kind: etcdKilled, after: 3 * time.Second, lasts: 9 * time.Second}}},
			"Reactor fails: 503, for 20s; and etcd is killed, for 9s, after 3s",
		},
		{
			round{faults: []fault{{kind: errorsByProxy, lasts: time.Minute}}},
			"a proxy answers with error pages instead of Reactor, for 1m0s",
		},
		{
			round{faults: []fault{{kind: leaderKilled}, {kind: blackhole, after: 4 * time.Second}}},
			"the leader of two operators is killed; and the connections to Reactor are blackholed, after 4s",
		},
	} {
		if got := test.round.String(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
