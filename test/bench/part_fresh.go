package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// withoutMintRate turns the limit of requests to Reactor off, in effect: it is there for Reactor, and spreads the same work over more time.
var withoutMintRate = []string{"--mint-qps=100000", "--mint-burst=100000"}

// burst is how all tokens of a fresh system became Ready.
type burst struct {
	took    float64   // seconds from the beginning of the work to the last token
	ready   []float64 // seconds, of each token
	startup float64   // seconds from the operator's start to its lease
	usage   stage.Usage
	mints   int
}

// system is a stage with tokens, and with the operator that made them, while that runs.
type system struct {
	*stage.Stage
	names    []string
	operator *stage.Operator
}

// end stops all of it.
func (s *system) end() error {
	if s == nil {
		return nil
	}
	s.stopOperator()
	return s.Stop()
}

func (s *system) stopOperator() {
	if s.operator != nil {
		s.operator.Stop()
		s.operator = nil
	}
}

// bounded gives so many tokens the time that a very slow machine needs.
func bounded(ctx context.Context, tokens int) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, 3*time.Minute+time.Duration(tokens)*100*time.Millisecond, errors.New("it takes too long"))
}

// fresh measures how long a fresh system takes from nothing to n Ready tokens. Operator and floor take turns, and whoever goes
// first in one round goes last in the next; each has a control plane of its own in which the same objects are, so that etcd is as large
// and as old for both.
//
// All ReactorTokens are there before the clock starts. The operator's starts when it has its lease, and so includes the filling of its
// caches; the floor's when its watches have been filled.
func (b *bench) fresh(ctx context.Context) error {
	operators, floors, err := b.turns(ctx, b.n)
	if err != nil {
		return err
	}
	took, least := tookOf(operators), tookOf(floors)
	compared := mean(took) / mean(least)
	b.row(Row{
		Figure:   fmt.Sprintf("from 0 to %d Ready tokens", b.n),
		Operator: fmt.Sprintf("%.1f s (%.0f a second)", mean(took), float64(b.n)/mean(took)),
		Floor:    fmt.Sprintf("%.1f s (%.0f a second)", mean(least), float64(b.n)/mean(least)),
		Ratio:    fmt.Sprintf("%.2f, of the pairs %s", compared, pairs(took, least)), Goal: "≤ 1.25", Verdict: goal(compared <= 1.25),
	})
	mints := 0
	for _, run := range operators {
		mints += run.mints
	}
	b.row(Row{Figure: "mints of it", Operator: fmt.Sprintf("%.2f a token", float64(mints)/float64(b.n*len(operators))), Goal: "1.00 a token",
		Verdict: count(mints == b.n*len(operators))})
	b.row(Row{Figure: "the operator's CPU time for it", Operator: fmt.Sprintf("%.2f ms a token", 1000*mean(cpuOf(operators))/float64(b.n))})
	b.row(Row{Figure: "from the start of the process to its lease", Operator: fmt.Sprintf("%.2f s", mean(startupOf(operators)))})
	b.samples("operator, each run", "s", took)
	b.samples("floor, each run", "s", least)
	for i := range operators {
		b.samples(fmt.Sprintf("operator, run %d, each token Ready", i+1), "s", operators[i].ready)
		b.samples(fmt.Sprintf("floor, run %d, each token Ready", i+1), "s", floors[i].ready)
	}
	return nil
}

// pairs shows the ratio of each round: the mean alone hides how far they are apart.
func pairs(took, least []float64) string {
	var ratios []string
	for i := range took {
		ratios = append(ratios, fmt.Sprintf("%.2f", ratio(took[i], least[i])))
	}
	return strings.Join(ratios, " and ")
}

func tookOf(runs []burst) []float64    { return of(runs, func(r burst) float64 { return r.took }) }
func cpuOf(runs []burst) []float64     { return of(runs, func(r burst) float64 { return r.usage.CPU }) }
func startupOf(runs []burst) []float64 { return of(runs, func(r burst) float64 { return r.startup }) }

func of(runs []burst, take func(burst) float64) []float64 {
	values := make([]float64, 0, len(runs))
	for _, run := range runs {
		values = append(values, take(run))
	}
	return values
}

// turns lets operator and floor take turns. Whoever goes first in one round goes last in the next.
func (b *bench) turns(ctx context.Context, n int) (operators, floors []burst, err error) {
	for round := range b.rounds {
		order := []bool{true, false}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, isOperator := range order {
			if isOperator {
				run, made, err := b.operatorBurst(ctx, n)
				if err != nil {
					return nil, nil, err
				}
				operators = append(operators, run)
				if err := b.takeOver(made); err != nil {
					return nil, nil, err
				}
				continue
			}
			run, err := b.floorBurst(ctx, n)
			if err != nil {
				return nil, nil, err
			}
			floors = append(floors, run)
		}
	}
	return operators, floors, nil
}

// takeOver keeps a system for the parts that need one, in place of an earlier one, or ends it.
func (b *bench) takeOver(made *system) error {
	if !b.systemIsNeeded(0) {
		return made.end()
	}
	earlier := b.system
	b.system = made
	return earlier.end()
}

// needSystem makes the system of n tokens, unless an earlier part has left one.
func (b *bench) needSystem(ctx context.Context) error {
	if b.system != nil {
		return nil
	}
	_, made, err := b.operatorBurst(ctx, b.n)
	b.system = made
	return err
}

// operatorBurst has an operator make all tokens of a fresh system.
func (b *bench) operatorBurst(ctx context.Context, n int) (run burst, made *system, err error) {
	made = &system{names: named("token", n)}
	if made.Stage, err = b.stage(ctx, stage.Options{}); err != nil {
		return run, nil, err
	}
	defer func() {
		if err != nil {
			err, made = errors.Join(err, made.end()), nil
		}
	}()
	ctx, cancel := bounded(ctx, n)
	defer cancel()
	b.say("create %d ReactorTokens for the operator", n)
	if err := createTokens(ctx, made.Stage, made.names); err != nil {
		return run, made, err
	}
	see, err := observe(ctx, made.Stage, tokenReady)
	if err != nil {
		return run, made, err
	}
	started := time.Now()
	if made.operator, err = made.StartOperator(append(slices.Clone(withoutMintRate), b.operatorFlags...)...); err != nil {
		return run, made, err
	}
	begin, err := leads(ctx, made)
	if err != nil {
		return run, made, err
	}
	profiled := b.profiles(ctx, made.operator, fmt.Sprintf("%s-%d", b.partName(), n))
	ready, err := see.await(ctx, tokenReady, made.names, made.operator.Failure)
	if err != nil {
		return run, made, made.operator.Explain(err)
	}
	run = burst{took: last(ready).Sub(begin).Seconds(), ready: since(begin, ready), startup: begin.Sub(started).Seconds()}
	run.usage, err = made.operator.Usage()
	if err := errors.Join(err, profiled()); err != nil {
		return run, made, err
	}
	seen, err := readLedger(ctx, made.Stage)
	if err != nil {
		return run, made, err
	}
	run.mints = seen.Mints
	b.say("operator: %d tokens in %.1f s", n, run.took)
	if b.writes == nil {
		b.writes, err = exampleOf(ctx, made.Stage, made.names[0])
	}
	return run, made, err
}

func (b *bench) partName() string {
	if b.record == nil {
		return "system"
	}
	return b.record.Part
}

// floorBurst has the floor make all tokens of a fresh system.
func (b *bench) floorBurst(ctx context.Context, n int) (run burst, err error) {
	at, err := b.stage(ctx, stage.Options{})
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, at.Stop()) }()
	ctx, cancel := bounded(ctx, n)
	defer cancel()
	names := named("token", n)
	b.say("create %d ReactorTokens for the floor", n)
	if err := createTokens(ctx, at, names); err != nil {
		return run, err
	}
	see, err := observe(ctx, at, tokenReady)
	if err != nil {
		return run, err
	}
	f, err := newFloor(ctx, at, b.writes, append(slices.Clone(withoutMintRate), b.operatorFlags...)...)
	if err != nil {
		return run, err
	}
	defer f.stop()
	begin := time.Now()
	if err := f.passes(ctx, names); err != nil {
		return run, err
	}
	ready, err := see.await(ctx, tokenReady, names, noFailure)
	run = burst{took: last(ready).Sub(begin).Seconds(), ready: since(begin, ready)}
	b.say("floor: %d tokens in %.1f s", n, run.took)
	return run, err
}

func noFailure() error { return nil }

// leads waits until the operator has its lease, which is when it begins to work.
func leads(ctx context.Context, s *system) (time.Time, error) {
	err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		leases := &coordinationv1.LeaseList{}
		if err := s.Kube.List(ctx, leases, client.InNamespace(stage.OperatorNamespace)); err != nil {
			return false, err
		}
		for i := range leases.Items {
			if holder := leases.Items[i].Spec.HolderIdentity; holder != nil && *holder != "" {
				return true, nil
			}
		}
		return false, s.operator.Failure()
	})
	return time.Now(), s.operator.Explain(err)
}
