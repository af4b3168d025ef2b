package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// kind is what goes wrong.
type kind string

// What goes wrong.
const (
	operatorLoop     kind = "the only operator is killed in a loop"
	leaderKilled     kind = "the leader of two operators is killed"
	apiServerKilled  kind = "kube-apiserver is killed"
	apiServerRefuses kind = "kube-apiserver answers 429"
	etcdKilled       kind = "etcd is killed"
	etcdFull         kind = "etcd's disk is full"
	kubeletKilled    kind = "kubelet is killed"
	reactorFrozen    kind = "Reactor is frozen"
	reactorFails     kind = "Reactor fails"
	blackhole        kind = "the connections to Reactor are blackholed"
	errorsByProxy    kind = "a proxy answers with error pages instead of Reactor"
)

// victim is the program that a fault hits. Two faults with the same victim do not overlap: they would be a third.
func (k kind) victim() string {
	switch k {
	case operatorLoop, leaderKilled:
		return "the operator"
	case reactorFrozen, reactorFails, blackhole, errorsByProxy:
		return "Reactor" // or the way to it
	case kubeletKilled:
		return "the node"
	default:
		return "Kubernetes"
	}
}

// failure is a way in which Reactor fails, as the emulator's control endpoint takes it.
type failure struct{ name, faults string }

// failures are for requests for tokens and for those that end sessions.
var failures = []failure{
	{"503", `{"status":503},{"route":"DELETE /sessions/{id}","status":503}`},
	{"429 with Retry-After: 5", `{"status":429,"retry_after":"5s"}`},
	{"no answer", `{"hang":true},{"route":"DELETE /sessions/{id}","hang":true}`},
	{"answers cut off, 40 of them after the token was minted", `{"times":40,"cut":true},{"status":502}`},
	{"a proxy's page instead of an answer", `{"body":"<html>502</html>","status":502},{"route":"GET /sessions/{id}","status":502}`},
}

// fault is one thing that goes wrong.
type fault struct {
	kind  kind
	after time.Duration   // since the round began
	lasts time.Duration   // until its cause is taken away; 0 for what is only killed: the operator must replace it
	lives []time.Duration // of operatorLoop: how long each operator works before it is killed
	fails failure         // of reactorFails
}

func (f fault) String() string {
	text := string(f.kind)
	if f.kind == operatorLoop {
		text += fmt.Sprintf(", %d times", len(f.lives))
	}
	if f.kind == reactorFails {
		text += ": " + f.fails.name
	}
	if f.lasts > 0 && f.kind != operatorLoop {
		text += fmt.Sprintf(", for %s", f.lasts.Round(time.Second))
	}
	if f.after > 0 {
		text += fmt.Sprintf(", after %s", f.after.Round(time.Second))
	}
	return text
}

// overhead is what a fault takes in addition: to restart a server so that it fails, and again so that it does not; or until the operator
// notices that its connections are dead.
func (f fault) overhead() time.Duration {
	switch f.kind {
	case apiServerRefuses, etcdFull:
		return 2 * serverStart
	case blackhole:
		return noticing
	default:
		return 0
	}
}

// round is what goes wrong at one time, and the quiet after all is well again.
type round struct {
	faults []fault
	quiet  time.Duration
}

func (r round) String() string {
	var parts []string
	for _, f := range r.faults {
		parts = append(parts, f.String())
	}
	return strings.Join(parts, "; and ")
}

// span is how long it takes until the cause of the last fault is taken away.
func (r round) span() time.Duration {
	var span time.Duration
	for _, f := range r.faults {
		span = max(span, f.after+f.lasts+f.overhead())
	}
	return span
}

const (
	// readerLag is how far a reader is behind the Secret, as the file in a pod is whose kubelet looks at its pods every ten seconds.
	readerLag = 15 * time.Second
	// takeover bounds how long after a fault no token is renewed: kube-apiserver starts, a dead leader's lease runs out (15 s, checked every
	// 2 s), the caches are filled; or the operator waits before it retries, after error pages and after calls on dead connections.
	takeover = 30 * time.Second
	// noticing is how long an operator may use a connection that is dead: a silence of 15 s, and a ping that is not answered for another 15 s.
	noticing = 30 * time.Second
	// slack is for the pass that renews, and for a busy machine.
	slack = 5 * time.Second
	// operatorStart is what an operator may take to be ready.
	operatorStart = 3 * time.Second
	// serverStart is what etcd or kube-apiserver may take to serve.
	serverStart = 4 * time.Second
	// leastSpan is the shortest round that is worth it.
	leastSpan = 5 * time.Second
	// maxSpan bounds all faults but error pages: a kubelet that is away for longer loses its pods.
	maxSpan = 30 * time.Second
	// pagesSpan is how long a proxy answers with error pages: a rollout, or a restart of what is behind it.
	pagesSpan = time.Minute
)

// leastLifetime is the shortest in which each fault fits: a minute of error pages, or a blackhole that is the second of a pair.
const leastLifetime = 330 * time.Second

// longestSpan is how long the faults of a round may last, so that no operator could be excused: a token is renewed when a third of its
// lifetime is left, and a reader that is readerLag behind must never hold an expired one.
func longestSpan(lifetime time.Duration) time.Duration {
	const reserveShare = 3 // see ReactorToken's renewBefore
	return lifetime/reserveShare - readerLag - takeover - slack
}

// kinds are those that a machine can show. Pods' restarts need a kubelet.
func kinds(node bool) []kind {
	all := []kind{
		operatorLoop, leaderKilled, apiServerKilled, apiServerRefuses, etcdKilled, etcdFull, reactorFrozen, reactorFails, blackhole, errorsByProxy,
	}
	if node {
		all = append(all, kubeletKilled)
	}
	return all
}

// draw draws rounds from a seed: each kind alone, as far as there are rounds for it, then two at a time; in any order. No round lasts
// longer than is said.
func draw(seed uint64, count int, longest time.Duration, node bool) []round {
	d := dice{rand.New(rand.NewPCG(seed, 0)), longest} //nolint:gosec // the same from the same seed, on purpose
	single := kinds(node)
	d.Shuffle(len(single), func(i, j int) { single[i], single[j] = single[j], single[i] })
	var rounds []round
	for i := range count {
		faults := []fault{}
		if i < len(single) {
			faults = append(faults, d.fault(single[i], 0))
		} else {
			faults = d.pair(kinds(node))
		}
		rounds = append(rounds, round{faults, d.between(8*time.Second, 15*time.Second)})
	}
	d.Shuffle(len(rounds), func(i, j int) { rounds[i], rounds[j] = rounds[j], rounds[i] })
	return rounds
}

// dice draw within the bounds.
type dice struct {
	*rand.Rand

	longest time.Duration
}

// between draws a duration in milliseconds.
func (d dice) between(least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return (least + time.Duration(d.Int64N(int64(most-least)))).Truncate(time.Millisecond)
}

// fault draws one that starts after the given time in its round.
func (d dice) fault(k kind, after time.Duration) fault {
	f := fault{kind: k, after: after}
	left := min(d.longest, maxSpan) - after - f.overhead()
	switch k {
	case leaderKilled, blackhole:
	case errorsByProxy:
		f.lasts = min(d.longest-after, pagesSpan)
	case operatorLoop:
		for f.lasts+operatorStart+time.Second <= left && len(f.lives) < 8 {
			life := d.between(300*time.Millisecond, min(4*time.Second, left-f.lasts-operatorStart))
			f.lives = append(f.lives, life)
			f.lasts += life + operatorStart
		}
	default:
		f.lasts = d.between(max(leastSpan, left/2), left)
	}
	if k == reactorFails {
		f.fails = failures[d.IntN(len(failures))]
	}
	return f
}

// pair draws two faults that overlap.
func (d dice) pair(all []kind) []fault {
	first := all[d.IntN(len(all))]
	others := slices.DeleteFunc(slices.Clone(all), func(k kind) bool { return k.victim() == first.victim() })
	second := others[d.IntN(len(others))]
	return []fault{d.fault(first, 0), d.fault(second, d.between(0, min(d.longest, maxSpan)/3))}
}
