package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/test/stage"
)

// witness stands beside a run, asks the machine and the API server for little at a steady pace, and notes how long they let it wait: a gap in
// what an operator does that the witness has too is none of the operator's.
type witness struct {
	timers series // how late a timer fired: the machine ran something else, or nothing
	writes series // how long the write of one small object took that nobody watches
}

// series are values in the order of their instants, in seconds.
type series struct{ at, values []float64 }

func (s *series) add(at, value float64) {
	s.at, s.values = append(s.at, at), append(s.values, value)
}

// most is the largest value of each width from the beginning on; 0 where there is none.
func (s *series) most(width float64) []float64 {
	var largest []float64
	for i, at := range s.at {
		bucket := int(at / width)
		for len(largest) <= bucket {
			largest = append(largest, 0)
		}
		largest[bucket] = max(largest[bucket], s.values[i])
	}
	return largest
}

// within is the largest value from one instant on until before another.
func (s *series) within(from, to float64) float64 {
	largest := 0.0
	for i, at := range s.at {
		if at >= from && at < to {
			largest = max(largest, s.values[i])
		}
	}
	return largest
}

// testify begins to measure, and returns what stops it and tells what it saw, in seconds since an instant.
func testify(ctx context.Context, s *stage.Stage, since time.Time) (stop func() (*witness, error)) {
	const timerEvery, writeEvery = 50 * time.Millisecond, time.Second
	ctx, cancel := context.WithCancel(ctx)
	w := &witness{}
	timersDone, writesDone := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(timersDone)
		for ctx.Err() == nil {
			before := time.Now()
			time.Sleep(timerEvery)
			w.timers.add(before.Sub(since).Seconds(), (time.Since(before) - timerEvery).Seconds())
		}
	}()
	go func() {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: stage.Namespace, Name: "witness"}}
		if err := s.Kube.Create(ctx, object); err != nil {
			writesDone <- err
			return
		}
		for ctx.Err() == nil {
			before := time.Now()
			object.Data = map[string]string{"written": before.Format(time.RFC3339Nano)}
			if err := s.Kube.Update(ctx, object); err != nil && ctx.Err() == nil {
				writesDone <- err
				return
			}
			took := time.Since(before)
			w.writes.add(before.Sub(since).Seconds(), took.Seconds())
			time.Sleep(max(writeEvery-took, 0))
		}
		writesDone <- client.IgnoreNotFound(s.Kube.Delete(context.WithoutCancel(ctx), object))
	}()
	return func() (*witness, error) {
		cancel()
		<-timersDone
		return w, <-writesDone
	}
}
