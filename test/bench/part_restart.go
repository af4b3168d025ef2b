package main

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// restart starts the operator where n tokens are valid, and one ReactorToken waits that was created while it was away. The floor opens the
// same watches and makes the pass of one such ReactorToken.
func (b *bench) restart(ctx context.Context) error {
	s := b.system
	s.stopOperator()
	ctx, cancel := bounded(ctx, b.n)
	defer cancel()
	before, err := versions(ctx, s.Stage)
	if err != nil {
		return err
	}
	minted, err := readLedger(ctx, s.Stage)
	if err != nil {
		return err
	}
	operator, err := b.restartWithOneNew(ctx, s)
	if err != nil {
		return err
	}
	if err := s.operator.AllSeen(ctx, b.n+1, forever); err != nil {
		return err
	}
	after, err := versions(ctx, s.Stage)
	if err != nil {
		return err
	}
	now, err := readLedger(ctx, s.Stage)
	if err != nil {
		return err
	}
	s.stopOperator()
	least, err := b.floorWithOneNew(ctx, s)
	if err != nil {
		return err
	}
	mints, writes := now.Mints-minted.Mints-1, changedVersions(before, after)
	b.row(Row{Figure: fmt.Sprintf("restart with %d valid tokens", b.n), Operator: fmt.Sprintf("%d mints, %d writes", mints, writes),
		Goal: "0 mints, 0 writes", Verdict: count(mints == 0 && writes == 0)})
	b.row(Row{
		Figure:   "from the start of the process until the first new token is served",
		Operator: fmt.Sprintf("%.2f s", operator), Floor: fmt.Sprintf("%.2f s", least), Ratio: fmt.Sprintf("%.2f", ratio(operator, least)),
	})
	b.samples("first new token: operator, floor", "s", []float64{operator, least})
	return nil
}

// restartWithOneNew returns how many seconds after its start the operator has written the Secret of the one new ReactorToken.
func (b *bench) restartWithOneNew(ctx context.Context, s *system) (took float64, err error) {
	const name = "first"
	watching, stop := context.WithCancel(ctx)
	defer stop()
	see, err := observe(watching, s.Stage, secretThere)
	if err != nil {
		return 0, err
	}
	if err := createTokens(ctx, s.Stage, []string{name}); err != nil {
		return 0, err
	}
	begin := time.Now()
	if s.operator, err = s.StartOperator(b.operatorFlags...); err != nil {
		return 0, err
	}
	served, err := see.await(ctx, secretThere, []string{name}, s.operator.Failure)
	if err != nil {
		return 0, s.operator.Explain(err)
	}
	took = last(served).Sub(begin).Seconds()
	return took, s.operator.AwaitReady(ctx)
}

// floorWithOneNew is the same without an operator.
func (b *bench) floorWithOneNew(ctx context.Context, s *system) (took float64, err error) {
	const name = "first-of-floor"
	watching, stop := context.WithCancel(ctx)
	defer stop()
	see, err := observe(watching, s.Stage, secretThere)
	if err != nil {
		return 0, err
	}
	if err := createTokens(ctx, s.Stage, []string{name}); err != nil {
		return 0, err
	}
	begin := time.Now()
	f, err := newFloor(watching, s.Stage, b.writes, b.operatorFlags...)
	if err != nil {
		return 0, err
	}
	defer f.stop()
	token := &v1alpha1.ReactorToken{}
	if err := f.watches.Get(ctx, client.ObjectKey{Namespace: stage.Namespace, Name: name}, token); err != nil {
		return 0, err
	}
	if err := f.pass(ctx, token); err != nil {
		return 0, err
	}
	served, err := see.await(ctx, secretThere, []string{name}, noFailure)
	if err != nil {
		return 0, err
	}
	return last(served).Sub(begin).Seconds(), removeTokens(ctx, s.Stage, []string{name})
}
