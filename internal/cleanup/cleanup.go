// Package cleanup ends the Reactor sessions that the program of an ended attempt may have left open. A stop is complete when the billing is.
//
// The operator runs a cleanup after the pod has ended, and before the pod's finalizer is removed. The Secret with the token of the attempt still
// exists then: a namespace deletes pods before Secrets, and the finalizer of the ReactorSession stays until that of its pod is removed.
//
// A program reports the IDs of its sessions, and a report proves nothing: it may have the ID of a session of another program. A token without a scope
// would end that one. So the cleanup first asks Reactor with the attempt's own token (see Ownership).
package cleanup

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
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

const (
	// Bound is how long the cleanup of an attempt is tried, from its first try.
	Bound = 5 * time.Minute
	// MaxRetry is the longest wait between two tries. The first wait is minRetry, and it doubles.
	MaxRetry = 30 * time.Second
	minRetry = 2 * time.Second
	// tryTimeout bounds one try. It leaves the reconcile time to write the result.
	tryTimeout = 20 * time.Second
	// unscopedLifetime is the lifetime of the token that ends what the attempt's own token cannot end.
	unscopedLifetime = time.Minute
)

// Reactor reads and ends Reactor sessions, and mints the token for that if the attempt's own token cannot be used. Its errors are *reactor.Error.
type Reactor interface {
	Mint(ctx context.Context, request reactor.MintRequest) (reactor.Token, error)
	Session(ctx context.Context, token reactor.Secret, id string) (reactor.Session, error)
	EndSession(ctx context.Context, token reactor.Secret, id string) error
}

// Cleaner cleans up after attempts. Its fields are set once.
type Cleaner struct {
	Reactor Reactor
	Live    client.Reader // reads the Secret with the token of an attempt, without a cache
	Keys    *apikey.Cache
}

// Attempt is an attempt that ended.
type Attempt struct {
	Session     *v1alpha1.ReactorSession
	Current     *v1alpha1.SessionAttempt // as in the status of the session
	TokenSecret string                   // the name of the Secret with its token; empty if it had none
	Outcome     *outcome.Outcome
}

// Result is the result of a try.
type Result struct {
	// Cleanup is the result of the whole cleanup; empty if another try must follow after Retry.
	Cleanup v1alpha1.CleanupResult
	Retry   time.Duration
	// Unverified is why Cleanup is Unverified.
	Unverified error
}

// Progress is what the next try of a cleanup must know. The zero value is that of a cleanup that has not started. It is kept in memory: after a
// restart of the operator, the cleanup starts again, with its whole time.
type Progress struct {
	Attempt int32
	// Outcome is how the attempt ended, as the first try observed it. What happens to the pod during the cleanup does not change it.
	Outcome *outcome.Outcome
	Tries   int

	since   time.Time // the first try
	ended   bool      // Reactor accepted a DELETE of a session that was open
	unknown []string  // the sessions for which Reactor answered 404 before
	token   unscoped
}

// unscoped is a token that may act on all sessions of the account.
type unscoped struct {
	jwt   reactor.Secret
	key   string    // the fingerprint of the API key that it was minted with
	until time.Time // it is not used later
}

// lastTry is when the last try starts. A DELETE that Reactor accepted in that one is followed by another read.
func (p *Progress) lastTry() time.Time {
	if p.ended {
		return p.since.Add(Bound + MaxRetry)
	}
	return p.since.Add(Bound)
}

// errNoneReported is why nothing can be cleaned up.
var errNoneReported = errors.New("its program reported no session id")

// notEndableError says why the operator has no token that may end a session, or must not use the one that it has. Another try would change nothing.
type notEndableError struct{ why string }

func (e *notEndableError) Error() string { return e.why }

// stillOpenError says that Reactor accepted a DELETE of a session, and has not yet shown it as CLOSED, which takes about a second. Until then the
// session is billed, and takes one of the account's slots: an attempt that started in that second could be refused.
type stillOpenError struct{ id string }

func (e *stillOpenError) Error() string {
	return fmt.Sprintf("Reactor accepted the end of session %s, and does not show it as closed", e.id)
}

// unknownError says that Reactor answered 404 for a session, once. Reactor shows a session that has ended as CLOSED. A 404 may also come from a
// wrong route, or from a part of Reactor that lags. So it counts as the end of the session only if a later try gets it too.
type unknownError struct{ id string }

func (e *unknownError) Error() string {
	return fmt.Sprintf("Reactor answered 404 for session %s once, which is no proof that it has ended", e.id)
}

// Try tries to end the Reactor sessions of an attempt. progress is that of the last try, of any attempt of the same ReactorSession.
func (c *Cleaner) Try(ctx context.Context, attempt Attempt, progress Progress, now time.Time) (Result, Progress) {
	how := attempt.Outcome
	if !how.MayHaveSession {
		return Result{Cleanup: v1alpha1.CleanupNotNeeded}, progress
	}
	if len(how.Sessions) == 0 {
		return Result{Cleanup: v1alpha1.CleanupUnverified, Unverified: errNoneReported}, progress
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if progress.Attempt != attempt.Current.Number {
		progress = Progress{Attempt: attempt.Current.Number, Outcome: how, since: now}
	}
	t := try{Cleaner: c, attempt: attempt, now: now, progress: progress}
	result := Result{}
	// Each of them, whatever happens to the others. The one that was reported last is first, because it may be open.
	for _, id := range slices.Backward(how.Sessions) {
		err := t.end(ctx, id)
		_, final := errors.AsType[*notEndableError](err)
		switch {
		case err != nil && !final && now.Before(t.progress.lastTry()):
			result.Retry = min(minRetry<<min(progress.Tries, 8), MaxRetry)
		case err != nil:
			result.Unverified = err
		}
	}
	t.progress.Tries++
	switch {
	case result.Retry > 0:
		result.Unverified = nil
	case result.Unverified != nil:
		result.Cleanup = v1alpha1.CleanupUnverified
	case t.progress.ended:
		result.Cleanup = v1alpha1.CleanupEnded
	default:
		result.Cleanup = v1alpha1.CleanupAlreadyOver
	}
	return result, t.progress
}

// try is one try. It collects what the next one must know.
type try struct {
	*Cleaner

	attempt  Attempt
	now      time.Time
	progress Progress
	refused  error // why there is no unscoped token in this try
}

// end ends one session: with the attempt's own token, or with an unscoped one if the own token cannot be used for the session. It returns nil when
// Reactor shows the session as closed. A *notEndableError is final. After any other error, a later try follows.
func (t *try) end(ctx context.Context, id string) error {
	own, renewed, err := t.ownToken(ctx)
	if err != nil {
		return err
	}
	owner := unproven
	if own != "" {
		found, err := t.endWith(ctx, own, id, true)
		switch {
		case err == nil:
			return t.confirm(found)
		case !isRefusal(err):
			return err
		}
		owner = ownershipAfter(err, found.ID != "", renewed)
	}
	if owner == foreign {
		return &notEndableError{fmt.Sprintf("its program reported session %s, which its own token may not read (403 Forbidden): that session belongs to another program, "+
			"and the operator does not end it", id)}
	}
	token, err := t.unscopedToken(ctx)
	if err != nil {
		return err
	}
	found, err := t.endWith(ctx, token.jwt, id, owner >= ownershipNeeded)
	switch {
	case err == nil && found.Unknown && token.key != t.attempt.Current.KeyFingerprint:
		return &notEndableError{fmt.Sprintf("Reactor does not know session %s by the API key in Secret %q, which is another key than that of the attempt, and may be of another account",
			id, t.attempt.Session.Spec.APIKeySecretRef.Name)}
	case err == nil:
		return t.confirm(found)
	case statusOf(err) == http.StatusUnauthorized: // it was minted a moment ago: the next try mints another one
		t.progress.token, t.refused = unscoped{}, err
	case isRefusal(err):
		return &notEndableError{fmt.Sprintf("Reactor refuses session %s even to a token without a scope", id)}
	}
	return err
}

// confirm returns nil for a session that Reactor showed as CLOSED, or for which it answered 404 in an earlier try too.
func (t *try) confirm(over reactor.Session) error {
	if !over.Unknown || slices.Contains(t.progress.unknown, over.ID) {
		return nil
	}
	t.progress.unknown = slices.Concat(t.progress.unknown, []string{over.ID})
	return &unknownError{over.ID}
}

// endWith reads a session, and ends it if it is open and the token may be used for that. Its error is nil if the session was closed when it was
// read. It returns the session if the token was allowed to read it.
func (t *try) endWith(ctx context.Context, token reactor.Secret, id string, mayEnd bool) (reactor.Session, error) {
	found, err := t.Reactor.Session(ctx, token, id)
	switch {
	case err != nil:
		return reactor.Session{}, err
	case found.Over():
		return found, nil
	case !mayEnd:
		return found, &notEndableError{fmt.Sprintf("session %s is open, and nothing proves that the attempt started it", id)}
	}
	if err := t.Reactor.EndSession(ctx, token, id); err != nil {
		return found, err
	}
	t.progress.ended = true
	return found, &stillOpenError{id}
}

// ownToken is the token in the Secret of the attempt, which started its session unless it was renewed since. It is empty if there is none.
func (t *try) ownToken(ctx context.Context) (token reactor.Secret, renewed bool, err error) {
	name := types.NamespacedName{Namespace: t.attempt.Session.Namespace, Name: t.attempt.TokenSecret}
	if name.Name == "" {
		return "", false, nil
	}
	secret := &corev1.Secret{}
	err = t.Live.Get(ctx, name, secret)
	if apierrors.IsNotFound(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("reading Secret %s, which holds the token of an attempt: %w", name, err)
	}
	return reactor.Secret(secret.Data["jwt"]), isRenewed(t.attempt.Current, secret.Annotations), nil
}

// unscopedToken returns a token that may act on all sessions of the account. A cleanup uses one as long as it is valid, and requests at most one in
// each try: the program decides how many sessions it reports.
func (t *try) unscopedToken(ctx context.Context) (unscoped, error) {
	if t.refused == nil && !t.now.Before(t.progress.token.until) {
		t.progress.token, t.refused = t.mintUnscoped(ctx)
	}
	return t.progress.token, t.refused
}

// mintUnscoped exchanges the API key for a token without a scope. A refusal of the key may be an error of Reactor, or end with a new key in its
// Secret, so the cleanup tries again until its time is over. Without a key, there is nothing to wait for.
func (t *try) mintUnscoped(ctx context.Context) (unscoped, error) {
	session := t.attempt.Session
	name := client.ObjectKeyFromObject(session)
	key, used, err := t.Keys.Get(ctx, name, session.Spec.APIKeySecretRef)
	if err != nil {
		return unscoped{}, err
	}
	if used.Problem != nil {
		return unscoped{}, &notEndableError{fmt.Sprintf("there is no API key for a token that could end its session: %s", used.Problem.Message)}
	}
	token, err := t.Reactor.Mint(ctx, reactor.MintRequest{APIKey: key, Lifetime: unscopedLifetime})
	if reactor.ClassOf(err) == reactor.ClassKeyRefused {
		// The key in memory may be an old one, which was replaced in the Secret and revoked before the watch showed the new version.
		newer, current, readErr := t.Keys.Reread(ctx, name, session.Spec.APIKeySecretRef, used.Fingerprint)
		switch {
		case readErr != nil:
			return unscoped{}, readErr
		case current.Problem == nil && current.Fingerprint != used.Fingerprint:
			used = current
			token, err = t.Reactor.Mint(ctx, reactor.MintRequest{APIKey: newer, Lifetime: unscopedLifetime})
		}
	}
	if err != nil {
		return unscoped{}, err
	}
	return unscoped{jwt: token.JWT, key: used.Fingerprint, until: t.now.Add(unscopedLifetime - tryTimeout)}, nil
}
