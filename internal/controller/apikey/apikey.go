// Package apikey finds the Reactor API key that an object refers to. What it keeps are fingerprints, never a key.
package apikey

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// prefix is how every Reactor API key begins. Nothing else of its form is published, so nothing else is checked.
const prefix = "rk_"

// Key is what is known of an API key. Either Problem is set, or Fingerprint.
type Key struct {
	// Fingerprint identifies the key without revealing it.
	Fingerprint string
	// Problem is why there is no key that could be used.
	Problem *Problem
}

// Problem is something that a person must put right, as a condition will show it.
type Problem struct {
	Reason, Message string
}

// FingerprintOf identifies a key without revealing it. A key is random and long, so that its hash gives nothing away.
func FingerprintOf(key reactor.Secret) string {
	sum := sha256.Sum256([]byte("reactor.inc/api-key\x00" + key.Reveal()))
	return hex.EncodeToString(sum[:8])
}

// read takes the API key out of a Secret. White space around it is dropped: a newline at the end is what an editor or
// echo leaves behind.
func read(secret *corev1.Secret, reference v1alpha1.APIKeySecretReference) (reactor.Secret, *Problem) {
	raw, ok := secret.Data[reference.EffectiveKey()]
	if !ok {
		return "", &Problem{v1alpha1.ReasonAPIKeyNotFound, fmt.Sprintf(
			"Secret %q has no key %q: add the Reactor API key under it, or name the right key in spec.apiKeySecretRef.key",
			reference.Name, reference.EffectiveKey())}
	}
	key := strings.TrimSpace(string(raw))
	if !strings.HasPrefix(key, prefix) || len(key) == len(prefix) || strings.ContainsFunc(key, notInKey) {
		return "", &Problem{v1alpha1.ReasonAPIKeyInvalid, fmt.Sprintf(
			"key %q of Secret %q does not hold a Reactor API key, which begins with %s: put the key there as Reactor shows it",
			reference.EffectiveKey(), reference.Name, prefix)}
	}
	return reactor.Secret(key), nil
}

// notInKey finds what could not be sent in an HTTP header.
func notInKey(r rune) bool { return r <= ' ' || r > '~' }

func missing(reference v1alpha1.APIKeySecretReference) *Problem {
	return &Problem{v1alpha1.ReasonAPIKeyNotFound, fmt.Sprintf(
		"Secret %q does not exist in this namespace: create it with the Reactor API key under %q, and a token follows at once",
		reference.Name, reference.EffectiveKey())}
}

// Keyring remembers the fingerprint of each API key, so that a key's Secret is read once when it changes, and not once for
// each object that uses it. It never holds a key. It is safe for concurrent use.
type Keyring struct {
	metadata client.Reader // cached, metadata only
	live     client.Reader

	mu    sync.Mutex
	known map[location]knownKey
}

type location struct {
	secret types.NamespacedName
	key    string
}

type knownKey struct {
	uid             types.UID
	resourceVersion string
	key             Key
}

// NewKeyring returns a Keyring that reads the metadata of Secrets from a cache, and the Secrets themselves live.
func NewKeyring(metadata, live client.Reader) *Keyring {
	return &Keyring{metadata: metadata, live: live, known: map[location]knownKey{}}
}

// Look says what is known of the key that an object of the namespace refers to. It costs a request only when the Secret changed
// since the last look. Its error is one of the Kubernetes API.
func (k *Keyring) Look(ctx context.Context, namespace string, reference v1alpha1.APIKeySecretReference) (Key, error) {
	at := locationOf(namespace, reference)
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	err := k.metadata.Get(ctx, at.secret, meta)
	if apierrors.IsNotFound(err) {
		k.forget(at)
		return Key{Problem: missing(reference)}, nil
	}
	if err != nil {
		return Key{}, fmt.Errorf("looking up Secret %s, which is to hold the API key: %w", at.secret, err)
	}
	if known, ok := k.recall(at); ok && known.uid == meta.UID && known.resourceVersion == meta.ResourceVersion {
		return known.key, nil
	}
	_, seen, err := k.Read(ctx, namespace, reference)
	return seen, err
}

// Read fetches the key itself, for one use: the caller drops it as soon as that is done. Its error is one of the Kubernetes API.
func (k *Keyring) Read(ctx context.Context, namespace string, reference v1alpha1.APIKeySecretReference) (reactor.Secret, Key, error) {
	at := locationOf(namespace, reference)
	secret := &corev1.Secret{}
	err := k.live.Get(ctx, at.secret, secret)
	if apierrors.IsNotFound(err) {
		k.forget(at)
		return "", Key{Problem: missing(reference)}, nil
	}
	if err != nil {
		return "", Key{}, fmt.Errorf("reading the API key from Secret %s: %w", at.secret, err)
	}
	key, bad := read(secret, reference)
	seen := Key{Problem: bad}
	if bad == nil {
		seen.Fingerprint = FingerprintOf(key)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known[at] = knownKey{uid: secret.UID, resourceVersion: secret.ResourceVersion, key: seen}
	return key, seen, nil
}

func (k *Keyring) recall(at location) (knownKey, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.known[at]
	return known, ok
}

func (k *Keyring) forget(at location) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.known, at)
}

func locationOf(namespace string, reference v1alpha1.APIKeySecretReference) location {
	return location{secret: types.NamespacedName{Namespace: namespace, Name: reference.Name}, key: reference.EffectiveKey()}
}
