package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ReactorSession runs a container as a live Reactor session: one pod at a time,
// started once its credential is there, bounded in time, ended cleanly and never
// doubled.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=reactorsessions,singular=reactorsession,shortName=rses,categories=reactor
// +kubebuilder:printcolumn:name="Model",type=string,JSONPath=`.spec.model`,description="The model that the session runs"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="True while the session runs as asked, or has completed"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="What the session does, or what it waits for"
// +kubebuilder:printcolumn:name="Attempts",type=integer,JSONPath=`.status.attempts`,description="How many attempts were begun"
// +kubebuilder:printcolumn:name="Running",type=string,JSONPath=`.status.runningSeconds`,description="How long the attempts that ended have run, in seconds"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Pod",type=string,priority=1,JSONPath=`.status.currentAttempt.podName`,description="The pod of the current attempt"
// +kubebuilder:printcolumn:name="Session",type=string,priority=1,JSONPath=`.status.currentAttempt.sessionID`,description="The Reactor session that the program reported"
// +kubebuilder:printcolumn:name="Failures",type=integer,priority=1,JSONPath=`.status.failures`,description="Failures that count against backoffLimit"
// +kubebuilder:printcolumn:name="API Key",type=string,priority=1,JSONPath=`.spec.apiKeySecretRef.name`,description="The Secret that holds the API key"
// +kubebuilder:selectablefield:JSONPath=`.spec.apiKeySecretRef.name`
// +kubebuilder:selectablefield:JSONPath=`.spec.model`
type ReactorSession struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what to run, with which model and key, and within which bounds.
	// +required
	Spec ReactorSessionSpec `json:"spec,omitzero"`

	// status is what the operator observed.
	// +optional
	Status ReactorSessionStatus `json:"status,omitzero"`
}

// ReactorSessionList is a list of ReactorSessions.
//
// +kubebuilder:object:root=true
type ReactorSessionList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the ReactorSessions.
	Items []ReactorSession `json:"items"`
}

// ReactorSessionSpec says what to run, with which model and key, and within
// which bounds.
type ReactorSessionSpec struct {
	// model is the full name of the model, such as reactor/helios. It cannot be
	// changed: create another ReactorSession.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the model of a session cannot be changed: create another ReactorSession"
	Model ModelName `json:"model,omitempty"`

	// apiKeySecretRef names the Secret, in the same namespace, that holds the
	// Reactor API key. A change of the key touches no running pod; the next
	// attempt uses the new one.
	// +required
	APIKeySecretRef APIKeySecretReference `json:"apiKeySecretRef,omitzero"`

	// credentials says what the program gets to call Reactor with.
	// +optional
	Credentials SessionCredentials `json:"credentials,omitzero"`

	// restartPolicy says when another attempt follows one that has ended: Never
	// (when left out), OnFailure or Always. Each attempt is a new pod; pods
	// themselves never restart in place.
	// +optional
	RestartPolicy SessionRestartPolicy `json:"restartPolicy,omitempty"`

	// backoffLimit is how many failures of the program are followed by another
	// attempt before the session has Failed; 3 when left out. What is not the
	// program's fault does not count. It means nothing under restartPolicy Never.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	BackoffLimit *int32 `json:"backoffLimit,omitempty"`

	// startDeadline is how long an attempt may take from the creation of its pod
	// until its container runs; 10m when left out. A pod that cannot be scheduled
	// or whose image cannot be pulled is given up then, and another attempt
	// follows. Waiting for the token or for capacity does not count.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}[hms]){1,3}$') || duration(self) >= duration('10s')",message="startDeadline must be at least 10s; write for example 5m, or leave it out for 10m"
	StartDeadline Duration `json:"startDeadline,omitempty"`

	// maxDuration bounds the time for which the session runs, over all its
	// attempts; there is no limit when it is left out. What was asked for is done
	// then: the session is stopped cleanly, and has completed. A shorter one holds
	// at once, a longer one from the next attempt on, which follows by itself.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}[hms]){1,3}$') || duration(self) >= duration('10s')",message="maxDuration must be at least 10s; write for example 5h, or leave it out for no limit"
	MaxDuration Duration `json:"maxDuration,omitempty"`

	// suspend stops the session cleanly and keeps the object; false again begins
	// the next attempt.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`

	// ttlAfterFinished is how long a session that has completed or failed is
	// kept, with its last pods and their logs; for ever when left out.
	// +optional
	TTLAfterFinished Duration `json:"ttlAfterFinished,omitempty"`

	// container is the container of the template that is the session's program:
	// it gets the credential, and its end ends the attempt. The first one when
	// left out.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Container string `json:"container,omitempty"`

	// template is the pod of each attempt: an ordinary pod template without a
	// restartPolicy. A change of it affects the next attempt only.
	// +required
	Template corev1.PodTemplateSpec `json:"template,omitzero"`
}

// SessionCredentials says what a session's program gets to call Reactor with.
type SessionCredentials struct {
	// delivery is TokenFile (when left out), a token of its own for each attempt,
	// limited to the model, in a file that REACTOR_JWT_FILE names; or APIKeyEnv,
	// the API key itself in REACTOR_API_KEY, for programs that know nothing else.
	// Such a program mints its own tokens, and no limit reaches those.
	// +optional
	Delivery CredentialDelivery `json:"delivery,omitempty"`

	// maxSessions is how many Reactor sessions the token of one attempt may ever
	// start; 1 when left out. A program that reconnects with a new session needs
	// more.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 500",message="write a number from 1 to 500, or leave maxSessions out for 1"
	MaxSessions int32 `json:"maxSessions,omitempty"`
}

// CredentialDelivery is how a session's program gets its credential.
//
// +kubebuilder:validation:Enum=TokenFile;APIKeyEnv
type CredentialDelivery string

// The forms of delivery.
const (
	// DeliveryTokenFile mounts a token of the attempt's own as a file.
	DeliveryTokenFile CredentialDelivery = "TokenFile"
	// DeliveryAPIKeyEnv puts the API key into the environment.
	DeliveryAPIKeyEnv CredentialDelivery = "APIKeyEnv"
)

// SessionRestartPolicy says when another attempt follows.
//
// +kubebuilder:validation:Enum=Never;OnFailure;Always
type SessionRestartPolicy string

// The restart policies.
const (
	// RestartNever makes one attempt; only what is not the program's fault is tried again.
	RestartNever SessionRestartPolicy = "Never"
	// RestartOnFailure tries again after failures, as often as backoffLimit says.
	RestartOnFailure SessionRestartPolicy = "OnFailure"
	// RestartAlways runs for ever: it begins anew also after success.
	RestartAlways SessionRestartPolicy = "Always"
)
