// Package apikey finds the Reactor API key that an object refers to. It keeps the fingerprint of a key while an object uses it, and the
// key itself for a minute after its last use.
package apikey

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// prefix is the start of every Reactor API key. Nothing else of its form is published, so nothing else is checked.
const prefix = "rk_"

// Key is what is known of an API key. Either Problem is set, or Fingerprint.
type Key struct {
	// Fingerprint identifies the key without revealing it.
	Fingerprint string
	// Problem is why there is no key that could be used.
	Problem *Problem
}

// Problem is something that a user must fix, as a condition shows it.
type Problem struct {
	Reason, Message string
}

// FingerprintOf identifies a key without revealing it. A key is random and long, so that its hash gives nothing away.
func FingerprintOf(key reactor.Secret) string {
	sum := sha256.Sum256([]byte("reactor.inc/api-key\x00" + key.Reveal()))
	return hex.EncodeToString(sum[:8])
}

// parseKey returns the API key in a Secret. It drops the white space around the key: an editor or echo adds a newline.
func parseKey(secret *corev1.Secret, reference v1alpha1.APIKeySecretReference) (reactor.Secret, *Problem) {
	raw, ok := secret.Data[reference.EffectiveKey()]
	if !ok {
		return "", &Problem{v1alpha1.ReasonAPIKeyNotFound, fmt.Sprintf(
			"Secret %q has no key %q. Add the Reactor API key under it, or set spec.apiKeySecretRef.key to the key that has it",
			reference.Name, reference.EffectiveKey())}
	}
	key := strings.TrimSpace(string(raw))
	if !strings.HasPrefix(key, prefix) || len(key) == len(prefix) || strings.ContainsFunc(key, notInKey) {
		return "", &Problem{v1alpha1.ReasonAPIKeyInvalid, fmt.Sprintf(
			"key %q of Secret %q does not hold a Reactor API key, which starts with %s. Write the key there exactly as Reactor shows it",
			reference.EffectiveKey(), reference.Name, prefix)}
	}
	return reactor.Secret(key), nil
}

// notInKey finds what could not be sent in an HTTP header.
func notInKey(r rune) bool { return r <= ' ' || r > '~' }

func missing(reference v1alpha1.APIKeySecretReference) *Problem {
	return &Problem{v1alpha1.ReasonAPIKeyNotFound, fmt.Sprintf(
		"Secret %q does not exist in this namespace. Create it with the Reactor API key under %q. The operator then requests a token",
		reference.Name, reference.EffectiveKey())}
}
