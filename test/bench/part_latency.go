package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// newPerSecond is how many ReactorTokens are created in a second. It is well below what the operator asks of Reactor by default.
const newPerSecond = 5

// latency measures, in a system of n tokens, how long a new ReactorToken takes from its creation to its Secret, as a client sees both.
// Operator, floor, floor and operator have a block of time each; what a floor made is removed after it, since the operator would put it
// right.
func (b *bench) latency(ctx context.Context) error {
	s := b.system
	s.stopOperator()
	var operators, floors []float64
	for round := range b.rounds {
		order := []bool{true, false}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, isOperator := range order {
			names := named(fmt.Sprintf("new-%d-%t", round, isOperator), int(b.latencyTime.Seconds()*newPerSecond))
			if isOperator {
				took, err := b.latencyOfOperator(ctx, s, names)
				if err != nil {
					return err
				}
				operators = append(operators, took...)
				continue
			}
			took, err := b.latencyOfFloor(ctx, s, names)
			if err != nil {
				return err
			}
			floors = append(floors, took...)
		}
	}
	slices.Sort(operators)
	slices.Sort(floors)
	single := quantile(floors, 0.5)
	for _, figure := range []struct {
		name string
		q    float64
		most float64
	}{{"p50", 0.5, 2}, {"p99", 0.99, 4}} {
		took, least := quantile(operators, figure.q), quantile(floors, figure.q)
		b.row(Row{
			Figure:   fmt.Sprintf("create → Secret written, %d new tokens a second in a system of %d, %s", newPerSecond, b.n, figure.name),
			Operator: fmt.Sprintf("%.1f ms", took), Floor: fmt.Sprintf("%.1f ms (a single pass: %.1f ms)", least, single),
			Ratio: fmt.Sprintf("%.2f, to a single pass %.2f", ratio(took, least), ratio(took, single)),
			Goal:  fmt.Sprintf("≤ %.0f × a single pass", figure.most), Verdict: goal(ratio(took, single) <= figure.most),
		})
	}
	b.samples("operator, create to Secret", "ms", operators)
	b.samples("floor, create to Secret", "ms", floors)
	return nil
}

func (b *bench) latencyOfOperator(ctx context.Context, s *system, names []string) ([]float64, error) {
	b.say("%d tokens are created in turn, for the operator", len(names))
	if err := b.restartOperator(ctx, s, b.n); err != nil {
		return nil, err
	}
	defer s.stopOperator()
	profiled := b.profiles(ctx, s.operator, "latency")
	took, err := b.latencyOf(ctx, s, names, s.operator.Failure)
	if err != nil {
		return nil, s.operator.Explain(err)
	}
	return took, profiled()
}

// latencyOfFloor lets a floor make the pass of each ReactorToken that its watch shows.
func (b *bench) latencyOfFloor(ctx context.Context, s *system, names []string) ([]float64, error) {
	b.say("%d tokens are created in turn, for the floor", len(names))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	f, err := newFloor(ctx, s.Stage, b.writes, b.operatorFlags...)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	informer, err := f.watches.GetInformer(ctx, &v1alpha1.ReactorToken{})
	if err != nil {
		return nil, err
	}
	arrived := make(chan *v1alpha1.ReactorToken, len(names))
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerDetailedFuncs{AddFunc: func(object any, there bool) {
		if token, ok := object.(*v1alpha1.ReactorToken); ok && !there {
			arrived <- token
		}
	}})
	if err != nil {
		return nil, err
	}
	workers, failed := f.passEach(ctx, arrived)
	took, err := b.latencyOf(ctx, s, names, failed)
	stop()
	_ = workers.Wait() // whose error has been told
	if err != nil {
		return nil, err
	}
	return took, removeTokens(context.WithoutCancel(ctx), s.Stage, names)
}

// passEach has workers make the pass of each ReactorToken that arrives, until the context ends. The function tells of one that failed.
func (f *floor) passEach(ctx context.Context, arrived <-chan *v1alpha1.ReactorToken) (*errgroup.Group, func() error) {
	workers, failed := &errgroup.Group{}, make(chan error, f.config.Concurrency)
	for range f.config.Concurrency {
		workers.Go(func() error {
			for {
				select {
				case token := <-arrived:
					if err := f.pass(ctx, token); err != nil {
						failed <- err
						return err
					}
				case <-ctx.Done():
					return nil
				}
			}
		})
	}
	return workers, func() error {
		select {
		case err := <-failed:
			return err
		default:
			return nil
		}
	}
}

// latencyOf creates ReactorTokens one after the other, and returns how many milliseconds each waited for its Secret.
func (b *bench) latencyOf(ctx context.Context, s *system, names []string, failure func() error) ([]float64, error) {
	ctx, stop := bounded(ctx, len(names)*1000/newPerSecond/100)
	defer stop()
	see, err := observe(ctx, s.Stage, secretThere)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	created := map[string]time.Time{}
	var creating errgroup.Group
	tick := time.NewTicker(time.Second / newPerSecond)
	defer tick.Stop()
	for _, name := range names {
		creating.Go(func() error {
			mu.Lock()
			created[name] = time.Now()
			mu.Unlock()
			return s.Kube.Create(ctx, newToken(name))
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if err := creating.Wait(); err != nil {
		return nil, err
	}
	there, err := see.await(ctx, secretThere, names, failure)
	if err != nil {
		return nil, err
	}
	var took []float64
	for name, at := range there {
		took = append(took, float64(at.Sub(created[name]))/float64(time.Millisecond))
	}
	return took, nil
}
