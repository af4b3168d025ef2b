package operator

import (
	"encoding/json"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestUnusedMetadataIsNotCached(t *testing.T) {
	transform := managerOptions(settingsOf(t)).Cache.DefaultTransform
	token := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		Annotations:   map[string]string{corev1.LastAppliedConfigAnnotation: "the manifest", v1alpha1.RenewRequestedAtAnnotation: "now"},
	}}
	kept, err := transform(token)
	if err != nil {
		t.Fatal(err)
	}
	want := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.RenewRequestedAtAnnotation: "now"}}}
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if kept, err := transform("a tombstone"); kept != "a tombstone" || err != nil {
		t.Errorf("something else becomes %v, %v", kept, err)
	}
}

func TestTokensInTheCacheShareTheTextsThatTheyHaveInCommon(t *testing.T) {
	const stored = `{"kind":"ReactorToken","apiVersion":"reactor.inc/v1alpha1","metadata":{"name":"web","namespace":"studio","uid":"u"},
		"spec":{"apiKeySecretRef":{"name":"reactor-api-key"},"scope":{"models":["reactor/helios"],"maxSessions":1}},
		"status":{"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z","reason":"TokenValid","message":"m"},
		{"type":"LifetimeClamped","status":"False","lastTransitionTime":"2026-01-01T00:00:00Z","reason":"AsRequested","message":"Reactor granted the requested lifetime of 6h"}],
		"requestedLifetime":"6h","grantedLifetime":"6h"}}`
	cached := func() (decoded, kept *v1alpha1.ReactorToken) {
		decoded = &v1alpha1.ReactorToken{}
		if err := json.Unmarshal([]byte(stored), decoded); err != nil {
			t.Fatal(err)
		}
		object, err := keepNeeded(decoded.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		return decoded, object.(*v1alpha1.ReactorToken)
	}
	before, one := cached()
	_, other := cached()
	if diff := cmp.Diff(before, one); diff != "" {
		t.Errorf("the token is another one in the cache (-stored +cached):\n%s", diff)
	}
	for name, text := range map[string]func(*v1alpha1.ReactorToken) string{
		"the namespace":          func(token *v1alpha1.ReactorToken) string { return token.Namespace },
		"the model":              func(token *v1alpha1.ReactorToken) string { return string(token.Spec.Scope.Models[0]) },
		"a reason":               func(token *v1alpha1.ReactorToken) string { return token.Status.Conditions[0].Reason },
		"what the lifetime says": func(token *v1alpha1.ReactorToken) string { return token.Status.Conditions[1].Message },
	} {
		if unsafe.StringData(text(one)) != unsafe.StringData(text(other)) {
			t.Errorf("%s is kept for each token", name)
		}
		if unsafe.StringData(text(one)) == unsafe.StringData(text(before)) {
			t.Errorf("%s is shared before: this test sees nothing", name)
		}
	}
}
