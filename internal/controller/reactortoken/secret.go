package reactortoken

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// FieldOwner is the field manager of everything that the operator writes.
const FieldOwner = "reactor-operator"

// managedByLabel is the one label that the operator itself puts onto a Secret that it created.
const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedByValue = "reactor-operator"
)

// record is what the target Secret says about its token in annotations: the truth that status is derived from. It is
// written together with the token, in one write, and can be read without the payload.
type record struct {
	TokenID        string
	IssuedAt       time.Time     // Reactor's clock, whole seconds
	ExpiresAt      time.Time     // Reactor's clock, whole seconds
	Skew           time.Duration // Reactor's clock minus the operator's, when the token was issued
	KeyFingerprint string
	RequestHash    string
	Checksum       string // of the token and of all that stands here
	RenewRequest   string // the value of the renew annotation that this token answered
}

// granted is the lifetime that Reactor granted.
func (r *record) granted() time.Duration { return r.ExpiresAt.Sub(r.IssuedAt) }

// newRecord describes a token that was just minted.
func newRecord(minted *heldToken) *record {
	written := &record{
		TokenID:        minted.tokenID,
		IssuedAt:       minted.token.IssuedAt.UTC().Truncate(time.Second),
		ExpiresAt:      minted.token.ExpiresAt.UTC().Truncate(time.Second),
		Skew:           minted.token.Skew.Truncate(time.Millisecond),
		KeyFingerprint: minted.keyFingerprint,
		RequestHash:    minted.requestHash,
		RenewRequest:   minted.renewRequest,
	}
	written.Checksum = checksumOf(minted.token.JWT, written)
	return written
}

// recordOf reads a record back. It returns nil when an annotation that it needs is missing or garbled: such a Secret
// counts as holding no token of ours.
func recordOf(annotations map[string]string) *record {
	issued, issuedErr := time.Parse(time.RFC3339, annotations[v1alpha1.IssuedAtAnnotation])
	expires, expiresErr := time.Parse(time.RFC3339, annotations[v1alpha1.ExpiresAtAnnotation])
	skew, skewErr := time.ParseDuration(annotations[v1alpha1.ClockSkewAnnotation])
	read := &record{
		TokenID:        annotations[v1alpha1.TokenIDAnnotation],
		IssuedAt:       issued.UTC(),
		ExpiresAt:      expires.UTC(),
		Skew:           skew,
		KeyFingerprint: annotations[v1alpha1.KeyFingerprintAnnotation],
		RequestHash:    annotations[v1alpha1.RequestHashAnnotation],
		Checksum:       annotations[v1alpha1.TokenChecksumAnnotation],
		RenewRequest:   annotations[v1alpha1.HandledRenewRequestAnnotation],
	}
	garbled := issuedErr != nil || expiresErr != nil || skewErr != nil || !expires.After(issued) || expires.Sub(issued) > reactor.LongestLifetime
	if garbled || read.TokenID == "" || read.Checksum == "" {
		return nil
	}
	return read
}

// annotations is the form in which the record is stored.
func (r *record) annotations() map[string]string {
	stored := map[string]string{
		v1alpha1.TokenIDAnnotation:        r.TokenID,
		v1alpha1.IssuedAtAnnotation:       r.IssuedAt.Format(time.RFC3339),
		v1alpha1.ExpiresAtAnnotation:      r.ExpiresAt.Format(time.RFC3339),
		v1alpha1.ClockSkewAnnotation:      r.Skew.String(),
		v1alpha1.KeyFingerprintAnnotation: r.KeyFingerprint,
		v1alpha1.RequestHashAnnotation:    r.RequestHash,
		v1alpha1.TokenChecksumAnnotation:  r.Checksum,
	}
	if r.RenewRequest != "" {
		stored[v1alpha1.HandledRenewRequestAnnotation] = r.RenewRequest
	}
	return stored
}

// checksumOf tells whether the token and what is recorded of it are still what was written together: an expiry that somebody
// edited must not put off the renewal. It reveals nothing: a token's signature has far more entropy than a hash of it could
// give away.
func checksumOf(jwt reactor.Secret, of *record) string {
	stored := of.annotations()
	delete(stored, v1alpha1.TokenChecksumAnnotation)
	hash := sha256.New()
	_, _ = fmt.Fprintf(hash, "reactor.inc/token\x00%s", jwt.Reveal()) // never fails, says hash.Hash
	for _, name := range slices.Sorted(maps.Keys(stored)) {
		_, _ = fmt.Fprintf(hash, "\x00%s=%s", name, stored[name])
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

// desiredSecret is the whole of what the operator wants in the target Secret: what it owns there, and nothing else.
type desiredSecret struct {
	namespace, name string
	labels          map[string]string
	annotations     map[string]string
	owner           *metav1.OwnerReference // nil for an adopted Secret, and under deletionPolicy Retain
	data            map[string][]byte
}

// buildSecret renders a token and its record as the ReactorToken's spec asks. An adopted Secret belongs to somebody
// else: it gets no owner reference and no label of ours.
func buildSecret(token *v1alpha1.ReactorToken, jwt reactor.Secret, written *record, adopted bool) desiredSecret {
	desired := desiredSecret{
		namespace:   token.Namespace,
		name:        token.TargetSecretName(),
		labels:      map[string]string{},
		annotations: written.annotations(),
		data:        renderKeys(jwt, written.ExpiresAt, token.Spec.Secret.AdditionalKeys),
	}
	desired.annotations[v1alpha1.TokenNameAnnotation] = token.Name
	desired.annotations[v1alpha1.SecretNameAnnotation] = desired.name
	desired.annotations[v1alpha1.TokenUIDAnnotation] = string(token.UID)
	retained := token.Spec.Secret.DeletionPolicy == v1alpha1.DeletionRetain
	if retained {
		desired.annotations[v1alpha1.DeletionPolicyAnnotation] = string(v1alpha1.DeletionRetain)
	}
	if adopted {
		desired.annotations[v1alpha1.AdoptedAnnotation] = strconv.FormatBool(true)
	} else {
		desired.labels[managedByLabel] = managedByValue
	}
	if !adopted && !retained {
		desired.owner = ownerReference(token)
	}
	for name, value := range token.Spec.Secret.Labels {
		desired.labels[name] = string(value)
	}
	for name, value := range token.Spec.Secret.Annotations {
		desired.annotations[name] = string(value)
	}
	return desired
}

// ownerReference makes the Secret go with its ReactorToken. It does not block the owner's deletion: that would take the right to
// set finalizers on ReactorTokens, and nothing waits for the Secret to be gone.
func ownerReference(token *v1alpha1.ReactorToken) *metav1.OwnerReference {
	reference := metav1.NewControllerRef(token, v1alpha1.SchemeGroupVersion.WithKind("ReactorToken"))
	reference.BlockOwnerDeletion = nil
	return reference
}

// object is the desired Secret in the form that Create takes.
func (d desiredSecret) object() *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.namespace, Name: d.name,
			Labels: maps.Clone(d.labels), Annotations: maps.Clone(d.annotations),
		},
		Type: corev1.SecretTypeOpaque,
		Data: maps.Clone(d.data),
	}
	if d.owner != nil {
		secret.OwnerReferences = []metav1.OwnerReference{*d.owner}
	}
	return secret
}

// applyConfiguration is the desired Secret in the form that server-side apply takes. The UID and resourceVersion are
// preconditions: a Secret that changed meanwhile, or was deleted and created anew, is not overwritten.
func (d desiredSecret) applyConfiguration(uid types.UID, resourceVersion string) *corev1ac.SecretApplyConfiguration {
	secret := corev1ac.Secret(d.name, d.namespace).
		WithUID(uid).WithResourceVersion(resourceVersion).
		WithLabels(d.labels).WithAnnotations(d.annotations).WithData(d.data)
	if d.owner != nil {
		secret.WithOwnerReferences(metav1ac.OwnerReference().
			WithAPIVersion(d.owner.APIVersion).WithKind(d.owner.Kind).
			WithName(d.owner.Name).WithUID(d.owner.UID).
			WithController(true))
	}
	return secret
}

// satisfiedBy reports whether the live Secret already holds all that is wanted, and no key, label or annotation that the
// operator owns and no longer wants.
func (d desiredSecret) satisfiedBy(live *corev1.Secret) bool {
	for key, want := range d.data {
		if have, ok := live.Data[key]; !ok || subtle.ConstantTimeCompare(have, want) == 0 {
			return false
		}
	}
	if !containsAll(live.Labels, d.labels) || !containsAll(live.Annotations, d.annotations) {
		return false
	}
	if (d.owner != nil) != ownedBy(live.OwnerReferences, types.UID(d.annotations[v1alpha1.TokenUIDAnnotation])) {
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

func ownedBy(references []metav1.OwnerReference, uid types.UID) bool {
	for i := range references {
		if references[i].UID == uid {
			return true
		}
	}
	return false
}
