// Package targetsecret holds all that is pure about the target Secret of a ReactorToken: the record of its token, the keys that it has, which
// object may write it, what a Secret that exists lacks, and what the operator writes into it.
package targetsecret

import (
	"bytes"
	"crypto/subtle"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// FieldOwner is the field manager of everything that the operator writes.
const FieldOwner = "reactor-operator"

// The one label that the operator itself sets on a Secret that it creates.
const (
	ManagedByLabel = "app.kubernetes.io/managed-by"
	ManagedByValue = "reactor-operator"
)

// Desired is what the operator owns in the target Secret, as it should be.
type Desired struct {
	Namespace, Name string
	Labels          map[string]string
	Annotations     map[string]string
	owner           *metav1.OwnerReference // nil for an adopted Secret, and under deletionPolicy Retain
	Data            map[string][]byte
}

// Build renders a token and its record as the spec of the ReactorToken requests it. An adopted Secret belongs to another owner: it gets neither
// an owner reference nor the label of the operator.
func Build(token *v1alpha1.ReactorToken, jwt reactor.Secret, written *Record, adopted bool) Desired {
	desired := Desired{
		Namespace:   token.Namespace,
		Name:        token.TargetSecretName(),
		Labels:      map[string]string{},
		Annotations: written.annotations(),
		Data:        renderKeys(jwt, written.ExpiresAt, token.Spec.Secret.AdditionalKeys),
	}
	desired.Annotations[v1alpha1.TokenNameAnnotation] = token.Name
	desired.Annotations[v1alpha1.SecretNameAnnotation] = desired.Name
	desired.Annotations[v1alpha1.TokenUIDAnnotation] = string(token.UID)
	retained := token.Spec.Secret.DeletionPolicy == v1alpha1.DeletionRetain
	if retained {
		desired.Annotations[v1alpha1.DeletionPolicyAnnotation] = string(v1alpha1.DeletionRetain)
	}
	if adopted {
		desired.Annotations[v1alpha1.AdoptedAnnotation] = strconv.FormatBool(true)
	} else {
		desired.Labels[ManagedByLabel] = ManagedByValue
	}
	if !adopted && !retained {
		desired.owner = ownerReference(token)
	}
	for name, value := range token.Spec.Secret.Labels {
		desired.Labels[name] = string(value)
	}
	for name, value := range token.Spec.Secret.Annotations {
		desired.Annotations[name] = string(value)
	}
	return desired
}

// ownerReference lets garbage collection delete the Secret after its ReactorToken. It does not block the deletion of the owner: that would need
// permission to set finalizers on ReactorTokens, and nothing waits for the Secret to be deleted.
func ownerReference(token *v1alpha1.ReactorToken) *metav1.OwnerReference {
	reference := metav1.NewControllerRef(token, v1alpha1.SchemeGroupVersion.WithKind("ReactorToken"))
	reference.BlockOwnerDeletion = nil
	return reference
}

// Object is the desired Secret in the form that Create takes.
func (d Desired) Object() *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.Namespace, Name: d.Name,
			Labels: maps.Clone(d.Labels), Annotations: maps.Clone(d.Annotations),
		},
		Type: corev1.SecretTypeOpaque,
		Data: maps.Clone(d.Data),
	}
	if d.owner != nil {
		secret.OwnerReferences = []metav1.OwnerReference{*d.owner}
	}
	return secret
}

// ApplyConfiguration is the desired Secret in the form that server-side apply takes. The UID and resourceVersion are preconditions: a Secret
// that changed meanwhile, or was deleted and created again, is not overwritten.
func (d Desired) ApplyConfiguration(uid types.UID, resourceVersion string) *corev1ac.SecretApplyConfiguration {
	secret := corev1ac.Secret(d.Name, d.Namespace).
		WithUID(uid).WithResourceVersion(resourceVersion).
		WithLabels(d.Labels).WithAnnotations(d.Annotations).WithData(d.Data)
	if d.owner != nil {
		secret.WithOwnerReferences(metav1ac.OwnerReference().
			WithAPIVersion(d.owner.APIVersion).WithKind(d.owner.Kind).
			WithName(d.owner.Name).WithUID(d.owner.UID).
			WithController(true))
	}
	return secret
}

// SatisfiedBy reports whether the live Secret already has all that is desired, and no key, label or annotation that the operator owns and that is
// not desired any more.
func (d Desired) SatisfiedBy(live *corev1.Secret) bool {
	for key, want := range d.Data {
		if have, ok := live.Data[key]; !ok || subtle.ConstantTimeCompare(have, want) == 0 {
			return false
		}
	}
	if !containsAll(live.Labels, d.Labels) || !containsAll(live.Annotations, d.Annotations) {
		return false
	}
	if (d.owner != nil) != OwnedBy(live.OwnerReferences, types.UID(d.Annotations[v1alpha1.TokenUIDAnnotation])) {
		return false
	}
	return !ownsMoreThan(live.ManagedFields, d)
}

func containsAll(have, want map[string]string) bool {
	for key, value := range want {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// OwnedBy reports whether one of the owner references is of the object with this UID.
func OwnedBy(references []metav1.OwnerReference, uid types.UID) bool {
	for i := range references {
		if references[i].UID == uid {
			return true
		}
	}
	return false
}

// ownsMoreThan reports whether the operator owns a key, label or annotation in a live Secret that is not desired any more, for example an
// additional key that was removed from the spec. Only the managed fields of the API server show that. An apply removes what they list and the
// apply does not contain.
func ownsMoreThan(entries []metav1.ManagedFieldsEntry, desired Desired) bool {
	for _, entry := range entries {
		if entry.Manager != FieldOwner || entry.FieldsV1 == nil {
			continue
		}
		var owned fieldpath.Set
		if err := owned.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
			continue
		}
		if hasUnwanted(&owned, desired.Data, "data") ||
			hasUnwanted(&owned, desired.Labels, "metadata", "labels") ||
			hasUnwanted(&owned, desired.Annotations, "metadata", "annotations") {
			return true
		}
	}
	return false
}

func hasUnwanted[V any](owned *fieldpath.Set, wanted map[string]V, path ...string) bool {
	set := owned
	for i := range path {
		set = set.WithPrefix(fieldpath.PathElement{FieldName: &path[i]})
	}
	unwanted := false
	set.Members.Iterate(func(element fieldpath.PathElement) {
		if element.FieldName == nil {
			return
		}
		if _, ok := wanted[*element.FieldName]; !ok {
			unwanted = true
		}
	})
	return unwanted
}
