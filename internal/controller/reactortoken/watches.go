package reactortoken

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

const (
	indexAPIKey = "spec.apiKeySecretRef.name" // ReactorTokens by the Secret of their API key
	indexTarget = "targetSecretName"          // ReactorTokens by the Secret that they write, unless it has their own name
	indexWriter = "tokenName"                 // Secrets by the ReactorToken that their annotations name, unless it has their own name
)

// keyDebounce is how long a reconcile is delayed after the Secret of an API key was edited, so that three quick edits cost one mint.
const keyDebounce = time.Second

// SetupWithManager registers the controller, its indexes and its watches. It returns an error when the manager has a
// controller of this name already, or its cache cannot be indexed.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if err := r.index(context.Background(), mgr.GetFieldIndexer()); err != nil {
		return err
	}
	r.mintQueue.SetWorkers(mgr.GetControllerOptions().MaxConcurrentReconciles)
	if err := errors.Join(mgr.Add(r.mintQueue), mgr.Add(manager.RunnableFunc(r.correctFormerLeader))); err != nil {
		return fmt.Errorf("adding the queue of token requests to the manager: %w", err)
	}
	err := ctrl.NewControllerManagedBy(mgr).
		Named("reactortoken").
		For(&v1alpha1.ReactorToken{}, builder.WithPredicates(tokenPredicate())).
		Watches(&v1alpha1.ReactorToken{}, r.rivalHandler()).
		WatchesMetadata(&corev1.Secret{}, r.secretHandler()).
		WatchesRawSource(source.Func(r.captureQueue)).
		WithOptions(controller.Options{
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryBase, retryCap),
		}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("setting up the ReactorToken controller: %w", err)
	}
	return nil
}

func (r *Reconciler) index(ctx context.Context, indexer client.FieldIndexer) error {
	for _, wanted := range []struct {
		object  client.Object
		field   string
		extract client.IndexerFunc
	}{
		{&v1alpha1.ReactorToken{}, indexAPIKey, apiKeySecretOf},
		{&v1alpha1.ReactorToken{}, indexTarget, unlessOwnName(targetSecretOf)},
		{secretMetadata(), indexWriter, unlessOwnName(writerOf)},
	} {
		if err := indexer.IndexField(ctx, wanted.object, wanted.field, wanted.extract); err != nil {
			return fmt.Errorf("indexing %T by %s: %w", wanted.object, wanted.field, err)
		}
	}
	return nil
}

func apiKeySecretOf(object client.Object) []string {
	if token, ok := object.(*v1alpha1.ReactorToken); ok {
		return []string{token.Spec.APIKeySecretRef.Name}
	}
	return nil
}

func targetSecretOf(object client.Object) []string {
	if token, ok := object.(*v1alpha1.ReactorToken); ok {
		return []string{token.TargetSecretName()}
	}
	return nil
}

func writerOf(object client.Object) []string {
	if name := object.GetAnnotations()[v1alpha1.TokenNameAnnotation]; name != "" {
		return []string{name}
	}
	return nil
}

// SecretCache is how Secrets are cached: their metadata, without most of it. An annotation such as
// kubectl.kubernetes.io/last-applied-configuration is metadata too, and holds the whole payload. The field selector
// excludes the Secrets of Helm releases and service accounts, which are many, large, and never written by the operator.
func SecretCache() cache.ByObject {
	var watched []fields.Selector
	for _, left := range targetsecret.UnwatchedTypes {
		watched = append(watched, fields.OneTermNotEqualSelector("type", string(left)))
	}
	return cache.ByObject{Field: fields.AndSelectors(watched...), Transform: keepNeeded}
}

// keepNeeded drops all of a Secret's metadata that no decision reads.
func keepNeeded(object any) (any, error) {
	meta, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil
	}
	meta.ObjectMeta = metav1.ObjectMeta{
		Namespace: meta.Namespace, Name: meta.Name, UID: meta.UID, ResourceVersion: meta.ResourceVersion,
		DeletionTimestamp: meta.DeletionTimestamp,
		OwnerReferences:   meta.OwnerReferences,
		Annotations:       operatorAnnotations(meta.Annotations),
	}
	return meta, nil
}

// operatorAnnotations returns the annotations of the operator.
func operatorAnnotations(annotations map[string]string) map[string]string {
	var kept map[string]string
	for name, value := range annotations {
		if !strings.HasPrefix(name, "reactor.inc/") {
			continue
		}
		if kept == nil {
			kept = make(map[string]string, len(annotations))
		}
		kept[name] = value
	}
	return kept
}

// tokenPredicate allows the events that can change a decision: of the spec, the request to renew, the deletion. Neither a status write nor any other edit
// of metadata triggers a reconcile.
func tokenPredicate() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		const renew = v1alpha1.RenewRequestedAtAnnotation
		return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
			e.ObjectOld.GetAnnotations()[renew] != e.ObjectNew.GetAnnotations()[renew] ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}
}

// rivalHandler requeues the other ReactorTokens with the same target Secret when one stops claiming it, and those for which a token is due when the
// operator starts.
func (r *Reconciler) rivalHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: r.enqueueDue,
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			before, after := targetSecretOf(e.ObjectOld), targetSecretOf(e.ObjectNew)
			if len(before) == 1 && len(after) == 1 && before[0] != after[0] {
				r.enqueue(ctx, q, regular, r.tokensWritingTo, types.NamespacedName{Namespace: e.ObjectOld.GetNamespace(), Name: before[0]})
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			for _, name := range targetSecretOf(e.Object) {
				r.enqueue(ctx, q, regular, r.tokensWritingTo, types.NamespacedName{Namespace: e.Object.GetNamespace(), Name: name})
			}
		},
	}
}

// secretHandler maps a Secret to the ReactorTokens that write it or read their API key from it.
func (r *Reconciler) secretHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if e.IsInInitialList { // the ReactorTokens of the initial list are reconciled anyway
				r.enqueueWriter(q, e.Object)
				return
			}
			r.secretChanged(ctx, q, e.Object, regular, regular)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() {
				r.enqueueWriter(q, e.ObjectOld)
				r.secretChanged(ctx, q, e.ObjectNew, regular, debounced)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			r.secretChanged(ctx, q, e.Object, urgently, regular)
		},
	}
}

// How a reconcile is queued.
var (
	regular   = priorityqueue.AddOpts{}
	debounced = priorityqueue.AddOpts{After: keyDebounce}
	urgently  = priorityqueue.AddOpts{Priority: new(mintqueue.RequeueUrgent)} // pods may be without a token
)

// secretChanged requeues the ReactorTokens that write a Secret, and those that read their API key from it.
func (r *Reconciler) secretChanged(ctx context.Context, q queue, secret client.Object, writers, readers priorityqueue.AddOpts) {
	r.enqueueWriter(q, secret)
	r.enqueue(ctx, q, writers, r.tokensWritingTo, client.ObjectKeyFromObject(secret))
	r.enqueue(ctx, q, readers, r.tokensWithKeyIn, client.ObjectKeyFromObject(secret))
}

// enqueueWriter requeues the ReactorToken that the annotations of the Secret name. It may be deleted: then the keys of the operator are removed from an
// adopted Secret.
func (r *Reconciler) enqueueWriter(q queue, secret client.Object) {
	for _, name := range writerOf(secret) {
		q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: secret.GetNamespace(), Name: name}})
	}
}

// enqueue requeues the ReactorTokens that find returns for a Secret.
func (r *Reconciler) enqueue(
	ctx context.Context, q queue, how priorityqueue.AddOpts,
	find func(context.Context, types.NamespacedName) ([]v1alpha1.ReactorToken, error), secret types.NamespacedName,
) {
	tokens, err := find(ctx, secret)
	if err != nil { // the cache fails only while it is being stopped
		ctrl.LoggerFrom(ctx).Error(err, "finding the ReactorTokens of a Secret", "namespace", secret.Namespace, "secret", secret.Name)
		return
	}
	for i := range tokens {
		add(q, how, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&tokens[i])})
	}
}

// add adds a request to a queue, with its priority if the queue has priorities.
func add(q queue, how priorityqueue.AddOpts, request reconcile.Request) {
	if prioritized, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		prioritized.AddWithOpts(how, request)
		return
	}
	q.AddAfter(request, how.After)
}

// The priority queue of controller-runtime gives the objects that exist when the operator starts a low priority
// (handler.LowPriority), so that changes are noticed first:
//
//  1. The operator starts with 50,000 ReactorTokens whose Secrets it has to read, and with one that was created while it was down.
//  2. Each read takes 20 ms. Renewals come due as fast as --mint-qps allows; their priority is the regular one. They leave a
//     quarter of the workers to others (see mintqueue.SlotsFor).
//  3. The new ReactorToken is reconciled last, after eight minutes (TestNeitherANewTokenNorTheLowestPriorityStarves).
//
// So those for which a token is due have the regular priority from the start.

// enqueueDue gives a ReactorToken that exists when the operator starts the regular priority, when it has no token or a renewal
// of it is due.
func (r *Reconciler) enqueueDue(_ context.Context, e event.CreateEvent, q queue) {
	token, ok := e.Object.(*v1alpha1.ReactorToken)
	if !ok || !e.IsInInitialList || !dueAtStart(&token.Status, r.timekeeper.clocksAt(r.clock.Now(), time.Time{})) {
		return
	}
	add(q, priorityqueue.AddOpts{Priority: new(mintqueue.RequeueRegular)}, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(token)})
}

// dueAtStart reports whether status says that a new token is due.
func dueAtStart(status *v1alpha1.ReactorTokenStatus, at clocks) bool {
	return status.RenewalTime == nil || at.until(status.RenewalTime.Time, &targetsecret.Record{}) <= 0
}

// unlessOwnName excludes an object from an index that would list it under its own name, because a Get finds it by that name. Nearly all ReactorTokens
// write the Secret of their name. At 10,000 tokens, the RSS is 17 MB smaller with this exclusion.
func unlessOwnName(extract client.IndexerFunc) client.IndexerFunc {
	return func(object client.Object) []string {
		return slices.DeleteFunc(extract(object), func(value string) bool { return value == object.GetName() })
	}
}

// tokensWritingTo lists the ReactorTokens with a target Secret. They are shared with the cache and must not be changed.
func (r *Reconciler) tokensWritingTo(ctx context.Context, target types.NamespacedName) ([]v1alpha1.ReactorToken, error) {
	tokens := &v1alpha1.ReactorTokenList{}
	err := r.cache.List(ctx, tokens, client.InNamespace(target.Namespace), client.MatchingFields{indexTarget: target.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("listing the ReactorTokens with the target Secret %s: %w", target, err)
	}
	ofThatName := v1alpha1.ReactorToken{}
	if err := r.cache.Get(ctx, target, &ofThatName, client.UnsafeDisableDeepCopy); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("reading ReactorToken %s: %w", target, err)
	} else if err == nil && ofThatName.TargetSecretName() == target.Name {
		return append(tokens.Items, ofThatName), nil
	}
	return tokens.Items, nil
}

// tokensWithKeyIn lists the ReactorTokens whose API key is in a Secret. They are shared with the cache and must not be changed.
func (r *Reconciler) tokensWithKeyIn(ctx context.Context, secret types.NamespacedName) ([]v1alpha1.ReactorToken, error) {
	tokens := &v1alpha1.ReactorTokenList{}
	err := r.cache.List(ctx, tokens, client.InNamespace(secret.Namespace), client.MatchingFields{indexAPIKey: secret.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("listing the ReactorTokens with the API key in Secret %s: %w", secret, err)
	}
	return tokens.Items, nil
}

// secretsWrittenFor lists the Secrets whose annotations name the ReactorToken. They are shared with the cache and must not be changed.
func (r *Reconciler) secretsWrittenFor(ctx context.Context, token types.NamespacedName) ([]metav1.PartialObjectMetadata, error) {
	secrets := &metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := r.cache.List(ctx, secrets, client.InNamespace(token.Namespace), client.MatchingFields{indexWriter: token.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("listing the Secrets that ReactorToken %s wrote: %w", token, err)
	}
	ofThatName := secretMetadata()
	if err := r.cache.Get(ctx, token, ofThatName, client.UnsafeDisableDeepCopy); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("looking up Secret %s: %w", token, err)
	} else if err == nil && slices.Contains(writerOf(ofThatName), token.Name) {
		return append(secrets.Items, *ofThatName), nil
	}
	return secrets.Items, nil
}

func secretMetadata() *metav1.PartialObjectMetadata {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return meta
}
