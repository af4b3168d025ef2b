package reactorsession

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

const (
	// cleanupBound is how long the operator tries to see to the Reactor sessions of a pod that has ended, from its first try.
	cleanupBound = 5 * time.Minute
)

// A stop is finished when the billing is finished. After a pod has ended, and before its finalizer is removed, the operator looks up the
// Reactor sessions that its program reported, and ends those that are open. The token's Secret still exists then: a namespace deletes pods
// before Secrets, and the session's finalizer stays until the pod's is removed.
//
// The id of a session comes out of a container. It proves nothing: a program may report the id of another program's session, and a token
// without a scope would end that one. So Reactor is first asked with the attempt's own token (see ownership).

// cleanupLifetime is how long the unscoped token lives that ends what the attempt's own token cannot end.
const cleanupLifetime = time.Minute

const (
	cleanupBase = 2 * time.Second
	cleanupCap  = 30 * time.Second
)

// cleanupTimeout is for one try. It leaves the reconcile time to write the result.
const cleanupTimeout = 20 * time.Second

// notEndableError says why the operator has no token that may end a session, or must not use the one that it has. Another try would change nothing.
type notEndableError struct{ why string }

func (e *notEndableError) Error() string { return e.why }

// stillOpenError says that Reactor accepted a DELETE of a session, and has not yet shown it as CLOSED, which takes about a second. Until then the
// session is billed, and takes one of the account's slots: an attempt that started in that second could be refused.
type stillOpenError struct{ id string }

func (e *stillOpenError) Error() string {
	return fmt.Sprintf("Reactor accepted the end of session %s, and does not show it as closed", e.id)
}

// unknownError says that Reactor answered 404 for a session, once. Reactor shows a session that has ended as CLOSED; a 404 may also come from a
// wrong route, or from a part of Reactor that lags. So it counts as the end of the session only if a later try gets it too.
type unknownError struct{ id string }

func (e *unknownError) Error() string {
	return fmt.Sprintf("Reactor answered 404 for session %s once, which is no proof that it has ended", e.id)
}

// ownership is what is known of whether a Reactor session was started by the attempt that reported it.
type ownership int

const (
	// foreign: Reactor answered 403 to the attempt's own token, which was not renewed. A token may read the sessions that it started, so
	// it did not start this one.
	foreign ownership = iota
	// unproven: there is no token of the attempt, it has expired, or it was renewed. A renewed token is a new grant, and 403 proves nothing:
	//
	//  1. The program starts its session with token A, and reports its id.
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

// ownershipAfter says whose session it is that the attempt's own token could not end. readable tells that the token was allowed to read it.
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

// errNoneReported is why nothing can be cleaned up.
var errNoneReported = errors.New("its program reported no session id")

// cleanUp cleans up the Reactor sessions of an attempt that has ended. It returns the result, or after what time to try again. Its error says
// why the result is CleanupUnverified.
func (r *Reconciler) cleanUp(
	ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, seen *observation, how *outcome.Outcome,
) (result v1alpha1.CleanupResult, again time.Duration, unverified error) {
	if !how.MayHaveSession {
		return v1alpha1.CleanupNotNeeded, 0, nil
	}
	if len(how.Sessions) == 0 {
		return v1alpha1.CleanupUnverified, 0, errNoneReported
	}
	ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	tried := mem.cleanupOf(seen.status.CurrentAttempt.Number, how, seen.now)
	tried.unscoped.err = nil
	// Each of them, whatever happens to the others; first the one that was reported last, since that one may be open.
	for _, id := range slices.Backward(how.Sessions) {
		err := r.endSession(ctx, session, seen, tried, id)
		_, final := errors.AsType[*notEndableError](err)
		if _, accepted := errors.AsType[*stillOpenError](err); accepted {
			tried.ended = true
		}
		switch {
		case err != nil && !final && seen.now.Before(tried.until()):
			again = min(cleanupBase<<min(tried.times, 8), cleanupCap)
		case err != nil:
			unverified = err
		}
	}
	tried.times++
	switch {
	case again > 0:
		return "", again, nil
	case unverified != nil:
		return v1alpha1.CleanupUnverified, 0, unverified
	case tried.ended:
		return v1alpha1.CleanupEnded, 0, nil
	default:
		return v1alpha1.CleanupAlreadyOver, 0, nil
	}
}

// endSession ends one session: with the attempt's own token, or with an unscoped one if the own token cannot answer for the session. It
// returns nil when Reactor shows the session as closed. A *notEndableError is final. After any other error it is tried again.
func (r *Reconciler) endSession(
	ctx context.Context, session *v1alpha1.ReactorSession, seen *observation, tried *cleanup, id string,
) error {
	own, renewed, err := r.attemptsToken(ctx, session, seen)
	if err != nil {
		return err
	}
	owner := unproven
	if own != "" {
		found, err := r.endWith(ctx, own, id, true)
		switch {
		case err == nil:
			return tried.confirm(found)
		case !isRefusal(err):
			return err
		}
		owner = ownershipAfter(err, found.ID != "", renewed)
	}
	if owner == foreign {
		return &notEndableError{fmt.Sprintf("its program reported session %s, which its own token may not read (403 Forbidden): that session belongs to another program, "+
			"and the operator does not end it", id)}
	}
	token, err := r.unscopedToken(ctx, session, tried, seen.now)
	if err != nil {
		return err
	}
	found, err := r.endWith(ctx, token, id, owner >= ownershipNeeded)
	switch {
	case err == nil && found.Unknown && tried.unscoped.key != seen.status.CurrentAttempt.KeyFingerprint:
		return &notEndableError{fmt.Sprintf("Reactor does not know session %s by the API key in Secret %q, which is another key than that of the attempt, and may be of another account",
			id, session.Spec.APIKeySecretRef.Name)}
	case err == nil:
		return tried.confirm(found)
	case statusOf(err) == http.StatusUnauthorized: // it was minted a moment ago: another one follows with the next try
		tried.unscoped = unscoped{err: err}
	case isRefusal(err):
		return &notEndableError{fmt.Sprintf("Reactor refuses session %s even to a token without a scope", id)}
	}
	return err
}

// endWith reads a session, and ends it if it is open and the token may be used for that. Its error is nil if the session was closed when it was
// read. It returns the session if the token was allowed to read it.
func (r *Reconciler) endWith(ctx context.Context, token reactor.Secret, id string, mayEnd bool) (reactor.Session, error) {
	found, err := r.reactor.Session(ctx, token, id)
	switch {
	case err != nil:
		return reactor.Session{}, err
	case found.Over():
		return found, nil
	case !mayEnd:
		return found, &notEndableError{fmt.Sprintf("session %s is open, and nothing proves that the attempt started it", id)}
	}
	if err := r.reactor.EndSession(ctx, token, id); err != nil {
		return found, err
	}
	return found, &stillOpenError{id}
}

// isRefusal reports whether Reactor refused the token for this session, or the token cannot be sent at all. A 403 that is not proven to be
// Reactor's says nothing about the token.
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

// attemptsToken is the token in the Secret of the attempt, which started its session unless it was renewed since. It is empty if there is
// none.
func (r *Reconciler) attemptsToken(
	ctx context.Context, session *v1alpha1.ReactorSession, seen *observation,
) (token reactor.Secret, renewed bool, err error) {
	attempt := seen.status.CurrentAttempt
	name := attempt.TokenName
	if name == "" {
		return "", false, nil
	}
	if seen.token != nil {
		name = seen.token.TargetSecretName()
	}
	secret := &corev1.Secret{}
	err = r.live.Get(ctx, types.NamespacedName{Namespace: session.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("reading Secret %s/%s, which holds the token of an attempt: %w", session.Namespace, name, err)
	}
	return reactor.Secret(secret.Data["jwt"]), isRenewed(attempt, secret.Annotations), nil
}

// isRenewed reports whether the token in a Secret is another one than that with which the attempt's pod was created. Both times are
// Reactor's, so no other clock matters. A renewal just before the pod was created, which the cache did not show yet, counts as one after it:
// a 403 then proves nothing. If a time is unknown, the token counts as the first one.
func isRenewed(attempt *v1alpha1.SessionAttempt, annotations map[string]string) bool {
	issued := issuedAt(annotations)
	return issued != nil && attempt.TokenIssuedTime != nil && !issued.Equal(attempt.TokenIssuedTime)
}

// unscopedToken is one that may act on all sessions of the account. A cleanup uses one as long as it lives, and requests at most one in each
// try: the program decides how many sessions it reports.
func (r *Reconciler) unscopedToken(ctx context.Context, session *v1alpha1.ReactorSession, tried *cleanup, now time.Time) (reactor.Secret, error) {
	has := &tried.unscoped
	if has.err == nil && !now.Before(has.until) {
		has.token, has.key, has.err = r.mintUnscoped(ctx, session)
		has.until = now.Add(cleanupLifetime - cleanupTimeout)
		if has.err != nil {
			has.until = time.Time{}
		}
	}
	return has.token, has.err
}

// mintUnscoped exchanges the API key for a token without a scope, and returns the key's fingerprint too. A refusal of the key may be a mistake,
// or end with a new key in its Secret, so the cleanup tries again until its time is over. Without a key there is nothing to wait for.
func (r *Reconciler) mintUnscoped(ctx context.Context, session *v1alpha1.ReactorSession) (jwt reactor.Secret, fingerprint string, err error) {
	name := client.ObjectKeyFromObject(session)
	key, used, err := r.keys.Get(ctx, name, session.Spec.APIKeySecretRef)
	if err != nil {
		return "", "", err
	}
	if used.Problem != nil {
		return "", "", &notEndableError{fmt.Sprintf("there is no API key for a token that could end its session: %s", used.Problem.Message)}
	}
	token, err := r.reactor.Mint(ctx, reactor.MintRequest{APIKey: key, Lifetime: cleanupLifetime})
	if reactor.ClassOf(err) == reactor.ClassKeyRefused {
		// The key in memory may be an old one, which was replaced in the Secret and revoked before the watch showed the new version.
		newer, current, readErr := r.keys.Reread(ctx, name, session.Spec.APIKeySecretRef, used.Fingerprint)
		switch {
		case readErr != nil:
			return "", "", readErr
		case current.Problem == nil && current.Fingerprint != used.Fingerprint:
			used = current
			token, err = r.reactor.Mint(ctx, reactor.MintRequest{APIKey: newer, Lifetime: cleanupLifetime})
		}
	}
	return token.JWT, used.Fingerprint, err
}
