package reactorsession

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	"github.com/reactor-operator/reactor-operator/internal/attempts"
)

// SetupWithManager registers the controller, its indexes and its watches. It returns an error if the manager already has a controller of
// this name, or if its cache cannot be indexed.
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

// PodCache is how pods are cached: only those of sessions.
func PodCache() cache.ByObject {
	ours, err := labels.NewRequirement(attempts.SessionUIDLabel, selection.Exists, nil)
	if err != nil {
		panic("the label is a constant: " + err.Error())
	}
	return cache.ByObject{Label: labels.NewSelector().Add(*ours)}
}

// sessionPredicate allows the events that can change a decision: of the spec and of the deletion. Our own writes, of the status and of the
// finalizer, trigger nothing: the reconcile that wrote schedules the next one.
func sessionPredicate() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}
}

// secretHandler triggers a reconcile of the sessions whose API key is in a Secret that changed.
func (r *Reconciler) secretHandler() handler.EventHandler {
	trigger := func(ctx context.Context, object client.Object, q queue) {
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
				trigger(ctx, e.Object, q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() {
				trigger(ctx, e.ObjectNew, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { trigger(ctx, e.Object, q) },
	}
}

// IndexedLister returns a Lister that uses the indexes of SetupWithManager. Without an index, each reconcile would read all pods and tokens
// of the namespace.
func IndexedLister(cache client.Reader) Lister {
	return objectLister{
		reader:    cache,
		ofSession: func(uid types.UID) client.ListOption { return client.MatchingFields{indexSession: string(uid)} },
		keptOf:    func(name string) client.ListOption { return client.MatchingFields{indexKept: name} },
	}
}

// LiveLister returns a Lister that uses labels, which the API server can select.
func LiveLister(reader client.Reader) Lister {
	return objectLister{
		reader: reader,
		ofSession: func(uid types.UID) client.ListOption {
			return client.MatchingLabels{attempts.SessionUIDLabel: string(uid)}
		},
		keptOf: func(string) client.ListOption { return client.HasLabels{attempts.SessionUIDLabel} },
	}
}

type objectLister struct {
	reader    client.Reader
	ofSession func(uid types.UID) client.ListOption
	keptOf    func(name string) client.ListOption
}

func (l objectLister) Pods(ctx context.Context, session *v1alpha1.ReactorSession) ([]corev1.Pod, error) {
	pods := &corev1.PodList{}
	if err := l.reader.List(ctx, pods, client.InNamespace(session.Namespace), l.ofSession(session.UID)); err != nil {
		return nil, fmt.Errorf("listing the pods of ReactorSession %s/%s: %w", session.Namespace, session.Name, err)
	}
	return pods.Items, nil
}

func (l objectLister) Tokens(ctx context.Context, session *v1alpha1.ReactorSession) ([]v1alpha1.ReactorToken, error) {
	tokens := &v1alpha1.ReactorTokenList{}
	if err := l.reader.List(ctx, tokens, client.InNamespace(session.Namespace), l.ofSession(session.UID)); err != nil {
		return nil, fmt.Errorf("listing the ReactorTokens of ReactorSession %s/%s: %w", session.Namespace, session.Name, err)
	}
	return tokens.Items, nil
}

func (l objectLister) KeptPods(ctx context.Context, session types.NamespacedName) ([]corev1.Pod, error) {
	pods := &corev1.PodList{}
	if err := l.reader.List(ctx, pods, client.InNamespace(session.Namespace), l.keptOf(session.Name)); err != nil {
		return nil, fmt.Errorf("listing the pods that ReactorSession %s left behind: %w", session, err)
	}
	return slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return !attempts.IsOrphan(&pod, session.Name) }), nil
}

const (
	indexKeySecret     = "spec.apiKeySecretRef.name"            // ReactorSessions by the Secret of their API key
	indexRunningKey    = "status.currentAttempt.keyFingerprint" // ReactorSessions that have a pod, by the fingerprint of its key
	indexRunningSecret = "runningKeySecret"                     // ReactorSessions that have a pod, by where their API key is in their namespace
	indexSession       = "sessionUID"                           // pods by the UID of their ReactorSession in a label, ReactorTokens by that of their controller
	indexKept          = "keptOfSession"                        // pods that have ended and are kept by our finalizer, by the name of their ReactorSession
)

// addIndexes adds the indexes that a reconcile needs. Reading all pods and tokens of a namespace in each reconcile would be work that grows
// with the square of the sessions.
func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for _, wanted := range []struct {
		object  client.Object
		field   string
		extract client.IndexerFunc
	}{
		{&v1alpha1.ReactorSession{}, indexKeySecret, keySecretOf},
		{&v1alpha1.ReactorSession{}, indexRunningKey, runningKeyOf},
		{&v1alpha1.ReactorSession{}, indexRunningSecret, runningSecretOf},
		{&v1alpha1.ReactorToken{}, indexSession, ownerOf},
		{&corev1.Pod{}, indexSession, sessionOf},
		{&corev1.Pod{}, indexKept, keptOfSession},
	} {
		if err := indexer.IndexField(ctx, wanted.object, wanted.field, wanted.extract); err != nil {
			return fmt.Errorf("indexing %T by %s: %w", wanted.object, wanted.field, err)
		}
	}
	return nil
}

func sessionOf(object client.Object) []string {
	if uid := object.GetLabels()[attempts.SessionUIDLabel]; uid != "" {
		return []string{uid}
	}
	return nil
}

// ownerOf finds a ReactorToken by its owner reference: it has a name that the operator chose, and another client may remove its labels.
func ownerOf(object client.Object) []string {
	if owner := metav1.GetControllerOf(object); owner != nil {
		return []string{string(owner.UID)}
	}
	return nil
}

func keptOfSession(object client.Object) []string {
	if pod, ok := object.(*corev1.Pod); ok && attempts.IsOrphan(pod, pod.Annotations[attempts.SessionAnnotation]) {
		return []string{pod.Annotations[attempts.SessionAnnotation]}
	}
	return nil
}

func keySecretOf(object client.Object) []string {
	if session, ok := object.(*v1alpha1.ReactorSession); ok {
		return []string{session.Spec.APIKeySecretRef.Name}
	}
	return nil
}

func runningKeyOf(object client.Object) []string {
	session, ok := object.(*v1alpha1.ReactorSession)
	if !ok || session.Status.CurrentAttempt == nil || session.Status.CurrentAttempt.PodUID == "" {
		return nil
	}
	return []string{session.Status.CurrentAttempt.KeyFingerprint}
}

func runningSecretOf(object client.Object) []string {
	if session, ok := object.(*v1alpha1.ReactorSession); ok && runningKeyOf(object) != nil {
		return []string{keyLocation(session)}
	}
	return nil
}

// keyLocation is where the API key of a session is in its namespace: the Secret, and the key in it.
func keyLocation(session *v1alpha1.ReactorSession) string {
	return session.Spec.APIKeySecretRef.Name + "/" + session.Spec.APIKeySecretRef.EffectiveKey()
}
