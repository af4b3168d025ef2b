package operator

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
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
	return object, nil
}
