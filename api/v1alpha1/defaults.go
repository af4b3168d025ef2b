package v1alpha1

import "time"

// DefaultAPIKeyKey is the default of apiKeySecretRef.key: the key of the Secret's data that holds the API key.
const DefaultAPIKeyKey = "api-key"

// DefaultLifetime is the default of spec.lifetime: the maximum lifetime of Reactor's tokens.
const DefaultLifetime = 6 * time.Hour

// The defaults below are applied when the spec is read, and are never written into it. If they were stored, the stored
// object would differ from its manifest, and GitOps tools would report it as out of sync permanently.

// EffectiveKey returns the key of the Secret's data that holds the API key.
func (r APIKeySecretReference) EffectiveKey() string {
	if r.Key == "" {
		return DefaultAPIKeyKey
	}
	return r.Key
}

// EffectiveLifetime returns the lifetime to request from Reactor.
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
	// DefaultBackoffLimit is the number of failures of the program after which another attempt follows.
	DefaultBackoffLimit int32 = 3
	// DefaultStartDeadline is how long the container of a new pod may take to run.
	DefaultStartDeadline = 10 * time.Minute
	// DefaultMaxSessions is how many Reactor sessions the token of an attempt may start.
	DefaultMaxSessions int32 = 1
)

// Suspended reports whether the operator must stop the session and not start it.
func (s *ReactorSessionSpec) Suspended() bool { return s.Suspend != nil && *s.Suspend }

// EffectiveBackoffLimit returns the number of failures of the program after which another attempt follows.
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

// SessionContainer returns the name of the container that runs the session's program. It is empty if the template has
// no container.
func (s *ReactorSessionSpec) SessionContainer() string {
	if s.Container != "" || len(s.Template.Spec.Containers) == 0 {
		return s.Container
	}
	return s.Template.Spec.Containers[0].Name
}
