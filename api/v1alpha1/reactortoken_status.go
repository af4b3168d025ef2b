package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ReactorTokenStatus is what the operator observed.
type ReactorTokenStatus struct {
	// conditions are Ready, Renewed and LifetimeClamped, and also Stalled while a
	// user must act.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// secretName is the Secret that holds the token.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`

	// secretResourceVersion is the resourceVersion of that Secret which the
	// operator last wrote or checked. The operator checks the Secret again when it
	// changes.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	SecretResourceVersion string `json:"secretResourceVersion,omitempty"`

	// issuedTime is when the token was issued, by Reactor's clock.
	// +optional
	IssuedTime *metav1.Time `json:"issuedTime,omitempty"`

	// expirationTime is when the token expires, by Reactor's clock.
	// +optional
	ExpirationTime *metav1.Time `json:"expirationTime,omitempty"`

	// renewalTime is when the next token is due, by Reactor's clock.
	// +optional
	RenewalTime *metav1.Time `json:"renewalTime,omitempty"`

	// requestedLifetime is the lifetime that the operator requested.
	// +optional
	RequestedLifetime Duration `json:"requestedLifetime,omitempty"`

	// grantedLifetime is the lifetime that Reactor granted.
	// +optional
	GrantedLifetime Duration `json:"grantedLifetime,omitempty"`

	// consecutiveFailures counts failed attempts since the last success, or since
	// the API key or the request changed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ConsecutiveFailures int32 `json:"consecutiveFailures,omitempty"`

	// nextAttemptTime is when the operator tries again, by its own clock. It is
	// set while the operator waits after a failure, or because too many tokens
	// were requested in a short time. While Reactor refuses or limits an API key,
	// only the ReactorToken that tries the key again has it; the others with the
	// same key continue when Reactor has answered.
	// +optional
	NextAttemptTime *metav1.Time `json:"nextAttemptTime,omitempty"`

	// lastFailure describes the last attempt if it failed. It is absent after a
	// success.
	// +optional
	LastFailure *FailedAttempt `json:"lastFailure,omitempty"`

	// deliveredTokenID identifies the token for which restart and promptDelivery
	// are complete.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	DeliveredTokenID string `json:"deliveredTokenID,omitempty"`

	// lastHandledRenewRequest is the last value of the annotation
	// reactor.inc/renew-requested-at for which the operator obtained a new token.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	LastHandledRenewRequest string `json:"lastHandledRenewRequest,omitempty"`
}

// FailedAttempt describes what was attempted. The wait after a failure ends as
// soon as one of these inputs changes.
type FailedAttempt struct {
	// reason is the reason that the condition Renewed shows.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// firstTime is when attempts for the same request, with the same API key,
	// started to fail for this reason, by the operator's clock.
	// +optional
	FirstTime *metav1.Time `json:"firstTime,omitempty"`

	// message says what happened, without any secret.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// requestHash identifies what was requested: lifetime and scope.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	RequestHash string `json:"requestHash,omitempty"`

	// keyFingerprint identifies the API key that was used, without revealing it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	KeyFingerprint string `json:"keyFingerprint,omitempty"`

	// apiURL is the URL to which the request was sent. When the installation uses
	// another URL, the operator tries again.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	APIURL string `json:"apiURL,omitempty"`

	// renewRequest is the value of the annotation reactor.inc/renew-requested-at
	// at that time.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	RenewRequest string `json:"renewRequest,omitempty"`
}
