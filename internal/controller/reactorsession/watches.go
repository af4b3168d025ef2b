package reactorsession

import (
	"context"
	"fmt"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// SetupWithManager registers the controller, its indexes and its watches. It returns an error when the manager has a controller of
// this name already, or its cache cannot be indexed.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if err := addIndexes(context.Background(), mgr.GetFieldIndexer()); err != nil {
		return err
	}
	err := ctrl.NewControllerManagedBy(mgr).
		Named("reactorsession").
		For(&v1alpha1.ReactorSession{}, builder.WithPredicates(sessionPredicate())).
		Owns(&corev1.Pod{}).
		Owns(&v1alpha1.ReactorToken{}).
		WatchesMetadata(&corev1.Secret{}, r.secretHandler()).
		WatchesRawSource(source.Func(r.captureQueue)).
		WithOptions(controller.Options{
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryBase, retryCap),
		}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("setting up the ReactorSession controller: %w", err)
	}
	return nil
}

// PodCache is how pods are to be cached: ours, and no others.
func PodCache() cache.ByObject {
	ours, err := labels.NewRequirement(attempts.SessionUIDLabel, selection.Exists, nil)
	if err != nil {
		panic("the label is a constant: " + err.Error())
	}
	return cache.ByObject{Label: labels.NewSelector().Add(*ours)}
}

// sessionPredicate lets through what can change the answer: the spec and the deletion. Our own writes, of the status and of the
// finalizer, wake nothing: the pass that wrote says itself when the next one is due.
func sessionPredicate() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}
}

// secretHandler wakes the sessions whose API key is in a Secret that changed.
func (r *Reconciler) secretHandler() handler.EventHandler {
	wake := func(ctx context.Context, object client.Object, q queue) {
		sessions := &v1alpha1.ReactorSessionList{}
		err := r.cache.List(ctx, sessions, client.InNamespace(object.GetNamespace()),
			client.MatchingFields{indexKeySecret: object.GetName()}, client.UnsafeDisableDeepCopy)
		if err != nil { // the cache fails only while it is being stopped
			ctrl.LoggerFrom(ctx).Error(err, "finding the ReactorSessions of a Secret", "namespace", object.GetNamespace(), "secret", object.GetName())
			return
		}
		for i := range sessions.Items {
			q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&sessions.Items[i])})
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList {
				wake(ctx, e.Object, q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() {
				wake(ctx, e.ObjectNew, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { wake(ctx, e.Object, q) },
	}
}

// captureQueue keeps the controller's queue, so that capacity can wake the sessions whose turn has come.
func (r *Reconciler) captureQueue(_ context.Context, q queue) error {
	r.queue.Store(&q)
	return nil
}

func (r *Reconciler) wake(objects ...types.NamespacedName) {
	q := r.queue.Load()
	if q == nil {
		return
	}
	for _, object := range objects {
		(*q).Add(reconcile.Request{NamespacedName: object})
	}
}
