package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// milestone is something that an object comes to once.
type milestone string

const (
	tokenReady       milestone = "a ReactorToken is Ready"
	secretThere      milestone = "a Secret is there"
	podThere         milestone = "the pod of a session is there"
	sessionCompleted milestone = "a ReactorSession is complete"
)

// observer notes when objects come to their milestones, as its watches show them. It looks at operators and floors alike.
type observer struct {
	mu      sync.Mutex
	reached map[milestone]map[string]time.Time // by name
	changed chan struct{}                      // closed at each change
}

// observe opens the watches of some kinds, and returns once they have what is there already.
func observe(ctx context.Context, s *stage.Stage, kinds ...milestone) (*observer, error) {
	scheme, err := controlplane.Scheme()
	if err != nil {
		return nil, err
	}
	watches, err := cache.New(s.Plane.Config, cache.Options{Scheme: scheme, DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		return nil, err
	}
	o := &observer{reached: map[milestone]map[string]time.Time{}, changed: make(chan struct{})}
	for _, kind := range kinds {
		o.reached[kind] = map[string]time.Time{}
		informer, err := watches.GetInformer(ctx, watched(kind), cache.BlockUntilSynced(false))
		if err != nil {
			return nil, err
		}
		note := func(object any) { o.note(kind, object) }
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    note,
			UpdateFunc: func(_, object any) { note(object) },
		})
		if err != nil {
			return nil, err
		}
	}
	go func() { _ = watches.Start(ctx) }() // it ends with the context
	if !watches.WaitForCacheSync(ctx) {
		return nil, fmt.Errorf("the observer's watches: %w", context.Cause(ctx))
	}
	return o, nil
}

func watched(kind milestone) client.Object {
	switch kind {
	case secretThere:
		return secretMetadata()
	case podThere:
		return &corev1.Pod{}
	case sessionCompleted:
		return &v1alpha1.ReactorSession{}
	case tokenReady:
	}
	return &v1alpha1.ReactorToken{}
}

func secretMetadata() *metav1.PartialObjectMetadata {
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return metadata
}

// note writes down when an object was first seen at its milestone. A pod goes by the name of its session.
func (o *observer) note(kind milestone, object any) {
	now := time.Now()
	name := ""
	switch object := object.(type) {
	case *v1alpha1.ReactorToken:
		if meta.IsStatusConditionTrue(object.Status.Conditions, v1alpha1.ConditionReady) {
			name = object.Name
		}
	case *v1alpha1.ReactorSession:
		if meta.IsStatusConditionTrue(object.Status.Conditions, v1alpha1.ConditionComplete) {
			name = object.Name
		}
	case *metav1.PartialObjectMetadata:
		name = object.Name
	case *corev1.Pod:
		name = sessionOf(object)
	}
	if name == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.reached[kind][name]; known {
		return
	}
	o.reached[kind][name] = now
	close(o.changed)
	o.changed = make(chan struct{})
}

// await waits until all of these are at a milestone, and returns when they came to it.
func (o *observer) await(ctx context.Context, kind milestone, names []string, failure func() error) (map[string]time.Time, error) {
	missing := names
	check := time.NewTicker(time.Second)
	defer check.Stop()
	for {
		o.mu.Lock()
		changed := o.changed
		for len(missing) > 0 && !o.reached[kind][missing[len(missing)-1]].IsZero() {
			missing = missing[:len(missing)-1]
		}
		o.mu.Unlock()
		if len(missing) == 0 {
			return o.instants(kind, names), nil
		}
		select {
		case <-changed:
		case <-check.C:
			if err := failure(); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("%d or more of %d did not come to this: %s: %w", len(missing), len(names), kind, context.Cause(ctx))
		}
	}
}

func (o *observer) instants(kind milestone, names []string) map[string]time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	instants := make(map[string]time.Time, len(names))
	for _, name := range names {
		instants[name] = o.reached[kind][name]
	}
	return instants
}

// last is the latest of the instants.
func last(instants map[string]time.Time) time.Time {
	latest := time.Time{}
	for _, instant := range instants {
		if instant.After(latest) {
			latest = instant
		}
	}
	return latest
}

// since are the instants in seconds after a beginning.
func since(begin time.Time, instants map[string]time.Time) []float64 {
	values := make([]time.Time, 0, len(instants))
	for _, instant := range instants {
		values = append(values, instant)
	}
	return seconds(values, begin)
}
