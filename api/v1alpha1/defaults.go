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

// Defaults of a ReactorSession.
const (
	// DefaultBackoffLimit is how many failures of the program are followed by another attempt.
	DefaultBackoffLimit int32 = 3
	// DefaultStartDeadline is how long the container of a new pod may take to run.
	DefaultStartDeadline = 10 * time.Minute
	// DefaultMaxSessions is how many Reactor sessions the token of an attempt may start.
	DefaultMaxSessions int32 = 1
)

// Suspended reports whether the session is to be stopped, and not to be started.
func (s *ReactorSessionSpec) Suspended() bool { return s.Suspend != nil && *s.Suspend }

// EffectiveBackoffLimit returns how many failures of the program are followed by another attempt.
func (s *ReactorSessionSpec) EffectiveBackoffLimit() int32 {
	switch {
	case s.RestartPolicy == "" || s.RestartPolicy == RestartNever:
		return 0
	case s.BackoffLimit == nil:
		return DefaultBackoffLimit
	default:
		return *s.BackoffLimit
	}
}

// EffectiveStartDeadline returns how long the container of a new pod may take to run.
func (s *ReactorSessionSpec) EffectiveStartDeadline() time.Duration {
	if deadline := s.StartDeadline.Std(); deadline > 0 {
		return deadline
	}
	return DefaultStartDeadline
}

// EffectiveMaxSessions returns how many Reactor sessions the token of an attempt may start.
func (s *ReactorSessionSpec) EffectiveMaxSessions() int32 {
	if s.Credentials.MaxSessions > 0 {
		return s.Credentials.MaxSessions
	}
	return DefaultMaxSessions
}

// UsesTokenFile reports whether each attempt gets a token of its own.
func (s *ReactorSessionSpec) UsesTokenFile() bool { return s.Credentials.Delivery != DeliveryAPIKeyEnv }

// SessionContainer returns the name of the container that is the session's program; empty when the template has none.
func (s *ReactorSessionSpec) SessionContainer() string {
	if s.Container != "" || len(s.Template.Spec.Containers) == 0 {
		return s.Container
	}
	return s.Template.Spec.Containers[0].Name
}
