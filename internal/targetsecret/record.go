package targetsecret

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// Record is what the annotations of the target Secret report about its token. Status is derived from it. It is written together with the token,
// in one write, and can be read without the payload.
type Record struct {
	TokenID        string
	IssuedAt       time.Time     // Reactor's clock, whole seconds
	ExpiresAt      time.Time     // Reactor's clock, whole seconds
	Skew           time.Duration // Reactor's clock minus the operator's, when the token was issued
	KeyFingerprint string
	RequestHash    string
	Checksum       string // of the token and of the other fields
	RenewRequest   string // the value of the renew annotation that this token answered
}

// RequestIdentity identifies what is requested of Reactor, with which API key, and at whose request.
type RequestIdentity struct {
	RequestHash    string
	KeyFingerprint string // of the API key
	RenewRequest   string // the value of the renew annotation
}

// Granted is the lifetime that Reactor granted.
func (r *Record) Granted() time.Duration { return r.ExpiresAt.Sub(r.IssuedAt) }

// NewRecord describes a token that Reactor just issued. id is the one that the operator gives the token.
func NewRecord(issued reactor.Token, id string, answers RequestIdentity) *Record {
	written := &Record{
		TokenID:        id,
		IssuedAt:       issued.IssuedAt.UTC().Truncate(time.Second),
		ExpiresAt:      issued.ExpiresAt.UTC().Truncate(time.Second),
		Skew:           issued.Skew.Truncate(time.Millisecond),
		KeyFingerprint: answers.KeyFingerprint,
		RequestHash:    answers.RequestHash,
		RenewRequest:   answers.RenewRequest,
	}
	written.Checksum = Checksum(issued.JWT, written)
	return written
}

// ReadRecord reads a record from annotations. It returns nil if an annotation that it needs is missing or garbled: the Secret then counts as
// a Secret without a token.
func ReadRecord(annotations map[string]string) *Record {
	issued, issuedErr := time.Parse(time.RFC3339, annotations[v1alpha1.IssuedAtAnnotation])
	expires, expiresErr := time.Parse(time.RFC3339, annotations[v1alpha1.ExpiresAtAnnotation])
	skew, skewErr := time.ParseDuration(annotations[v1alpha1.ClockSkewAnnotation])
	read := &Record{
		TokenID:        annotations[v1alpha1.TokenIDAnnotation],
		IssuedAt:       issued.UTC(),
		ExpiresAt:      expires.UTC(),
		Skew:           skew,
		KeyFingerprint: annotations[v1alpha1.KeyFingerprintAnnotation],
		RequestHash:    annotations[v1alpha1.RequestHashAnnotation],
		Checksum:       annotations[v1alpha1.TokenChecksumAnnotation],
		RenewRequest:   annotations[v1alpha1.HandledRenewRequestAnnotation],
	}
	garbled := issuedErr != nil || expiresErr != nil || skewErr != nil || !expires.After(issued) || expires.Sub(issued) > reactor.MaxLifetime
	if garbled || read.TokenID == "" || read.Checksum == "" {
		return nil
	}
	return read
}

// annotations is the form in which the record is stored.
func (r *Record) annotations() map[string]string {
	stored := map[string]string{
		v1alpha1.TokenIDAnnotation:        r.TokenID,
		v1alpha1.IssuedAtAnnotation:       r.IssuedAt.Format(time.RFC3339),
		v1alpha1.ExpiresAtAnnotation:      r.ExpiresAt.Format(time.RFC3339),
		v1alpha1.ClockSkewAnnotation:      r.Skew.String(),
		v1alpha1.KeyFingerprintAnnotation: r.KeyFingerprint,
		v1alpha1.RequestHashAnnotation:    r.RequestHash,
		v1alpha1.TokenChecksumAnnotation:  r.Checksum,
	}
	if r.RenewRequest != "" {
		stored[v1alpha1.HandledRenewRequestAnnotation] = r.RenewRequest
	}
	return stored
}

// Checksum shows whether the token and its record are still those that were written together: if a client edits the expiry, that must not delay
// the renewal. It reveals nothing: the signature of a token has far more entropy than a hash of it could reveal.
func Checksum(jwt reactor.Secret, of *Record) string {
	stored := of.annotations()
	delete(stored, v1alpha1.TokenChecksumAnnotation)
	hash := sha256.New()
	_, _ = fmt.Fprintf(hash, "reactor.inc/token\x00%s", jwt.Reveal()) // never fails, says hash.Hash
	for _, name := range slices.Sorted(maps.Keys(stored)) {
		_, _ = fmt.Fprintf(hash, "\x00%s=%s", name, stored[name])
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

// IssuedAt is when the token in a Secret was issued, by the annotations of the Secret; nil if they have no such time.
func IssuedAt(annotations map[string]string) *metav1.Time {
	at, err := time.Parse(time.RFC3339, annotations[v1alpha1.IssuedAtAnnotation])
	if err != nil {
		return nil
	}
	return &metav1.Time{Time: at}
}
