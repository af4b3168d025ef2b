package reactortoken

import (
	"bytes"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// ownership says whose a Secret is, from its metadata alone.
type ownership int

const (
	ownershipForeign    ownership = iota // somebody else's: not to be touched
	ownershipOurs                        // written by this ReactorToken
	ownershipConsenting                  // somebody else's, who allows this ReactorToken to write into it
	ownershipStale                       // of a deleted ReactorToken of the same name: garbage collection is on its way
)

// ownershipOf reads ownership off a Secret's metadata.
//
// A Secret is ours by owner reference, or, without one, by the annotations that we write onto retained Secrets. The
// owner reference cannot be forged by who may not edit the Secret, and who may edit it has its content anyway.
func ownershipOf(secret metav1.Object, token *v1alpha1.ReactorToken) ownership {
	annotations := secret.GetAnnotations()
	controller := metav1.GetControllerOf(secret)
	switch {
	case controller != nil && controller.UID == token.UID:
		return ownershipOurs
	case annotations[v1alpha1.AllowAdoptionByAnnotation] == token.Name:
		return ownershipConsenting
	case controller != nil && isReactorToken(controller, token.Name):
		return ownershipStale
	case controller != nil || annotations[v1alpha1.AdoptedAnnotation] != "":
		return ownershipForeign // of another controller; or adopted once, and the consent has been withdrawn
	case writtenFor(secret, token.Name):
		return ownershipOurs // retained, or its owner reference was removed: the next write puts it right
	default:
		return ownershipForeign
	}
}

// writtenFor reports whether the Secret's annotations say that it was written for the ReactorToken of this name. Those of a copy
// that somebody made, annotations and all, speak of another Secret.
func writtenFor(secret metav1.Object, tokenName string) bool {
	annotations := secret.GetAnnotations()
	return annotations[v1alpha1.TokenNameAnnotation] == tokenName && annotations[v1alpha1.SecretNameAnnotation] == secret.GetName()
}

func isReactorToken(reference *metav1.OwnerReference, name string) bool {
	return reference.Kind == "ReactorToken" && reference.Name == name &&
		reference.APIVersion == v1alpha1.SchemeGroupVersion.String()
}

// leftover is what is to be done with a Secret that a ReactorToken wrote and no longer writes.
type leftover int

const (
	leftoverKeep   leftover = iota // it is not ours to remove
	leftoverDelete                 // we created it
	leftoverStrip                  // it was adopted: only our keys go
)

// leftoverOf says what becomes of a Secret that the ReactorToken named in its annotations has stopped writing. A
// retained Secret stays as it is.
func leftoverOf(secret metav1.Object, tokenName string, tokenUID types.UID) leftover {
	annotations := secret.GetAnnotations()
	if !writtenFor(secret, tokenName) || secret.GetDeletionTimestamp() != nil {
		return leftoverKeep
	}
	if annotations[v1alpha1.DeletionPolicyAnnotation] == string(v1alpha1.DeletionRetain) {
		return leftoverKeep
	}
	if adopted, err := strconv.ParseBool(annotations[v1alpha1.AdoptedAnnotation]); err == nil && adopted {
		return leftoverStrip
	}
	if ownedBy(secret.GetOwnerReferences(), tokenUID) {
		return leftoverDelete
	}
	return leftoverKeep
}

// ownsMoreThan reports whether the operator owns a key, label or annotation in a live Secret that it no longer wants,
// for example an additional key that was removed from the spec. The API server's managed fields are the only record of
// that, and an apply removes what they list and the apply leaves out.
func ownsMoreThan(entries []metav1.ManagedFieldsEntry, desired desiredSecret) bool {
	for _, entry := range entries {
		if entry.Manager != FieldOwner || entry.FieldsV1 == nil {
			continue
		}
		var owned fieldpath.Set
		if err := owned.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
			continue
		}
		if hasUnwanted(&owned, desired.data, "data") ||
			hasUnwanted(&owned, desired.labels, "metadata", "labels") ||
			hasUnwanted(&owned, desired.annotations, "metadata", "annotations") {
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
