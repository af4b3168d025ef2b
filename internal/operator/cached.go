package operator

import (
	"slices"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// keepNeeded drops metadata that no decision reads, and that may be larger than all the rest: the managed fields, and kubectl's copy of the
// whole manifest. It is not lost: what the operator writes are patches, and statuses, with which the API server takes no metadata.
func keepNeeded(object any) (any, error) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return object, nil //nolint:nilerr // a tombstone, which is about to be dropped
	}
	accessor.SetManagedFields(nil)
	delete(accessor.GetAnnotations(), corev1.LastAppliedConfigAnnotation)
	if token, ok := object.(*v1alpha1.ReactorToken); ok {
		shareTexts(token)
	}
	return object, nil
}

// shareTexts keeps texts once that most ReactorTokens have in common. A decoder makes each of them again, which is a tenth of a token.
func shareTexts(token *v1alpha1.ReactorToken) {
	share(&token.Kind)
	share(&token.APIVersion)
	share(&token.Namespace)
	share(&token.Spec.APIKeySecretRef.Name)
	share(&token.Status.RequestedLifetime)
	share(&token.Status.GrantedLifetime)
	if token.Spec.Scope != nil {
		for i := range token.Spec.Scope.Models {
			share(&token.Spec.Scope.Models[i])
		}
	}
	token.Status.Conditions = slices.Clone(token.Status.Conditions) // a decoder leaves room for more of them
	for i := range token.Status.Conditions {
		condition := &token.Status.Conditions[i]
		share(&condition.Type)
		share(&condition.Status)
		share(&condition.Reason)
		if condition.Type == v1alpha1.ConditionLifetimeClamped {
			share(&condition.Message)
		}
	}
}

func share[Text ~string](text *Text) { *text = unique.Make(*text).Value() }
