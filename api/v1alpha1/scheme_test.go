package v1alpha1_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// That the types are runtime.Objects, which the compiler checks here, is that their deep copies were generated.
func TestTheSchemeKnowsTheKinds(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for kind, object := range map[string]runtime.Object{
		"ReactorToken":     &v1alpha1.ReactorToken{},
		"ReactorTokenList": &v1alpha1.ReactorTokenList{},
	} {
		t.Run(kind, func(t *testing.T) {
			kinds, _, err := scheme.ObjectKinds(object)
			if want := v1alpha1.SchemeGroupVersion.WithKind(kind); err != nil || len(kinds) != 1 || kinds[0] != want {
				t.Errorf("the scheme has %v, %v; want %v", kinds, err, want)
			}
		})
	}
}
