package targetsecret

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	goodKey                     = "0123456789abcdef" // a key's fingerprint
	aJWT         reactor.Secret = "eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjF9.c2lnbmF0dXJl"
	aRequestHash                = "6678057d347f3ffde5ef2e46ce582ce2"
)

func newToken(name string, changes ...func(*v1alpha1.ReactorToken)) *v1alpha1.ReactorToken {
	token := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: "studio", Name: name}}
	for _, change := range changes {
		change(token)
	}
	return token
}

// aToken is a ReactorToken as the API server has it.
func aToken(changes ...func(*v1alpha1.ReactorToken)) *v1alpha1.ReactorToken {
	token := newToken("web", changes...)
	token.UID = "5b6a4f6e-0000-4000-8000-000000000001"
	return token
}

// aRecord is of a token that was issued an hour before noon and lives for six hours.
func aRecord(changes ...func(*Record)) *Record {
	written := &Record{
		TokenID: "token-1", IssuedAt: noon.Add(-time.Hour), ExpiresAt: noon.Add(5 * time.Hour), KeyFingerprint: goodKey, RequestHash: aRequestHash,
	}
	for _, change := range changes {
		change(written)
	}
	written.Checksum = Checksum(aJWT, written)
	return written
}

func dressed(token *v1alpha1.ReactorToken) {
	token.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "web"}
	token.Spec.Secret.Annotations = map[string]v1alpha1.AnnotationValue{"example.com/team": "web"}
	token.Spec.Secret.AdditionalKeys = []v1alpha1.AdditionalKey{
		{Name: "token.json", Format: v1alpha1.FormatJSON},
		{Name: "token.env", Format: v1alpha1.FormatEnv},
	}
}

func retained(token *v1alpha1.ReactorToken) {
	token.Spec.Secret.DeletionPolicy = v1alpha1.DeletionRetain
}

func consenting(secret *corev1.Secret) {
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, v1alpha1.AllowAdoptionByAnnotation, "web")
}

func controlledBy(kind, name, uid string) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "example.com/v1", Kind: kind, Name: name, UID: types.UID(uid), Controller: new(true)}
}
