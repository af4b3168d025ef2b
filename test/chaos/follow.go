package main

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// operatorsOwn are the Secrets that the operator has made.
var operatorsOwn = client.MatchingLabels{"app.kubernetes.io/managed-by": "reactor-operator"}

// follow tells of all objects of a kind, and of each change, until the context ends. While Kubernetes is away it tells nothing; then it
// begins anew, as a kubelet does: what went meanwhile is told by what is not listed.
func follow(ctx context.Context, kube client.WithWatch, list client.ObjectList, labels client.ListOption, tell func(change)) {
	for ctx.Err() == nil {
		followOnce(ctx, kube, list.DeepCopyObject().(client.ObjectList), labels, tell) //nolint:forcetypeassert // a copy
		_ = stage.Pause(ctx, 500*time.Millisecond)                                     // the loop asks whether the context has ended
	}
}

// change is an object that is there, or was; or all that are there.
type change struct {
	object client.Object
	gone   bool
	all    []client.Object // after a list: what is not among them is gone
}

func followOnce(ctx context.Context, kube client.WithWatch, list client.ObjectList, labels client.ListOption, tell func(change)) {
	options := []client.ListOption{client.InNamespace(namespace)}
	if labels != nil {
		options = append(options, labels)
	}
	// Without etcd, kube-apiserver may take a minute to say that it cannot answer.
	listing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := kube.List(listing, list, options...); err != nil {
		return
	}
	var all []client.Object
	_ = meta.EachListItem(list, func(item runtime.Object) error { // it fails only if we do
		if object, ok := item.(client.Object); ok {
			all = append(all, object)
		}
		return nil
	})
	tell(change{all: all})
	options = append(options, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}})
	watched, err := kube.Watch(ctx, list, options...)
	if err != nil {
		return
	}
	defer watched.Stop()
	for event := range watched.ResultChan() {
		object, ok := event.Object.(client.Object)
		if !ok || event.Type == watch.Error {
			return
		}
		if event.Type != watch.Bookmark {
			tell(change{object: object, gone: event.Type == watch.Deleted})
		}
	}
}

// together runs jobs until all have ended.
func together(ctx context.Context, jobs []func(context.Context)) {
	var all sync.WaitGroup
	for _, job := range jobs {
		all.Go(func() { job(ctx) })
	}
	all.Wait()
}
