package v1alpha1

// Annotations that users write.
const (
	// RenewRequestedAtAnnotation on a ReactorToken requests a new token now. Each new value causes one token request. The
	// operator then copies the value to status.lastHandledRenewRequest. By convention the value is the time of the request.
	RenewRequestedAtAnnotation = "reactor.inc/renew-requested-at"

	// AllowAdoptionByAnnotation on a Secret that the operator did not create names the ReactorToken, in the same
	// namespace, that may write its keys into the Secret. Without this annotation the operator never changes such a Secret.
	AllowAdoptionByAnnotation = "reactor.inc/allow-adoption-by"
)

// Annotations that the operator writes to the target Secret, together with the token. After a restart the operator
// reads them back, without the payload. See docs/architecture.md.
const (
	// TokenNameAnnotation names the ReactorToken that writes this Secret.
	TokenNameAnnotation = "reactor.inc/token-name"
	// SecretNameAnnotation is the name of the Secret itself. A copy of the Secret has these annotations too, but another
	// name. By this annotation the operator detects that it did not write the copy.
	SecretNameAnnotation = "reactor.inc/secret-name"
	// TokenUIDAnnotation is the UID of that ReactorToken.
	TokenUIDAnnotation = "reactor.inc/token-uid"
	// TokenIDAnnotation is a random identifier of the token in the Secret. It distinguishes two tokens and reveals nothing
	// about either. The operator writes the same annotation to the pods and pod templates to which it delivered that token.
	TokenIDAnnotation = "reactor.inc/token-id"
	// IssuedAtAnnotation is the RFC 3339 time, by Reactor's clock, at which the token was issued.
	IssuedAtAnnotation = "reactor.inc/issued-at"
	// ExpiresAtAnnotation is the RFC 3339 time, by Reactor's clock, at which the token expires.
	ExpiresAtAnnotation = "reactor.inc/expires-at"
	// ClockSkewAnnotation is how far Reactor's clock was ahead of the operator's when the token was issued, as a
	// duration such as -1.5s.
	ClockSkewAnnotation = "reactor.inc/clock-skew"
	// KeyFingerprintAnnotation identifies the API key that was exchanged for the token, without revealing the key.
	KeyFingerprintAnnotation = "reactor.inc/key-fingerprint"
	// RequestHashAnnotation identifies what was requested from Reactor: lifetime and scope.
	RequestHashAnnotation = "reactor.inc/request-hash"
	// TokenChecksumAnnotation is a checksum of the token in the payload and of these annotations. It shows whether both are
	// still what the operator wrote.
	TokenChecksumAnnotation = "reactor.inc/token-checksum"
	// HandledRenewRequestAnnotation is the value of RenewRequestedAtAnnotation for which this token was requested.
	HandledRenewRequestAnnotation = "reactor.inc/handled-renew-request"
	// AdoptedAnnotation is "true" on a Secret that was adopted through AllowAdoptionByAnnotation. Such a Secret has no
	// owner reference. When its ReactorToken is deleted, the operator removes only its own keys.
	AdoptedAnnotation = "reactor.inc/adopted"
	// DeletionPolicyAnnotation repeats spec.secret.deletionPolicy when it is Retain.
	DeletionPolicyAnnotation = "reactor.inc/deletion-policy"
)
