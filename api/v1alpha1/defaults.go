package v1alpha1

import "time"

// DefaultAPIKeyKey is the key of the Secret's data that holds the API key when apiKeySecretRef.key is left out.
const DefaultAPIKeyKey = "api-key"

// DefaultLifetime is asked for when spec.lifetime is left out: the ceiling of Reactor's tokens.
const DefaultLifetime = 6 * time.Hour

// The defaults below are applied when the spec is read, and never written into it: a manifest that is applied twice must
// not differ from what is stored, or GitOps tools report it as out of sync for ever.

// EffectiveKey returns the key of the Secret's data that holds the API key.
func (r APIKeySecretReference) EffectiveKey() string {
	if r.Key == "" {
		return DefaultAPIKeyKey
	}
	return r.Key
}

// EffectiveLifetime returns the lifetime that is asked of Reactor.
func (s *ReactorTokenSpec) EffectiveLifetime() time.Duration {
	if lifetime := s.Lifetime.Std(); lifetime > 0 {
		return lifetime
	}
	return DefaultLifetime
}

// TargetSecretName returns the name of the Secret that holds the token.
func (t *ReactorToken) TargetSecretName() string {
	if t.Spec.Secret.Name != "" {
		return t.Spec.Secret.Name
	}
	return t.Name
}

// Suspended reports whether requests to Reactor are stopped.
func (s *ReactorTokenSpec) Suspended() bool {
	return s.Suspend != nil && *s.Suspend
}
