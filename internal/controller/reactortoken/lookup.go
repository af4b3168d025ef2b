package reactortoken

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// What is looked up here is the cache's own: nothing of it may be changed.

// unlessOwnName leaves an object out of an index that would have it under its own name: it is found by that. An entry takes 600 bytes
// and is made anew at each change of the object; and nearly all ReactorTokens write the Secret of their name.
func unlessOwnName(extract client.IndexerFunc) client.IndexerFunc {
	return func(object client.Object) []string {
		return slices.DeleteFunc(extract(object), func(value string) bool { return value == object.GetName() })
	}
}

// tokensWritingTo lists the ReactorTokens with a target Secret.
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

// tokensWithKeyIn lists the ReactorTokens whose API key is in a Secret.
func (r *Reconciler) tokensWithKeyIn(ctx context.Context, secret types.NamespacedName) ([]v1alpha1.ReactorToken, error) {
	tokens := &v1alpha1.ReactorTokenList{}
	err := r.cache.List(ctx, tokens, client.InNamespace(secret.Namespace), client.MatchingFields{indexAPIKey: secret.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("listing the ReactorTokens with the API key in Secret %s: %w", secret, err)
	}
	return tokens.Items, nil
}

// secretsWrittenFor lists the Secrets whose annotations name the ReactorToken.
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
