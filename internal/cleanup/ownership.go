package cleanup

import (
	"errors"
	"net/http"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// ownership is what is known of whether a Reactor session was started by the attempt that reported it.
type ownership int

const (
	// foreign: Reactor answered 403 to the attempt's own token, which was not renewed. A token may read the sessions that it started, so
	// it did not start this one.
	foreign ownership = iota
	// unproven: there is no token of the attempt, it has expired, or it was renewed. A renewed token is a new grant, and 403 proves nothing:
	//
	//  1. The program starts its session with token A, and reports its ID.
	//  2. Token A is renewed: the Secret now holds token B.
	//  3. The program exits, and leaves its session open.
	//  4. Reactor answers 403 to B, because B did not start that session.
	unproven
	// proven: the attempt's own token was allowed to read the session.
	proven
)

// ownershipNeeded is what an unscoped token needs to end a session. The key is in the session's own namespace, so the user who created the
// session can use the key anyway. A key that is lent to other namespaces needs proven.
const ownershipNeeded = unproven

// ownershipAfter returns the ownership of a session that the attempt's own token could not end. readable says that the token was allowed to read it.
func ownershipAfter(refusal error, readable, renewed bool) ownership {
	switch {
	case readable:
		return proven
	case statusOf(refusal) == http.StatusForbidden && !renewed:
		return foreign
	default:
		return unproven
	}
}

// isRefusal reports whether Reactor refused the token for this session, or the token cannot be sent at all. A 403 that is not proven to be
// Reactor's shows nothing about the token.
func isRefusal(err error) bool {
	failure, ok := errors.AsType[*reactor.Error](err)
	if !ok {
		return false
	}
	notSent := failure.StatusCode == 0 && failure.Class != reactor.ClassUnavailable
	forbidden := failure.StatusCode == http.StatusForbidden && !failure.Intermediary
	return notSent || failure.StatusCode == http.StatusUnauthorized || forbidden
}

// statusOf is the HTTP status of a failed call; 0 if there was none.
func statusOf(err error) int {
	if failure, ok := errors.AsType[*reactor.Error](err); ok {
		return failure.StatusCode
	}
	return 0
}

// isRenewed reports whether the token in a Secret is another one than that with which the attempt's pod was created. Both times are
// Reactor's, so no other clock matters. A renewal just before the pod was created, which the cache did not show yet, counts as one after it:
// a 403 then proves nothing. If a time is unknown, the token counts as the first one.
func isRenewed(attempt *v1alpha1.SessionAttempt, annotations map[string]string) bool {
	issued := targetsecret.IssuedAt(annotations)
	return issued != nil && attempt.TokenIssuedTime != nil && !issued.Equal(attempt.TokenIssuedTime)
}
