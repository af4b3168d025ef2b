package targetsecret

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func metadataOf(owners []metav1.OwnerReference, annotations ...string) *metav1.PartialObjectMetadata {
	meta := &metav1.PartialObjectMetadata{}
	meta.Name, meta.OwnerReferences = "web", owners
	meta.Annotations = map[string]string{v1alpha1.SecretNameAnnotation: "web"}
	for i := 0; i < len(annotations); i += 2 {
		meta.Annotations[annotations[i]] = annotations[i+1]
	}
	return meta
}

func TestOwnershipOf(t *testing.T) {
	const (
		name, adopted, consent = v1alpha1.TokenNameAnnotation, v1alpha1.AdoptedAnnotation, v1alpha1.AllowAdoptionByAnnotation
	)
	token := aToken()
	mine := []metav1.OwnerReference{*ownerReference(token)}
	namesake := []metav1.OwnerReference{*ownerReference(aToken())}
	namesake[0].UID = "of a deleted one"
	another := []metav1.OwnerReference{*ownerReference(newToken("other"))}
	another[0].UID = "of another"
	certificate := []metav1.OwnerReference{controlledBy("Certificate", "web", "c")}
	olderAPI := []metav1.OwnerReference{{APIVersion: "reactor.inc/v1", Kind: "ReactorToken", Name: "web", UID: "x", Controller: new(true)}}
	onlyOwned := []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "c", UID: "c"}}
	tests := []struct {
		name   string
		secret *metav1.PartialObjectMetadata
		want   Ownership
	}{
		{"it is controlled by us", metadataOf(mine, name, "web"), Ours},
		{"it is controlled by us, whatever its annotations say", metadataOf(mine, name, "other", adopted, "true"), Ours},
		{"it has no owner, and our name on it", metadataOf(nil, name, "web"), Ours},
		{"it is a copy of one with our name on it", metadataOf(nil, name, "web", v1alpha1.SecretNameAnnotation, "original"), Foreign},
		{"it has an owner that is no controller, and our name on it", metadataOf(onlyOwned, name, "web"), Ours},
		{"it has nothing to do with us", metadataOf(nil), Foreign},
		{"it has the name of another on it", metadataOf(nil, name, "other"), Foreign},
		{"it is controlled by another of our kind", metadataOf(another, name, "web"), Foreign},
		{"it is controlled by another kind", metadataOf(certificate), Foreign},
		{"it is controlled by another kind, with our name on it", metadataOf(certificate, name, "web"), Foreign},
		{"it is controlled by a deleted namesake", metadataOf(namesake, name, "web"), Stale},
		{"it is controlled by a namesake of another group or version", metadataOf(olderAPI), Foreign},
		{"it consents", metadataOf(nil, consent, "web"), Consenting},
		{"it consents to another", metadataOf(nil, consent, "other"), Foreign},
		{"it consents and is adopted", metadataOf(nil, consent, "web", name, "web", adopted, "true"), Consenting},
		{"it is controlled by another kind and consents", metadataOf(certificate, consent, "web"), Consenting},
		{"it is controlled by a deleted namesake and consents", metadataOf(namesake, consent, "web"), Consenting},
		{"it was adopted, and the consent was withdrawn", metadataOf(nil, name, "web", adopted, "true"), Foreign},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := OwnershipOf(test.secret, token); got != test.want {
				t.Errorf("ownership %d, want %d", got, test.want)
			}
		})
	}
}

func TestLeftoverOf(t *testing.T) {
	const (
		name, adopted, policy = v1alpha1.TokenNameAnnotation, v1alpha1.AdoptedAnnotation, v1alpha1.DeletionPolicyAnnotation
	)
	token := aToken()
	mine := []metav1.OwnerReference{*ownerReference(token)}
	leaving := metadataOf(mine, name, "web")
	leaving.DeletionTimestamp = new(metav1.NewTime(noon))
	tests := []struct {
		name   string
		secret *metav1.PartialObjectMetadata
		want   Leftover
	}{
		{"what we created goes", metadataOf(mine, name, "web"), LeftoverDelete},
		{"a copy of what we created stays", metadataOf(mine, name, "web", v1alpha1.SecretNameAnnotation, "original"), LeftoverKeep},
		{"a copy of what was adopted stays", metadataOf(nil, name, "web", adopted, "true", v1alpha1.SecretNameAnnotation, "original"), LeftoverKeep},
		{"what must stay stays", metadataOf(nil, name, "web", policy, "Retain"), LeftoverKeep},
		{"what must stay stays even with an owner", metadataOf(mine, name, "web", policy, "Retain"), LeftoverKeep},
		{"what was adopted loses our keys", metadataOf(nil, name, "web", adopted, "true"), LeftoverStrip},
		{"what was adopted and must stay stays", metadataOf(nil, name, "web", adopted, "true", policy, "Retain"), LeftoverKeep},
		{"what says that it was not adopted is not stripped", metadataOf(nil, name, "web", adopted, "false"), LeftoverKeep},
		{"what is not ours stays", metadataOf(mine, name, "other"), LeftoverKeep},
		{"what has our name on it and is not owned stays", metadataOf(nil, name, "web"), LeftoverKeep},
		{"what is being deleted needs nothing", leaving, LeftoverKeep},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := LeftoverOf(test.secret, "web", token.UID); got != test.want {
				t.Errorf("leftover %d, want %d", got, test.want)
			}
		})
	}
	t.Run("of a deleted object, what it created is left to garbage collection", func(t *testing.T) {
		if got := LeftoverOf(metadataOf(mine, name, "web"), "web", ""); got != LeftoverKeep {
			t.Errorf("leftover %d", got)
		}
	})
}

// managing is what the API server records of the fields that the operator owns.
func managing(fields string) []metav1.ManagedFieldsEntry {
	return []metav1.ManagedFieldsEntry{
		{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationUpdate, FieldsType: "FieldsV1",
			FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:theirs":{}}}`)},
		{Manager: FieldOwner, Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)},
	}
}

func TestOwnsMoreThan(t *testing.T) {
	// What a real API server records after our apply, but for the annotations, of which one is an example for all.
	const applied = `{"f:data":{"f:expires_at":{},"f:jwt":{},"f:token.env":{},"f:token.json":{}},"f:metadata":{"f:annotations":{` +
		`"f:reactor.inc/token-id":{}},"f:labels":{"f:app.kubernetes.io/managed-by":{},"f:team":{}},` +
		`"f:ownerReferences":{"k:{\"uid\":\"5b6a4f6e-0000-4000-8000-000000000001\"}":{}}}}`
	// After a Create, with the dots for the maps themselves, and the type.
	const created = `{"f:data":{".":{},"f:expires_at":{},"f:jwt":{}},"f:metadata":{"f:annotations":{".":{},"f:reactor.inc/token-id":{}},` +
		`"f:labels":{".":{},"f:app.kubernetes.io/managed-by":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"u\"}":{}}},"f:type":{}}`
	tests := []struct {
		name    string
		managed []metav1.ManagedFieldsEntry
		want    bool
	}{
		{"nothing is recorded", nil, false},
		{"only what others own", managing(`{}`)[:1], false},
		{"just what is wanted, applied", managing(applied), false},
		{"just what is wanted, created", managing(created), false},
		{"a key too many", managing(`{"f:data":{"f:jwt":{},"f:old.json":{}}}`), true},
		{"a label too many", managing(`{"f:metadata":{"f:labels":{"f:old":{}}}}`), true},
		{"an annotation too many", managing(`{"f:metadata":{"f:annotations":{"f:old":{}}}}`), true},
		{"a key too many in a second entry", append(managing(applied), managing(`{"f:data":{"f:old":{}}}`)...), true},
		{"a key with an odd name", managing(`{"f:data":{"f:..2026\"x":{}}}`), true},
		{"text that is no set of fields", managing(`{"f:data"`), false},
		{"an entry without fields", []metav1.ManagedFieldsEntry{{Manager: FieldOwner}}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := ownsMoreThan(test.managed, Build(aToken(dressed), aJWT, aRecord(), false)); got != test.want {
				t.Errorf("owns more: %v, want %v", got, test.want)
			}
		})
	}
}

func TestInspect(t *testing.T) {
	adoption := func(s *corev1.Secret) { consenting(s); s.OwnerReferences = nil }
	tests := []struct {
		name   string
		change func(*corev1.Secret)
		want   string
	}{
		{"as it was written", func(*corev1.Secret) {}, "token"},
		{"without a type", func(s *corev1.Secret) { s.Type = "" }, "token"},
		{"of another type", func(s *corev1.Secret) { s.Type = corev1.SecretTypeTLS },
			"token unusable:it is of type kubernetes.io/tls, and only Opaque Secrets are written"},
		{"immutable", func(s *corev1.Secret) { s.Immutable = new(true) }, "token unusable:it is immutable"},
		{"explicitly mutable", func(s *corev1.Secret) { s.Immutable = new(false) }, "token"},
		{"with another token", func(s *corev1.Secret) { s.Data[JWTKey] = []byte("x") }, "edited"},
		{"with another expiry in its record", func(s *corev1.Secret) { s.Annotations[v1alpha1.ExpiresAtAnnotation] = "2027-01-01T00:00:00Z" }, "edited"},
		{"without a record", func(s *corev1.Secret) { s.Annotations = nil }, ""},
		{"with another expires_at", func(s *corev1.Secret) { s.Data[ExpiresAtKey] = nil }, "token drifted"},
		{"of another owner", func(s *corev1.Secret) { s.OwnerReferences[0].UID, s.OwnerReferences[0].Name = "x", "x" }, "drifted"},
		{"whose consent was just given, with a record that we did not write", func(s *corev1.Secret) {
			adoption(s)
			s.Annotations[v1alpha1.TokenUIDAnnotation] = "of a deleted one"
		}, ""},
		{"adopted, with our record", func(s *corev1.Secret) {
			adoption(s)
			s.Annotations[v1alpha1.AdoptedAnnotation] = "true"
		}, "token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			live := Build(aToken(), aJWT, aRecord(), false).Object()
			test.change(live)
			observed := Inspect(live, aToken())
			var got string
			for _, is := range []struct {
				is   bool
				text string
			}{{observed.Current() != nil, "token "}, {observed.Unusable != "", "unusable:" + observed.Unusable}, {observed.Edited, "edited"}, {observed.Drifted, "drifted"}} {
				if is.is {
					got += is.text
				}
			}
			if want := test.want; got != want && got != want+" " {
				t.Errorf("it is %q, want %q", got, want)
			}
			if observed.IsUpToDate() != (test.want == "token") {
				t.Errorf("as wanted: %v", observed.IsUpToDate())
			}
		})
	}
}
