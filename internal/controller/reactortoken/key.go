package reactortoken

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// apiKeyPrefix is how every Reactor API key begins. Nothing else of its form is published, so nothing else is checked.
const apiKeyPrefix = "rk_"

// apiKey is what is known of the API key that a ReactorToken refers to. Either problem is set, or fingerprint.
type apiKey struct {
	fingerprint string
	problem     *problem
}

// problem is something that a person must put right, as a condition will show it.
type problem struct {
	reason, message string
}

// fingerprintOf identifies a key without revealing it. A key is random and long, so that its hash gives nothing away.
func fingerprintOf(key reactor.Secret) string {
	sum := sha256.Sum256([]byte("reactor.inc/api-key\x00" + key.Reveal()))
	return hex.EncodeToString(sum[:8])
}

// readAPIKey takes the API key out of a Secret. White space around it is dropped: a newline at the end is what an editor or
// echo leaves behind.
func readAPIKey(secret *corev1.Secret, reference v1alpha1.APIKeySecretReference) (reactor.Secret, *problem) {
	raw, ok := secret.Data[reference.EffectiveKey()]
	if !ok {
		return "", &problem{v1alpha1.ReasonAPIKeyNotFound, fmt.Sprintf(
			"Secret %q has no key %q: add the Reactor API key under it, or name the right key in spec.apiKeySecretRef.key",
			reference.Name, reference.EffectiveKey())}
	}
	key := strings.TrimSpace(string(raw))
	if !strings.HasPrefix(key, apiKeyPrefix) || len(key) == len(apiKeyPrefix) || strings.ContainsFunc(key, notInKey) {
		return "", &problem{v1alpha1.ReasonAPIKeyInvalid, fmt.Sprintf(
			"key %q of Secret %q does not hold a Reactor API key, which begins with %s: put the key there as Reactor shows it",
			reference.EffectiveKey(), reference.Name, apiKeyPrefix)}
	}
	return reactor.Secret(key), nil
}

// notInKey finds what could not be sent in an HTTP header.
func notInKey(r rune) bool { return r <= ' ' || r > '~' }

func missingAPIKey(reference v1alpha1.APIKeySecretReference) *problem {
	return &problem{v1alpha1.ReasonAPIKeyNotFound, fmt.Sprintf(
		"Secret %q does not exist in this namespace: create it with the Reactor API key under %q, and a token follows at once",
		reference.Name, reference.EffectiveKey())}
}

// keyring remembers the fingerprint of each API key, so that a key's Secret is read once when it changes, and not once for
// each ReactorToken that uses it. It never holds a key.
type keyring struct {
	metadata client.Reader // cached, metadata only
	live     client.Reader

	mu    sync.Mutex
	known map[keyLocation]knownKey
}

type keyLocation struct {
	secret types.NamespacedName
	key    string
}

type knownKey struct {
	uid             types.UID
	resourceVersion string
	apiKey          apiKey
}

func newKeyring(metadata, live client.Reader) *keyring {
	return &keyring{metadata: metadata, live: live, known: map[keyLocation]knownKey{}}
}

// look says what is known of the key that the ReactorToken refers to. It costs a request only when the Secret changed
// since the last look.
func (k *keyring) look(ctx context.Context, token *v1alpha1.ReactorToken) (apiKey, error) {
	location := locationOf(token)
	meta := secretMetadata()
	err := k.metadata.Get(ctx, location.secret, meta)
	if apierrors.IsNotFound(err) {
		k.forget(location)
		return apiKey{problem: missingAPIKey(token.Spec.APIKeySecretRef)}, nil
	}
	if err != nil {
		return apiKey{}, fmt.Errorf("looking up Secret %s, which is to hold the API key: %w", location.secret, err)
	}
	if known, ok := k.recall(location); ok && known.uid == meta.UID && known.resourceVersion == meta.ResourceVersion {
		return known.apiKey, nil
	}
	_, seen, err := k.read(ctx, token)
	return seen, err
}

// read fetches the key itself, for a mint. The caller drops it as soon as the mint is done.
func (k *keyring) read(ctx context.Context, token *v1alpha1.ReactorToken) (reactor.Secret, apiKey, error) {
	location := locationOf(token)
	secret := &corev1.Secret{}
	err := k.live.Get(ctx, location.secret, secret)
	if apierrors.IsNotFound(err) {
		k.forget(location)
		return "", apiKey{problem: missingAPIKey(token.Spec.APIKeySecretRef)}, nil
	}
	if err != nil {
		return "", apiKey{}, fmt.Errorf("reading the API key from Secret %s: %w", location.secret, err)
	}
	key, bad := readAPIKey(secret, token.Spec.APIKeySecretRef)
	seen := apiKey{problem: bad}
	if bad == nil {
		seen.fingerprint = fingerprintOf(key)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known[location] = knownKey{uid: secret.UID, resourceVersion: secret.ResourceVersion, apiKey: seen}
	return key, seen, nil
}

func (k *keyring) recall(location keyLocation) (knownKey, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.known[location]
	return known, ok
}

func (k *keyring) forget(location keyLocation) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.known, location)
}

func locationOf(token *v1alpha1.ReactorToken) keyLocation {
	return keyLocation{
		secret: types.NamespacedName{Namespace: token.Namespace, Name: token.Spec.APIKeySecretRef.Name},
		key:    token.Spec.APIKeySecretRef.EffectiveKey(),
	}
}
