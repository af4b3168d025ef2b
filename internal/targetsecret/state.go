package targetsecret

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// State is the observed state of the target Secret. The zero value is a Secret that does not exist.
type State struct {
	Exists          bool
	Terminating     bool
	UID             types.UID
	ResourceVersion string
	Ownership       Ownership
	Writer          string  // the ReactorToken that its annotations name
	Record          *Record // nil if it holds no token of the operator

	// What only a live read shows; zero if no live read was needed.
	Unusable  string // why it cannot be written: immutable, or of another type
	Unwatched bool   // its type is not watched
	Edited    bool   // token and record are not those that were written together
	Drifted   bool   // the token is valid, and something else that the operator owns is not as desired

	// Live is the Secret with its payload, if this reconcile read it. It is dropped at the end of the reconcile, and is never logged.
	Live *corev1.Secret
}

// FromMetadata returns what the metadata of the target Secret shows.
func FromMetadata(meta metav1.Object, token *v1alpha1.ReactorToken) State {
	state := State{
		Exists:          true,
		Terminating:     meta.GetDeletionTimestamp() != nil,
		UID:             meta.GetUID(),
		ResourceVersion: meta.GetResourceVersion(),
		Ownership:       OwnershipOf(meta, token),
		Writer:          meta.GetAnnotations()[v1alpha1.TokenNameAnnotation],
		Record:          ReadRecord(meta.GetAnnotations()),
	}
	if state.Adopted() && meta.GetAnnotations()[v1alpha1.TokenUIDAnnotation] != string(token.UID) {
		state.Record = nil // consent was just given: what the Secret holds was not written by this object
	}
	return state
}

// Inspect compares a Secret that was read live with what the operator writes into it.
func Inspect(live *corev1.Secret, token *v1alpha1.ReactorToken) State {
	state := FromMetadata(live, token)
	state.Live = live
	switch {
	case live.Type != corev1.SecretTypeOpaque && live.Type != "":
		state.Unusable = fmt.Sprintf("it is of type %s, and only Opaque Secrets are written", live.Type)
		state.Unwatched = slices.Contains(UnwatchedTypes, live.Type)
	case live.Immutable != nil && *live.Immutable:
		state.Unusable = "it is immutable"
	}
	if state.Record == nil {
		return state
	}
	jwt := JWT(live)
	if Checksum(jwt, state.Record) != state.Record.Checksum {
		state.Edited = true
		return state
	}
	desired := Build(token, jwt, state.Record, state.Adopted())
	state.Drifted = !desired.SatisfiedBy(live)
	return state
}

// Adopted reports whether the Secret belongs to another owner that allows the operator to write into it.
func (s *State) Adopted() bool { return s.Ownership == Consenting }

// Writable reports whether the operator may write the Secret at all.
func (s *State) Writable() bool {
	return !s.Exists || s.Ownership == Ours || s.Ownership == Consenting
}

// Current returns the record if the Secret holds the token that the record describes; nil otherwise.
func (s *State) Current() *Record {
	if !s.Exists || !s.Writable() || s.Edited {
		return nil
	}
	return s.Record
}

// IsUpToDate reports whether no further live read is needed while the resourceVersion stays the same: what makes a Secret unusable, edited or
// drifted does not show in its metadata.
func (s *State) IsUpToDate() bool { return s.Current() != nil && !s.Drifted && s.Unusable == "" }

// UnwatchedTypes are the types of Secrets that the operator does not watch.
var UnwatchedTypes = []corev1.SecretType{"helm.sh/release.v1", corev1.SecretTypeServiceAccountToken}
