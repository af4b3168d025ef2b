package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ReactorToken keeps a Reactor token in a Secret: it exchanges an API
// key for a token, writes it, and renews it before it expires. Pods mount the
// Secret and never see the API key.
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
// +kubebuilder:validation:XValidation:rule="!has(self.spec.apiKeySecretRef.name) || self.spec.apiKeySecretRef.name != (has(self.spec.secret) && has(self.spec.secret.name) ? self.spec.secret.name : self.metadata.name)",fieldPath=".spec.secret.name",message="the token must not stand in the Secret that holds the API key, or pods that mount it see the key: write another spec.secret.name (this object's own name when left out)"
// +kubebuilder:selectablefield:JSONPath=`.spec.apiKeySecretRef.name`
// +kubebuilder:selectablefield:JSONPath=`.status.secretName`
type ReactorToken struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says which API key to exchange, for what kind of token, and where to
	// write it.
	// +required
	Spec ReactorTokenSpec `json:"spec,omitzero"`

	// status is what the operator observed, derived from the Secret that it wrote.
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

// ReactorTokenSpec says which key to exchange, for what kind of token, and
// where to put it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.renewBefore) || !self.renewBefore.matches('^([0-9]{1,5}[hms]){1,3}$') || (has(self.lifetime) && !self.lifetime.matches('^([0-9]{1,5}[hms]){1,3}$')) || duration(self.renewBefore) < duration(has(self.lifetime) ? self.lifetime : '6h')",fieldPath=".renewBefore",message="renewBefore must be shorter than lifetime (6h when left out): write a smaller renewBefore, or leave it out to renew in the last third of the token's life",messageExpression="'renewBefore (' + self.renewBefore + ') must be shorter than lifetime (' + (has(self.lifetime) ? self.lifetime : '6h when left out') + '): write a smaller renewBefore, or leave it out to renew in the last third of the token\\'s life'"
type ReactorTokenSpec struct {
	// apiKeySecretRef names the Secret, in the same namespace, that holds the
	// Reactor API key. When the key in it changes, the operator requests a new
	// token, at the rate of --mint-qps; the old one stays in place until the new
	// one is written.
	// +required
	APIKeySecretRef APIKeySecretReference `json:"apiKeySecretRef,omitzero"`

	// lifetime is how long each token is to live, at least 1m. Reactor's ceiling
	// is 6h, which is also what is asked for when this is left out; a longer wish
	// is shortened by Reactor without an error, and the condition LifetimeClamped
	// then says so.
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}[hms]){1,3}$') || duration(self) >= duration('1m')",message="lifetime must be at least 1m; write for example 1h, or leave it out for 6h"
	// +optional
	Lifetime Duration `json:"lifetime,omitempty"`

	// renewBefore is how long before its expiry a token is renewed; the default is
	// a third of the granted lifetime. A mounted Secret reaches its pods 60 to 90
	// seconds after it changed, so keep it above 2m unless promptDelivery is on.
	// At least a quarter of the granted lifetime passes before a token is renewed.
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}[hms]){1,3}$') || duration(self) >= duration('1s')",message="renewBefore must be at least 1s; leave it out to renew in the last third of the token's life"
	// +optional
	RenewBefore Duration `json:"renewBefore,omitempty"`

	// scope limits what the token may do. A token without scope may do everything
	// that the key's account may do with sessions: never give one to a browser.
	// +optional
	Scope *TokenScope `json:"scope,omitempty"`

	// secret says where the token is written, and how.
	// +optional
	Secret TargetSecret `json:"secret,omitzero"`

	// restart lists workloads of the same namespace that are rolled when the token
	// changes, for programs that read it only once, for example from the
	// environment. The installation must allow it (--allow-restart).
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Restart []WorkloadReference `json:"restart,omitempty"`

	// promptDelivery makes a new token reach the mounted files of running pods
	// within about a second, without a restart, where it otherwise takes 60 to 90
	// seconds. The installation must allow it (--allow-prompt-delivery).
	// +optional
	PromptDelivery *PromptDelivery `json:"promptDelivery,omitempty"`

	// suspend stops all requests to Reactor while it is true. The token in the
	// Secret stays there, and is not taken out when it expires.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`
}

// APIKeySecretReference names a key of a Secret in the same namespace.
type APIKeySecretReference struct {
	// name is the name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="write the name of a Secret: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`

	// key is the key in the Secret's data that holds the API key (rk_…); api-key
	// when left out.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="write a key of the Secret's data: letters, digits, '-', '_' and '.'; leave it out for api-key"
	// +optional
	Key string `json:"key,omitempty"`
}

// TokenScope limits a token to models, and how many sessions it may start.
//
// +kubebuilder:validation:XValidation:rule="has(self.models) && size(self.models) > 0",fieldPath=".models",reason="FieldValueRequired",message="a scope needs at least one model: write models: [reactor/helios], or leave scope out for a token without limits"
type TokenScope struct {
	// models are the models that the token may start sessions of, by their full
	// names, such as reactor/helios. Reactor knows no wildcards.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	Models []ModelName `json:"models,omitempty"`

	// maxSessions is how many sessions the token may ever start; closed ones count
	// too. Each renewed token begins again at 0. Reactor's own default applies
	// when it is left out.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=500
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 500",message="write a number from 1 to 500, or leave maxSessions out for Reactor's own default"
	// +optional
	MaxSessions int32 `json:"maxSessions,omitempty"`

	// maxSessionDuration is how long each session that the token started may run
	// before Reactor ends it, at most 24h; no limit when left out.
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}[hms]){1,3}$') || (duration(self) >= duration('1s') && duration(self) <= duration('24h'))",message="maxSessionDuration must be between 1s and 24h; write for example 20m, or leave it out for no limit"
	// +optional
	MaxSessionDuration Duration `json:"maxSessionDuration,omitempty"`
}

// ModelName is the name of a Reactor model, such as reactor/helios.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$')",message="write the exact name of one model, such as reactor/helios: letters, digits, '.', '_' and '-', with one '/' after the owner; Reactor knows no wildcards"
type ModelName string

// TargetSecret describes the Secret that holds the token. Its keys jwt and
// expires_at (Unix seconds) are always there.
type TargetSecret struct {
	// name is the name of the Secret; the ReactorToken's own name when left out.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="write a name for the Secret: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit; or leave it out for the ReactorToken's own name"
	// +optional
	Name string `json:"name,omitempty"`

	// labels are put onto the Secret. Each is owned by this object: one that you
	// remove here is removed from the Secret; others are left alone.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.matches('(^|[.])reactor[.]inc/'))",message="labels of the domain reactor.inc belong to the operator: use another domain",messageExpression="self.filter(k, k.matches('(^|[.])reactor[.]inc/'))[0] + ' belongs to the operator, as do all labels of the domain reactor.inc: use another domain'"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="a label name is not valid: write at most 63 letters, digits, '-', '_' and '.', such as team, or with a domain before it, such as example.com/team",messageExpression="self.filter(k, format.qualifiedName().validate(k).hasValue())[0] + ' cannot be the name of a label: write at most 63 letters, digits, \\'-\\', \\'_\\' and \\'.\\', such as team, or with a domain before it, such as example.com/team'"
	Labels map[string]LabelValue `json:"labels,omitempty"`

	// annotations are put onto the Secret, and owned key by key as the labels are.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.matches('(^|[.])reactor[.]inc/'))",message="annotations of the domain reactor.inc belong to the operator: use another domain",messageExpression="self.filter(k, k.matches('(^|[.])reactor[.]inc/'))[0] + ' belongs to the operator, as do all annotations of the domain reactor.inc: use another domain'"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="an annotation name is not valid: write at most 63 letters, digits, '-', '_' and '.', such as team, or with a domain before it, such as example.com/team",messageExpression="self.filter(k, format.qualifiedName().validate(k).hasValue())[0] + ' cannot be the name of an annotation: write at most 63 letters, digits, \\'-\\', \\'_\\' and \\'.\\', such as team, or with a domain before it, such as example.com/team'"
	Annotations map[string]AnnotationValue `json:"annotations,omitempty"`

	// additionalKeys are further keys of the Secret that hold the token in another
	// form.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, !(k.name in ['jwt', 'expires_at']))",message="the keys jwt and expires_at are always there: choose another name"
	// +kubebuilder:validation:XValidation:rule="self.all(k, self.exists_one(other, other.name == k.name))",message="each additional key needs a name of its own: write another form of the token under another name"
	AdditionalKeys []AdditionalKey `json:"additionalKeys,omitempty"`

	// deletionPolicy says what becomes of the Secret when this object is deleted:
	// Delete (when left out) or Retain.
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="!format.labelValue().validate(self).hasValue()",message="write a label value as Kubernetes knows it: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
type LabelValue string

// AnnotationValue is the value of an annotation.
//
// +kubebuilder:validation:MaxLength=4096
type AnnotationValue string

// AdditionalKey is one more key of the target Secret.
type AdditionalKey struct {
	// name is the key in the Secret's data, which is also the file's name when the
	// Secret is mounted.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$') && !self.startsWith('..') && self != '.'",message="write a file name for the key: letters, digits, '-', '_' and '.', not beginning with '..'"
	// +required
	Name string `json:"name,omitempty"`

	// format is the form of the value. JSON is Reactor's own answer,
	// {"jwt":…,"expires_at":…}; Env is a file of the lines REACTOR_JWT=… and
	// REACTOR_JWT_EXPIRES_AT=…; AuthorizationHeader is Bearer and the token; JWT
	// and ExpiresAt are the plain values under another name.
	// +required
	Format KeyFormat `json:"format,omitempty"`
}

// KeyFormat is a form in which the token can be written.
//
// +kubebuilder:validation:Enum=JSON;Env;AuthorizationHeader;JWT;ExpiresAt
type KeyFormat string

// The forms of an additional key.
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

// DeletionPolicy says what becomes of the Secret when its ReactorToken is
// deleted.
//
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

// The deletion policies.
const (
	// DeletionDelete deletes the Secret with its ReactorToken, by owner reference.
	DeletionDelete DeletionPolicy = "Delete"
	// DeletionRetain leaves the Secret; its token expires in its own time.
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
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="write the name of a workload: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
	// +required
	Name string `json:"name,omitempty"`
}

// WorkloadKind is a kind that can be rolled.
//
// +kubebuilder:validation:Enum=Deployment;StatefulSet;DaemonSet
type WorkloadKind string

// The kinds of workloads that can be rolled.
const (
	KindDeployment  WorkloadKind = "Deployment"
	KindStatefulSet WorkloadKind = "StatefulSet"
	KindDaemonSet   WorkloadKind = "DaemonSet"
)

// PromptDelivery selects the pods that a new token is handed to at once.
type PromptDelivery struct {
	// podSelector selects running pods of the same namespace; those among them
	// that mount the Secret get the annotation reactor.inc/token-id, which makes
	// their kubelet refresh the mounted files at once. No pod is restarted.
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && size(e.values) > 0 : e.operator in ['Exists', 'DoesNotExist'] && (!has(e.values) || size(e.values) == 0))",fieldPath=".matchExpressions",message="write operator: In or NotIn with values, or operator: Exists or DoesNotExist without values"
	// +required
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
}
