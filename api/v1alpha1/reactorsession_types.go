package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ReactorSession runs a container as a live Reactor session. The operator
// creates one pod when the credential is available, limits its run time, stops
// it gracefully, and never runs two pods at the same time.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=reactorsessions,singular=reactorsession,shortName=rses,categories=reactor
// +kubebuilder:printcolumn:name="Model",type=string,JSONPath=`.spec.model`,description="The model that the session runs"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="True while the session runs as requested, or has completed"
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="What the session does, or what it waits for"
// +kubebuilder:printcolumn:name="Attempts",type=integer,JSONPath=`.status.attempts`,description="The number of attempts that were started"
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

	// spec defines what to run, with which model and key, and with which limits.
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

// ReactorSessionSpec defines what to run, with which model and key, and
// with which limits.
type ReactorSessionSpec struct {
	// model is the full name of the model, such as reactor/helios. It cannot be
	// changed. For another model, create another ReactorSession.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="The model of a session cannot be changed. Create another ReactorSession."
	Model ModelName `json:"model,omitempty"`

	// apiKeySecretRef names the Secret, in the same namespace, that holds the
	// Reactor API key. A change of the key does not affect a running pod. The next
	// attempt uses the new key.
	// +required
	APIKeySecretRef APIKeySecretReference `json:"apiKeySecretRef,omitzero"`

	// credentials defines the credential with which the program calls Reactor.
	// +optional
	Credentials SessionCredentials `json:"credentials,omitzero"`

	// restartPolicy defines when another attempt follows an attempt that ended:
	// Never, OnFailure or Always. Defaults to Never. Each attempt is a new pod.
	// Pods never restart in place.
	// +optional
	RestartPolicy SessionRestartPolicy `json:"restartPolicy,omitempty"`

	// backoffLimit is the number of failures of the program after which another
	// attempt follows. After one more failure the session has Failed. Defaults to
	// 3. A failure that the program did not cause does not count. The field has no
	// effect with restartPolicy Never.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	BackoffLimit *int32 `json:"backoffLimit,omitempty"`

	// startDeadline is how long an attempt may take from the creation of its pod
	// until its container runs. Defaults to 10m. If the pod cannot be scheduled in
	// this time, or its image cannot be pulled, the attempt ends and another one
	// follows. Waiting for the token or for capacity does not count.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}[hms]){1,3}$') || duration(self) >= duration('10s')",message="startDeadline must be at least 10s. Write for example 5m, or omit it for the default of 10m."
	StartDeadline Duration `json:"startDeadline,omitempty"`

	// maxDuration limits how long the session runs, in all its attempts together.
	// If omitted, there is no limit. When the time is over, the operator stops the
	// session gracefully, and the session has completed. A shorter value takes
	// effect immediately. A longer value takes effect with the next attempt, which
	// follows by itself.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}[hms]){1,3}$') || duration(self) >= duration('10s')",message="maxDuration must be at least 10s. Write for example 5h, or omit it for no limit."
	MaxDuration Duration `json:"maxDuration,omitempty"`

	// suspend stops the session gracefully and keeps the object. When it is false
	// again, the operator starts the next attempt.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`

	// ttlAfterFinished is how long a session that has completed or failed is kept,
	// with its last pods and their logs. If omitted, it is kept until a user
	// deletes it.
	// +optional
	TTLAfterFinished Duration `json:"ttlAfterFinished,omitempty"`

	// container is the container of the template that runs the session's program.
	// It gets the credential, and the attempt ends when it ends. Defaults to the
	// first container.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Container string `json:"container,omitempty"`

	// template is the pod of each attempt: an ordinary pod template without a
	// restartPolicy. A change of it affects the next attempt only.
	// +required
	Template corev1.PodTemplateSpec `json:"template,omitzero"`
}

// SessionCredentials defines the credential with which a session's program
// calls Reactor.
type SessionCredentials struct {
	// delivery is TokenFile or APIKeyEnv. Defaults to TokenFile. With TokenFile,
	// each attempt gets its own token, limited to the model, in a file whose path
	// is in REACTOR_JWT_FILE. With APIKeyEnv, the program gets the API key itself
	// in REACTOR_API_KEY. Use it only for programs that cannot use a token. Such a
	// program requests its own tokens, and the limits here do not apply to them.
	// +optional
	Delivery CredentialDelivery `json:"delivery,omitempty"`

	// maxSessions is how many Reactor sessions the token of one attempt may start
	// in total. Defaults to 1. A program that reconnects with a new session needs
	// more.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 500",message="maxSessions must be from 1 to 500. Omit it for the default of 1."
	MaxSessions int32 `json:"maxSessions,omitempty"`
}

// CredentialDelivery is how a session's program gets its credential.
//
// +kubebuilder:validation:Enum=TokenFile;APIKeyEnv
type CredentialDelivery string

// The forms of delivery.
const (
	// DeliveryTokenFile mounts the attempt's own token as a file.
	DeliveryTokenFile CredentialDelivery = "TokenFile"
	// DeliveryAPIKeyEnv puts the API key into the environment.
	DeliveryAPIKeyEnv CredentialDelivery = "APIKeyEnv"
)

// SessionRestartPolicy defines when another attempt follows.
//
// +kubebuilder:validation:Enum=Never;OnFailure;Always
type SessionRestartPolicy string

// The restart policies.
const (
	// RestartNever makes one attempt. Another attempt follows only after a failure
	// that the program did not cause.
	RestartNever SessionRestartPolicy = "Never"
	// RestartOnFailure makes another attempt after a failure, up to backoffLimit
	// times.
	RestartOnFailure SessionRestartPolicy = "OnFailure"
	// RestartAlways makes another attempt after every end, even after success.
	RestartAlways SessionRestartPolicy = "Always"
)
