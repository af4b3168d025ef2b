package targetsecret

import (
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// Ownership is the relation of a ReactorToken to a Secret, as the metadata of the Secret shows it.
type Ownership int

// The relations.
const (
	Foreign    Ownership = iota // of another owner: it must not be changed
	Ours                        // written by this ReactorToken
	Consenting                  // of another owner that allows this ReactorToken to write into it
	Stale                       // of a deleted ReactorToken of the same name: garbage collection will delete it
)

// OwnershipOf returns the relation of a ReactorToken to a Secret.
//
// A Secret belongs to the ReactorToken by its owner reference, or, without one, by the annotations that the operator writes to retained Secrets.
// A user who may not edit the Secret cannot forge the owner reference, and a user who may edit it can read its content anyway.
func OwnershipOf(secret metav1.Object, token *v1alpha1.ReactorToken) Ownership {
	annotations := secret.GetAnnotations()
	controller := metav1.GetControllerOf(secret)
	switch {
	case controller != nil && controller.UID == token.UID:
		return Ours
	case annotations[v1alpha1.AllowAdoptionByAnnotation] == token.Name:
		return Consenting
	case controller != nil && isReactorToken(controller, token.Name):
		return Stale
	case controller != nil || annotations[v1alpha1.AdoptedAnnotation] != "":
		return Foreign // of another controller; or adopted once, and the consent has been withdrawn
	case writtenFor(secret, token.Name):
		return Ours // retained, or its owner reference was removed: the next write repairs it
	default:
		return Foreign
	}
}

// writtenFor reports whether the annotations of the Secret say that it was written for the ReactorToken of this name. The annotations of a copy
// name another Secret.
func writtenFor(secret metav1.Object, tokenName string) bool {
	annotations := secret.GetAnnotations()
	return annotations[v1alpha1.TokenNameAnnotation] == tokenName && annotations[v1alpha1.SecretNameAnnotation] == secret.GetName()
}

func isReactorToken(reference *metav1.OwnerReference, name string) bool {
	return reference.Kind == "ReactorToken" && reference.Name == name &&
		reference.APIVersion == v1alpha1.SchemeGroupVersion.String()
}

// Leftover is what happens to a Secret that a ReactorToken wrote and no longer writes.
type Leftover int

// What happens to it.
const (
	LeftoverKeep   Leftover = iota // it does not belong to the operator
	LeftoverDelete                 // the operator created it
	LeftoverStrip                  // it was adopted: only the keys of the operator are removed
)

// LeftoverOf returns what happens to a Secret that the ReactorToken named in its annotations does not write any more. A retained Secret stays as
// it is.
func LeftoverOf(secret metav1.Object, tokenName string, tokenUID types.UID) Leftover {
	annotations := secret.GetAnnotations()
	if !writtenFor(secret, tokenName) || secret.GetDeletionTimestamp() != nil {
		return LeftoverKeep
	}
	if annotations[v1alpha1.DeletionPolicyAnnotation] == string(v1alpha1.DeletionRetain) {
		return LeftoverKeep
	}
	if adopted, err := strconv.ParseBool(annotations[v1alpha1.AdoptedAnnotation]); err == nil && adopted {
		return LeftoverStrip
	}
	if OwnedBy(secret.GetOwnerReferences(), tokenUID) {
		return LeftoverDelete
	}
	return LeftoverKeep
}
