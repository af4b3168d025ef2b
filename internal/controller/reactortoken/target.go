package reactortoken

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// target is the target Secret as a decision sees it. The zero value is a Secret that does not exist.
type target struct {
	exists          bool
	terminating     bool
	uid             types.UID
	resourceVersion string
	ownership       ownership
	writer          string  // the ReactorToken that its annotations name
	record          *record // nil when it holds no token of ours

	// What only a live read tells; zero when there was no need for one.
	unusable  string // why it cannot be written: immutable, or of another type
	unwatched bool   // it is of a type that is left out of the watch
	edited    bool   // token and record are not those that were written together
	drifted   bool   // the token is right, and something else that we own is not

	// live is the Secret itself, payload and all, when it was read in this pass. It is dropped at the pass's end, and
	// never given to a logger.
	live *corev1.Secret
}

// targetOf reads what metadata tells of the target Secret.
func targetOf(meta metav1.Object, token *v1alpha1.ReactorToken) target {
	seen := target{
		exists:          true,
		terminating:     meta.GetDeletionTimestamp() != nil,
		uid:             meta.GetUID(),
		resourceVersion: meta.GetResourceVersion(),
		ownership:       ownershipOf(meta, token),
		writer:          meta.GetAnnotations()[v1alpha1.TokenNameAnnotation],
		record:          recordOf(meta.GetAnnotations()),
	}
	if seen.adopted() && meta.GetAnnotations()[v1alpha1.TokenUIDAnnotation] != string(token.UID) {
		seen.record = nil // consent was just given: what stands there is not ours yet
	}
	return seen
}

// inspect compares a Secret that was read live with what the operator wants in it.
func inspect(live *corev1.Secret, token *v1alpha1.ReactorToken) target {
	seen := targetOf(live, token)
	seen.live = live
	switch {
	case live.Type != corev1.SecretTypeOpaque && live.Type != "":
		seen.unusable = fmt.Sprintf("it is of type %s, and only Opaque Secrets are written", live.Type)
		seen.unwatched = slices.Contains(unwatchedTypes, live.Type)
	case live.Immutable != nil && *live.Immutable:
		seen.unusable = "it is immutable"
	}
	if seen.record == nil {
		return seen
	}
	jwt := jwtIn(live)
	if checksumOf(jwt, seen.record) != seen.record.Checksum {
		seen.edited = true
		return seen
	}
	desired := buildSecret(token, jwt, seen.record, seen.adopted())
	seen.drifted = !desired.satisfiedBy(live)
	return seen
}

// adopted reports whether the Secret is somebody else's who lets us write into it.
func (t *target) adopted() bool { return t.ownership == ownershipConsenting }

// writable reports whether the operator may write the Secret at all.
func (t *target) writable() bool {
	return !t.exists || t.ownership == ownershipOurs || t.ownership == ownershipConsenting
}

// token returns the record when the Secret holds the token that the record speaks of.
func (t *target) token() *record {
	if !t.exists || !t.writable() || t.edited {
		return nil
	}
	return t.record
}

// asWanted reports whether there is nothing about the Secret that a live read would have to look at again: what makes it
// unusable, edited or drifted does not show in its metadata.
func (t *target) asWanted() bool { return t.token() != nil && !t.drifted && t.unusable == "" }

func jwtIn(secret *corev1.Secret) reactor.Secret { return reactor.Secret(secret.Data[jwtKey]) }
