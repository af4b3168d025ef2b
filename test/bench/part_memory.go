package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

const (
	mega = 1_000_000
	mebi = 1 << 20
	// secretBytes is the size of an unrelated Secret: near to the most that a Secret may hold, 1 MiB.
	secretBytes = mega
	// quietNamespace has no objects of ours: an operator that watches it alone has nothing.
	quietNamespace = "kube-public"
)

// memory measures what Linux has in RAM for the operator: after a burst, after a restart, and with large Secrets of others beside it.
func (b *bench) memory(ctx context.Context) error {
	s := b.system
	if s.operator == nil {
		if err := b.restartOperator(ctx, s, len(s.names)); err != nil {
			return err
		}
	}
	burst, err := b.rested(ctx, s)
	if err != nil {
		return err
	}
	s.stopOperator()
	if err := b.restartOperator(ctx, s, 0, "--namespaces="+quietNamespace); err != nil {
		return err
	}
	nothing, err := b.rested(ctx, s)
	if err != nil {
		return err
	}
	s.stopOperator()
	if err := b.restartOperator(ctx, s, len(s.names)); err != nil {
		return err
	}
	restarted, err := b.rested(ctx, s)
	if err != nil {
		return err
	}
	others := named("unrelated", b.secrets)
	b.say("create %d Secrets of %d MB", b.secrets, secretBytes/mega)
	if err := forEach(ctx, 4, others, func(ctx context.Context, name string) error { return s.Kube.Create(ctx, unrelated(name)) }); err != nil {
		return err
	}
	beside, err := b.rested(ctx, s)
	if err != nil {
		return err
	}
	s.stopOperator() // deleted Secrets are news to it
	err = forEach(ctx, 4, others, func(ctx context.Context, name string) error { return s.Kube.Delete(ctx, unrelated(name)) })
	b.rowsOfMemory(nothing, burst, restarted, beside)
	return err
}

func (b *bench) rowsOfMemory(nothing, burst, restarted, beside stage.Usage) {
	empty := fmt.Sprintf("%.0f MB with nothing", megabytes(nothing))
	for _, row := range []struct {
		when string
		used stage.Usage
	}{{"after making them", burst}, {"after a restart", restarted}} {
		b.row(Row{
			Figure:   fmt.Sprintf("memory (RSS) at %d tokens, %s", b.n, row.when),
			Operator: fmt.Sprintf("%.0f MB (peak %.0f MB)", megabytes(row.used), float64(row.used.Peak)/mega),
			Floor:    empty, Goal: "≤ 150 MB", Verdict: goal(megabytes(row.used) <= 150),
		})
	}
	more := megabytes(beside) - megabytes(restarted)
	b.row(Row{
		Figure:   fmt.Sprintf("and also with %d unrelated Secrets of 1 MB", b.secrets),
		Operator: fmt.Sprintf("%+.1f MB (peak %.0f MB)", more, float64(beside.Peak)/mega),
		Floor:    fmt.Sprintf("%.0f MB without them", megabytes(restarted)), Goal: "≤ +5 MB", Verdict: goal(more <= 5),
	})
	b.samples("RSS: nothing, after the burst, after a restart, with large Secrets", "MB", []float64{
		megabytes(nothing), megabytes(burst), megabytes(restarted), megabytes(beside)})
}

func megabytes(used stage.Usage) float64 { return float64(used.Resident) / mega }

// rested is the memory after nothing has happened for a while.
func (b *bench) rested(ctx context.Context, s *system) (stage.Usage, error) {
	b.say("rest for %s", b.rest)
	if err := stage.Pause(ctx, b.rest); err != nil {
		return stage.Usage{}, err
	}
	return s.operator.Usage()
}

// restartOperator starts the operator of a system that is there, and returns once it has seen so many objects and has nothing to do.
func (b *bench) restartOperator(ctx context.Context, s *system, objects int, flags ...string) (err error) {
	if s.operator, err = s.StartOperator(append(slices.Clone(b.operatorFlags), flags...)...); err != nil {
		return err
	}
	if err := s.operator.AwaitReady(ctx); err != nil {
		return err
	}
	ctx, cancel := bounded(ctx, objects)
	defer cancel()
	return s.operator.AllSeen(ctx, objects, forever)
}

// forever leaves it to the context.
const forever = 1 << 62

// unrelated is a Secret that is none of the operator's business.
func unrelated(name string) client.Object {
	data := make([]byte, secretBytes)
	_, _ = rand.Read(data) // never fails
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: name},
		Data:       map[string][]byte{"data": data},
	}
}
