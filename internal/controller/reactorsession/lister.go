package reactorsession

import (
	"context"
	"fmt"
	"slices"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// Lister finds the objects that belong to a ReactorSession.
type Lister interface {
	// Pods returns the pods that have the UID of the session in their label.
	Pods(ctx context.Context, session *v1alpha1.ReactorSession) ([]corev1.Pod, error)
	// Tokens returns the ReactorTokens of the session.
	Tokens(ctx context.Context, session *v1alpha1.ReactorSession) ([]v1alpha1.ReactorToken, error)
	// KeptPods returns the ended pods that the tracking finalizer keeps and whose session has or had this name.
	KeptPods(ctx context.Context, session types.NamespacedName) ([]corev1.Pod, error)
}

// IndexedLister returns a Lister that uses the indexes of SetupWithManager. Without an index, each reconcile would read all pods and tokens
// of the namespace.
func IndexedLister(cache client.Reader) Lister {
	return lister{
		reader:    cache,
		ofSession: func(uid types.UID) client.ListOption { return client.MatchingFields{indexSession: string(uid)} },
		keptOf:    func(name string) client.ListOption { return client.MatchingFields{indexKept: name} },
	}
}

// LiveLister returns a Lister that uses labels, which the API server can select.
func LiveLister(reader client.Reader) Lister {
	return lister{
		reader: reader,
		ofSession: func(uid types.UID) client.ListOption {
			return client.MatchingLabels{attempts.SessionUIDLabel: string(uid)}
		},
		keptOf: func(string) client.ListOption { return client.HasLabels{attempts.SessionUIDLabel} },
	}
}

type lister struct {
	reader    client.Reader
	ofSession func(uid types.UID) client.ListOption
	keptOf    func(name string) client.ListOption
}

func (l lister) Pods(ctx context.Context, session *v1alpha1.ReactorSession) ([]corev1.Pod, error) {
	pods := &corev1.PodList{}
	if err := l.reader.List(ctx, pods, client.InNamespace(session.Namespace), l.ofSession(session.UID)); err != nil {
		return nil, fmt.Errorf("listing the pods of ReactorSession %s/%s: %w", session.Namespace, session.Name, err)
	}
	return pods.Items, nil
}

func (l lister) Tokens(ctx context.Context, session *v1alpha1.ReactorSession) ([]v1alpha1.ReactorToken, error) {
	tokens := &v1alpha1.ReactorTokenList{}
	if err := l.reader.List(ctx, tokens, client.InNamespace(session.Namespace), l.ofSession(session.UID)); err != nil {
		return nil, fmt.Errorf("listing the ReactorTokens of ReactorSession %s/%s: %w", session.Namespace, session.Name, err)
	}
	return tokens.Items, nil
}

func (l lister) KeptPods(ctx context.Context, session types.NamespacedName) ([]corev1.Pod, error) {
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
