package v1alpha1

// Annotations that users write.
const (
	// RenewRequestedAtAnnotation on a ReactorToken asks for a new token now: any new value causes one mint, and is then
	// echoed in status.lastHandledRenewRequest. By convention the value is the time of the request.
	RenewRequestedAtAnnotation = "reactor.inc/renew-requested-at"

	// AllowAdoptionByAnnotation on a Secret that the operator did not create names the ReactorToken, of the same
	// namespace, that may write its keys into it. Without this consent such a Secret is never touched.
	AllowAdoptionByAnnotation = "reactor.inc/allow-adoption-by"
)

// Annotations that the operator writes onto the target Secret, together with the token: they are what it reads back
// after a restart, without reading the payload. See docs/architecture.md.
const (
	// TokenNameAnnotation names the ReactorToken that writes this Secret.
	TokenNameAnnotation = "reactor.inc/token-name"
	// SecretNameAnnotation is the Secret's own name: a copy of the Secret, which carries these annotations along, is not
	// taken for one that the operator wrote.
	SecretNameAnnotation = "reactor.inc/secret-name"
	// TokenUIDAnnotation is the UID of that ReactorToken.
	TokenUIDAnnotation = "reactor.inc/token-uid"
	// TokenIDAnnotation is a random identifier of the token in the Secret; it tells two tokens apart and reveals
	// nothing about either. The operator writes the same annotation onto the pods and pod templates to which it
	// delivered that token.
	TokenIDAnnotation = "reactor.inc/token-id"
	// IssuedAtAnnotation is the RFC 3339 time, by Reactor's clock, at which the token was issued.
	IssuedAtAnnotation = "reactor.inc/issued-at"
	// ExpiresAtAnnotation is the RFC 3339 time, by Reactor's clock, at which the token expires.
	ExpiresAtAnnotation = "reactor.inc/expires-at"
	// ClockSkewAnnotation is how far Reactor's clock was ahead of the operator's when the token was issued, as a
	// duration such as -1.5s.
	ClockSkewAnnotation = "reactor.inc/clock-skew"
	// KeyFingerprintAnnotation identifies the API key that the token was exchanged for, without revealing it.
	KeyFingerprintAnnotation = "reactor.inc/key-fingerprint"
	// RequestHashAnnotation identifies what was asked of Reactor: lifetime and scope.
	RequestHashAnnotation = "reactor.inc/request-hash"
	// TokenChecksumAnnotation tells whether the token in the payload, and these annotations, are still what the operator
	// wrote.
	TokenChecksumAnnotation = "reactor.inc/token-checksum"
	// HandledRenewRequestAnnotation is the value of RenewRequestedAtAnnotation that this token answered.
	HandledRenewRequestAnnotation = "reactor.inc/handled-renew-request"
	// AdoptedAnnotation is "true" on a Secret that was adopted by consent: it has no owner reference, and only the
	// operator's keys leave it when its ReactorToken goes.
	AdoptedAnnotation = "reactor.inc/adopted"
	// DeletionPolicyAnnotation repeats spec.secret.deletionPolicy when it is Retain.
	DeletionPolicyAnnotation = "reactor.inc/deletion-policy"
)
