// Package v1alpha1 is the API for users: the kinds of the API group reactor.inc, version v1alpha1, with their condition
// types, reasons and annotations.
//
// The comments on fields are user documentation: they become the CRD's descriptions, which kubectl explain prints.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package="applyconfiguration"
// +groupName=reactor.inc
package v1alpha1
