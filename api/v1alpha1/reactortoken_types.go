package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ReactorToken keeps a Reactor token in a Secret. The operator exchanges an
// API key for a token, writes the token to the Secret, and renews it before it
// expires. Pods mount the Secret and never get the API key.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=reactortokens,singular=reactortoken,shortName=rtok,categories=reactor
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="True while the Secret holds a valid token"
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expirationTime`,description="When the token in the Secret expires"
// +kubebuilder:printcolumn:name="Renews",type=string,JSONPath=`.status.renewalTime`,description="When the next token is due"
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secretName`,description="The Secret that holds the token"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Status",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why it is ready or not"
// +kubebuilder:printcolumn:name="Renewed",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Renewed")].reason`,description="How the last attempt to obtain a token ended"
// +kubebuilder:printcolumn:name="Granted",type=string,priority=1,JSONPath=`.status.grantedLifetime`,description="The lifetime that Reactor granted"
// +kubebuilder:printcolumn:name="API Key",type=string,priority=1,JSONPath=`.spec.apiKeySecretRef.name`,description="The Secret that holds the API key"
// +kubebuilder:printcolumn:name="Failures",type=integer,priority=1,JSONPath=`.status.consecutiveFailures`,description="Failed attempts since the last success"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.apiKeySecretRef.name) || self.spec.apiKeySecretRef.name != (has(self.spec.secret) && has(self.spec.secret.name) ? self.spec.secret.name : self.metadata.name)",fieldPath=".spec.secret.name",message="spec.secret.name must not name the Secret that holds the API key, because pods that mount it could read the key. Set a different spec.secret.name (default: the name of this object)."
// +kubebuilder:selectablefield:JSONPath=`.spec.apiKeySecretRef.name`
// +kubebuilder:selectablefield:JSONPath=`.status.secretName`
type ReactorToken struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec defines which API key to use, which token to request, and where to
	// write it.
	// +required
	Spec ReactorTokenSpec `json:"spec,omitzero"`

	// status is what the operator observed. It is derived from the Secret that the
	// operator wrote.
	// +optional
	Status ReactorTokenStatus `json:"status,omitzero"`
}

// ReactorTokenList is a list of ReactorTokens.
//
// +kubebuilder:object:root=true
type ReactorTokenList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// items are the ReactorTokens.
	Items []ReactorToken `json:"items"`
}

// ReactorTokenSpec defines which API key to use, which token to request, and
// where to write it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.renewBefore) || !self.renewBefore.matches('^([0-9]{1,5}[hms]){1,3}$') || (has(self.lifetime) && !self.lifetime.matches('^([0-9]{1,5}[hms]){1,3}$')) || duration(self.renewBefore) < duration(has(self.lifetime) ? self.lifetime : '6h')",fieldPath=".renewBefore",message="renewBefore must be shorter than lifetime (default: 6h). Write a shorter renewBefore, or omit it to renew in the last third of the token's lifetime.",messageExpression="'renewBefore (' + self.renewBefore + ') must be shorter than lifetime (' + (has(self.lifetime) ? self.lifetime : 'default: 6h') + '). Write a shorter renewBefore, or omit it to renew in the last third of the token\\'s lifetime.'"
type ReactorTokenSpec struct {
	// apiKeySecretRef names the Secret, in the same namespace, that holds the
	// Reactor API key. When the API key changes, the operator requests a new
	// token, at the rate of --mint-qps. The old token stays in the Secret until
	// the new one is written.
	// +required
	APIKeySecretRef APIKeySecretReference `json:"apiKeySecretRef,omitzero"`

	// lifetime is the requested lifetime of each token, at least 1m. Defaults to
	// 6h, which is Reactor's maximum. Reactor shortens a longer requested lifetime
	// without an error. The condition LifetimeClamped is then True.
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}[hms]){1,3}$') || duration(self) >= duration('1m')",message="lifetime must be at least 1m. Write for example 1h, or omit it for the default of 6h."
	// +optional
	Lifetime Duration `json:"lifetime,omitempty"`

	// renewBefore is how long before its expiry a token is renewed. Defaults to a
	// third of the granted lifetime. A changed Secret reaches the pods that mount
	// it after 60 to 90 seconds. Set renewBefore to more than 2m, unless you use
	// promptDelivery. At least a quarter of the granted lifetime passes before a
	// token is renewed.
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}[hms]){1,3}$') || duration(self) >= duration('1s')",message="renewBefore must be at least 1s. Omit it to renew in the last third of the token's lifetime."
	// +optional
	RenewBefore Duration `json:"renewBefore,omitempty"`

	// scope limits what the token may do. A token without scope may do everything
	// that the key's account may do with sessions. Never give such a token to a
	// browser.
	// +optional
	Scope *TokenScope `json:"scope,omitempty"`

	// secret defines where and how the token is written.
	// +optional
	Secret TargetSecret `json:"secret,omitzero"`

	// restart lists workloads of the same namespace that the operator restarts
	// when the token changes. Use it for programs that read the token only once,
	// for example from the environment. The installation must allow it
	// (--allow-restart).
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Restart []WorkloadReference `json:"restart,omitempty"`

	// promptDelivery updates the mounted files of running pods within about a
	// second of a new token, without a restart. Without it, the update takes 60 to
	// 90 seconds. The installation must allow it (--allow-prompt-delivery).
	// +optional
	PromptDelivery *PromptDelivery `json:"promptDelivery,omitempty"`

	// suspend stops all requests to Reactor while it is true. The token stays in
	// the Secret, even after it expires.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`
}

// APIKeySecretReference names a key of a Secret in the same namespace.
type APIKeySecretReference struct {
	// name is the name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="The name must be a valid Secret name. Use lowercase letters, digits, '-' and '.', and start and end with a letter or digit."
	// +required
	Name string `json:"name,omitempty"`

	// key is the key in the Secret's data that holds the API key (rk_…). Defaults
	// to api-key.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="The key must be valid in a Secret. Use letters, digits, '-', '_' and '.', or omit it for the default, api-key."
	// +optional
	Key string `json:"key,omitempty"`
}

// TokenScope limits which models a token may use and how many sessions it may
// start.
//
// +kubebuilder:validation:XValidation:rule="has(self.models) && size(self.models) > 0",fieldPath=".models",reason="FieldValueRequired",message="A scope must have at least one model. Write for example models: [reactor/helios], or omit scope for a token without limits."
type TokenScope struct {
	// models are the full names of the models for which the token may start
	// sessions, such as reactor/helios. Reactor does not support wildcards.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	Models []ModelName `json:"models,omitempty"`

	// maxSessions is how many sessions the token may start in total, including
	// closed sessions. Each renewed token starts again at 0. If omitted, Reactor's
	// default applies.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 500",message="maxSessions must be from 1 to 500. Omit it for Reactor's default."
	// +optional
	MaxSessions int32 `json:"maxSessions,omitempty"`

	// maxSessionDuration is how long each session that the token started may run
	// before Reactor ends it, at most 24h. If omitted, there is no limit.
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}[hms]){1,3}$') || (duration(self) >= duration('1s') && duration(self) <= duration('24h'))",message="maxSessionDuration must be from 1s to 24h. Write for example 20m, or omit it for no limit."
	// +optional
	MaxSessionDuration Duration `json:"maxSessionDuration,omitempty"`
}

// ModelName is the name of a Reactor model, such as reactor/helios.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$')",message="A model must be the full name of one model, such as reactor/helios. Use letters, digits, '.', '_', '-' and one '/' after the owner. Wildcards are not supported."
type ModelName string

// TargetSecret describes the Secret that holds the token. It always has the
// keys jwt and expires_at (Unix seconds).
type TargetSecret struct {
	// name is the name of the Secret. Defaults to the name of the ReactorToken.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="The name must be a valid Secret name. Use lowercase letters, digits, '-' and '.', and start and end with a letter or digit. Or omit it for the default, the name of the ReactorToken."
	// +optional
	Name string `json:"name,omitempty"`

	// labels are set on the Secret. This object owns each of them. When you remove
	// a label here, the operator removes it from the Secret. Other labels of the
	// Secret stay unchanged.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.matches('(^|[.])reactor[.]inc/'))",message="Labels of the domain reactor.inc are reserved for the operator. Use another domain.",messageExpression="'The label ' + self.filter(k, k.matches('(^|[.])reactor[.]inc/'))[0] + ' is reserved, like all labels of the domain reactor.inc. Use another domain.'"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="Label names must be valid in Kubernetes. Use at most 63 letters, digits, '-', '_' and '.', such as team. A domain may precede it, such as example.com/team.",messageExpression="'The label name ' + self.filter(k, format.qualifiedName().validate(k).hasValue())[0] + ' is not valid. Use at most 63 letters, digits, \\'-\\', \\'_\\' and \\'.\\', such as team. A domain may precede it, such as example.com/team.'"
	Labels map[string]LabelValue `json:"labels,omitempty"`

	// annotations are set on the Secret. This object owns each of them, in the
	// same way as the labels.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.matches('(^|[.])reactor[.]inc/'))",message="Annotations of the domain reactor.inc are reserved for the operator. Use another domain.",messageExpression="'The annotation ' + self.filter(k, k.matches('(^|[.])reactor[.]inc/'))[0] + ' is reserved, like all annotations of the domain reactor.inc. Use another domain.'"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="Annotation names must be valid in Kubernetes. Use at most 63 letters, digits, '-', '_' and '.', such as team. A domain may precede it, such as example.com/team.",messageExpression="'The annotation name ' + self.filter(k, format.qualifiedName().validate(k).hasValue())[0] + ' is not valid. Use at most 63 letters, digits, \\'-\\', \\'_\\' and \\'.\\', such as team. A domain may precede it, such as example.com/team.'"
	Annotations map[string]AnnotationValue `json:"annotations,omitempty"`

	// additionalKeys are more keys of the Secret that hold the token in other
	// formats.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, !(k.name in ['jwt', 'expires_at']))",message="The keys jwt and expires_at always exist. Choose another name."
	// +kubebuilder:validation:XValidation:rule="self.all(k, self.exists_one(other, other.name == k.name))",message="Additional keys must have different names. Rename one of them."
	AdditionalKeys []AdditionalKey `json:"additionalKeys,omitempty"`

	// deletionPolicy defines what happens to the Secret when this object is
	// deleted: Delete or Retain. Defaults to Delete.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="!format.labelValue().validate(self).hasValue()",message="A label value must be valid in Kubernetes. Use at most 63 letters, digits, '-', '_' and '.', and start and end with a letter or digit."
type LabelValue string

// AnnotationValue is the value of an annotation.
//
// +kubebuilder:validation:MaxLength=4096
type AnnotationValue string

// AdditionalKey is one more key of the target Secret.
type AdditionalKey struct {
	// name is the key in the Secret's data. It is also the name of the file when
	// the Secret is mounted.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$') && !self.startsWith('..') && self != '.'",message="The key must be a valid file name. Use letters, digits, '-', '_' and '.', and do not start with '..'."
	// +required
	Name string `json:"name,omitempty"`

	// format is the format of the value. JSON is the response of Reactor,
	// {"jwt":…,"expires_at":…}. Env is a file with the lines REACTOR_JWT=… and
	// REACTOR_JWT_EXPIRES_AT=…. AuthorizationHeader is Bearer and the token. JWT
	// and ExpiresAt are the plain values under another name.
	// +required
	Format KeyFormat `json:"format,omitempty"`
}

// KeyFormat is a format in which the token can be written.
//
// +kubebuilder:validation:Enum=JSON;Env;AuthorizationHeader;JWT;ExpiresAt
type KeyFormat string

// The formats of an additional key.
const (
	// FormatJSON is {"jwt":"…","expires_at":1795400000}.
	FormatJSON KeyFormat = "JSON"
	// FormatEnv is two lines, REACTOR_JWT=… and REACTOR_JWT_EXPIRES_AT=….
	FormatEnv KeyFormat = "Env"
	// FormatAuthorizationHeader is the value of an HTTP Authorization header:
	// Bearer and the token.
	FormatAuthorizationHeader KeyFormat = "AuthorizationHeader"
	// FormatJWT is the token.
	FormatJWT KeyFormat = "JWT"
	// FormatExpiresAt is the expiry in Unix seconds, as text.
	FormatExpiresAt KeyFormat = "ExpiresAt"
)

// DeletionPolicy defines what happens to the Secret when its ReactorToken is
// deleted.
//
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

// The deletion policies.
const (
	// DeletionDelete deletes the Secret with its ReactorToken, by owner reference.
	DeletionDelete DeletionPolicy = "Delete"
	// DeletionRetain keeps the Secret. Its token is valid until it expires.
	DeletionRetain DeletionPolicy = "Retain"
)

// WorkloadReference names a workload of the same namespace.
type WorkloadReference struct {
	// kind is the kind of the workload: Deployment, StatefulSet or DaemonSet.
	// +required
	Kind WorkloadKind `json:"kind,omitempty"`

	// name is the name of the workload.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="The name must be a valid workload name. Use lowercase letters, digits, '-' and '.', and start and end with a letter or digit."
	// +required
	Name string `json:"name,omitempty"`
}

// WorkloadKind is a kind of workload that the operator can restart.
//
// +kubebuilder:validation:Enum=Deployment;StatefulSet;DaemonSet
type WorkloadKind string

// The kinds of workloads that the operator can restart.
const (
	KindDeployment  WorkloadKind = "Deployment"
	KindStatefulSet WorkloadKind = "StatefulSet"
	KindDaemonSet   WorkloadKind = "DaemonSet"
)

// PromptDelivery selects the pods that get a new token immediately.
type PromptDelivery struct {
	// podSelector selects running pods of the same namespace. Selected pods that
	// mount the Secret get the annotation reactor.inc/token-id, so that the
	// kubelet updates their mounted files immediately. No pod is restarted.
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && size(e.values) > 0 : e.operator in ['Exists', 'DoesNotExist'] && (!has(e.values) || size(e.values) == 0))",fieldPath=".matchExpressions",message="The operator of each expression must match its values. Use In or NotIn with values, and Exists or DoesNotExist without values."
	// +required
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
}
