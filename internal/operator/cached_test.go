package operator

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestMetadataThatNobodyReadsIsNotCached(t *testing.T) {
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
