// Package attempts has everything that is pure about the attempts of a ReactorSession: the names and the desired state of the pod and the ReactorToken
// of an attempt, what a pod is to its session, when its parts must have ended, and what follows its end.
//
// Functions take values and the current time, and read and write nothing. Their callers, the ReactorSession controller and the drain, do that.
package attempts

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

const (
	// SessionUIDLabel on a pod or a ReactorToken is the UID of the ReactorSession that it belongs to.
	SessionUIDLabel = "reactor.inc/session-uid"
	// AttemptLabel on a pod or a ReactorToken is the number of the attempt that it belongs to.
	AttemptLabel = "reactor.inc/attempt"
	// SessionAnnotation on a pod is the name of its ReactorSession, which may be too long for a label.
	SessionAnnotation = "reactor.inc/session"
	// GatedAnnotation on a pod says that it had scheduling gates. After they are removed, nothing else in the pod shows that.
	GatedAnnotation = "reactor.inc/gated"
	// TokenGate is the operator's own scheduling gate on a pod for which others are expected. It is the last one that is removed: when the
	// session has a slot, and the token of the attempt is ready.
	TokenGate = "reactor.inc/token"
	// TrackingFinalizer keeps a pod until its outcome is recorded in the status of its ReactorSession.
	TrackingFinalizer = "reactor.inc/session-tracking"
	// CleanupFinalizer keeps a ReactorSession until its pods have ended and their Reactor sessions are cleaned up.
	CleanupFinalizer = "reactor.inc/session-cleanup"
)

// FieldOwner is the field manager of everything that the operator writes.
const FieldOwner = "reactor-operator"

// maxBase leaves room in a name for what follows it, and keeps the pod's host name whole.
const maxBase = 40

// Name is the name of an attempt's pod and of its ReactorToken. It is always the same for an attempt, so that a second creation finds the first
// object. The UID of the session is part of it, because an earlier session may have had the same name.
func Name(session *v1alpha1.ReactorSession, number int32) string {
	base := session.Name[:min(len(session.Name), maxBase)]
	sum := sha256.Sum256([]byte(session.UID))
	return fmt.Sprintf("%s-%s-%d", strings.TrimRight(base, ".-"), hex.EncodeToString(sum[:])[:5], number)
}

// NumberOf is the number of the attempt whose pod and ReactorToken have this name; 0 if no attempt of the session has it.
func NumberOf(session *v1alpha1.ReactorSession, name string) int32 {
	digits, ok := strings.CutPrefix(name, strings.TrimSuffix(Name(session, 0), "0"))
	number, err := strconv.ParseInt(digits, 10, 32)
	if !ok || err != nil || number < 0 {
		return 0
	}
	return int32(number)
}

// LabeledNumber is the number of the attempt that an object belongs to, by its label; 0 without one.
func LabeledNumber(object metav1.Object) int32 {
	number, err := strconv.ParseInt(object.GetLabels()[AttemptLabel], 10, 32)
	if err != nil || number < 0 {
		return 0
	}
	return int32(number)
}

// Labels are the labels of the pod and the ReactorToken of an attempt.
func Labels(session *v1alpha1.ReactorSession, number int32) map[string]string {
	return map[string]string{SessionUIDLabel: string(session.UID), AttemptLabel: strconv.FormatInt(int64(number), 10)}
}

// ControllerReference is the owner reference of an object that is deleted with its session.
func ControllerReference(session *v1alpha1.ReactorSession) metav1.OwnerReference {
	reference := metav1.NewControllerRef(session, v1alpha1.SchemeGroupVersion.WithKind("ReactorSession"))
	reference.BlockOwnerDeletion = nil // it would need permission to update the finalizers of ReactorSessions
	return *reference
}
