package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// witness stands beside a run, asks the machine and the API server for little at a steady pace, and notes how long they let it wait: a gap in
// what an operator does that the witness has too is none of the operator's.
type witness struct {
	timers waits // how late a timer fired: the machine ran something else, or nothing
	writes waits // how long the write of one small object took that nobody watches
}

// waits are how long something took, in the order of the instants at which it began; all in seconds.
type waits struct{ at, took []float64 }

func (w *waits) add(at, took float64) {
	w.at, w.took = append(w.at, at), append(w.took, took)
}

// most is the longest of each width from the beginning on; 0 where there is none.
func (w *waits) most(width float64) []float64 {
	var longest []float64
	for i, at := range w.at {
		bucket := int(at / width)
		for len(longest) <= bucket {
			longest = append(longest, 0)
		}
		longest[bucket] = max(longest[bucket], w.took[i])
	}
	return longest
}

// within is the longest from one instant on until before another.
func (w *waits) within(from, to float64) float64 {
	longest := 0.0
	for i, at := range w.at {
		if at >= from && at < to {
			longest = max(longest, w.took[i])
		}
	}
	return longest
}

// testify begins to measure, and returns what stops it and tells what it saw, in seconds since an instant. When a write fails, as it does
// once the API server is gone, all of it ends.
func testify(ctx context.Context, s *stage.Stage, since time.Time) (stop func() (*witness, error)) {
	const timerEvery, writeEvery = 50 * time.Millisecond, time.Second
	w := &witness{}
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for ctx.Err() == nil {
			before := time.Now()
			time.Sleep(timerEvery)
			w.timers.add(before.Sub(since).Seconds(), (time.Since(before) - timerEvery).Seconds())
		}
		return nil
	})
	group.Go(func() error {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: "witness"}}
		if err := s.Kube.Create(ctx, object); err != nil {
			return err
		}
		for ctx.Err() == nil {
			before := time.Now()
			object.Data = map[string]string{"written": before.Format(time.RFC3339Nano)}
			if err := s.Kube.Update(ctx, object); err != nil && ctx.Err() == nil {
				return err
			}
			took := time.Since(before)
			w.writes.add(before.Sub(since).Seconds(), took.Seconds())
			time.Sleep(max(writeEvery-took, 0))
		}
		return nil
	})
	return func() (*witness, error) {
		cancel()
		return w, group.Wait()
	}
}
