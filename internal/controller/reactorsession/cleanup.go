package reactorsession

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// A stop is finished when the billing is finished: once a pod has ended, and before it is let go, the operator looks at the Reactor
// sessions that its program reported, and ends those that are open. The token's Secret is still there then: a namespace deletes pods
// before Secrets, and the session's finalizer stays until the pod's is off.

// cleanupLifetime is how long the token lives that ends what the attempt's own token cannot.
const cleanupLifetime = time.Minute

const (
	cleanupBase = 2 * time.Second
	cleanupCap  = 30 * time.Second
)

// cleanupTimeout is for one try, and leaves the pass the time to write down what became of it.
const cleanupTimeout = 20 * time.Second

// errNoCredential says that nothing is left that could end a session.
var errNoCredential = errors.New("no token may act on the session")

// cleanUp sees to the Reactor sessions of an attempt that has ended. It returns what became of them, or how long to wait before it is
// tried again.
func (r *Reconciler) cleanUp(
	ctx context.Context, session *v1alpha1.ReactorSession, mem *remembered, seen *observation, how *ending,
) (result v1alpha1.CleanupResult, again time.Duration) {
	if !how.started {
		return v1alpha1.CleanupNotNeeded, 0
	}
	if len(how.sessions) == 0 {
		return v1alpha1.CleanupUnverified, 0
	}
	ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	tried := mem.cleanupOf(seen.status.CurrentAttempt.Number, how, seen.now)
	tried.unscoped.err = nil
	unverified, again := false, time.Duration(0)
	// Each of them, whatever becomes of the others; the one that was told last first, since that one may be open.
	for _, id := range slices.Backward(how.sessions) {
		became, err := r.endSession(ctx, session, seen, tried, id)
		switch {
		case errors.Is(err, errNoCredential):
			unverified = true
		case err != nil && seen.now.Before(tried.since.Add(cleanupBound)):
			again = min(cleanupBase<<min(tried.times, 8), cleanupCap)
		case err != nil:
			unverified = true
		case became == v1alpha1.CleanupEnded:
			tried.ended = true
		}
	}
	tried.times++
	switch {
	case again > 0:
		return "", again
	case unverified:
		return v1alpha1.CleanupUnverified, 0
	case tried.ended:
		return v1alpha1.CleanupEnded, 0
	default:
		return v1alpha1.CleanupAlreadyOver, 0
	}
}

// endSession ends one session, with the token of its attempt, or, when that may not, with one without a scope.
func (r *Reconciler) endSession(
	ctx context.Context, session *v1alpha1.ReactorSession, seen *observation, tried *cleanup, id string,
) (v1alpha1.CleanupResult, error) {
	for _, credential := range []func() (reactor.Secret, error){
		func() (reactor.Secret, error) { return r.attemptsToken(ctx, session, seen) },
		func() (reactor.Secret, error) { return r.unscopedToken(ctx, session, tried, seen.now) },
	} {
		token, err := credential()
		if errors.Is(err, errNoCredential) {
			continue
		}
		if err != nil {
			return "", err
		}
		became, err := r.endWith(ctx, token, id)
		if !isRefusal(err) {
			return became, err
		}
	}
	return "", errNoCredential
}

func (r *Reconciler) endWith(ctx context.Context, token reactor.Secret, id string) (v1alpha1.CleanupResult, error) {
	found, err := r.reactor.Session(ctx, token, id)
	if err != nil {
		return "", err
	}
	if found.Over() {
		return v1alpha1.CleanupAlreadyOver, nil
	}
	if err := r.reactor.EndSession(ctx, token, id); err != nil {
		return "", err
	}
	return v1alpha1.CleanupEnded, nil
}

// isRefusal reports whether a token may not act on the session: it has expired, or is another grant. A 403 that is not proven to
// be Reactor's says nothing about the token.
func isRefusal(err error) bool {
	failure, ok := errors.AsType[*reactor.Error](err)
	if !ok {
		return false
	}
	notSent := failure.StatusCode == 0 && failure.Class != reactor.ClassUnavailable
	forbidden := failure.StatusCode == http.StatusForbidden && !failure.Intermediary
	return notSent || failure.StatusCode == http.StatusUnauthorized || forbidden
}

// attemptsToken is the token that the attempt had, which started its session.
func (r *Reconciler) attemptsToken(ctx context.Context, session *v1alpha1.ReactorSession, seen *observation) (reactor.Secret, error) {
	name := seen.status.CurrentAttempt.TokenName
	if name == "" {
		return "", errNoCredential
	}
	if seen.token != nil {
		name = seen.token.TargetSecretName()
	}
	secret := &corev1.Secret{}
	err := r.live.Get(ctx, types.NamespacedName{Namespace: session.Namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) || err == nil && len(secret.Data["jwt"]) == 0 {
		return "", errNoCredential
	}
	return reactor.Secret(secret.Data["jwt"]), err
}

// unscopedToken is one that may act on all sessions of the account. A clean-up takes one as long as that lives, and asks once in each
// try: how many sessions there are to see to is the program's word.
func (r *Reconciler) unscopedToken(ctx context.Context, session *v1alpha1.ReactorSession, tried *cleanup, now time.Time) (reactor.Secret, error) {
	has := &tried.unscoped
	if has.err == nil && !now.Before(has.until) {
		has.token, has.err = r.mintUnscoped(ctx, session)
		has.until = now.Add(cleanupLifetime - cleanupTimeout)
		if has.err != nil {
			has.until = time.Time{}
		}
	}
	return has.token, has.err
}

// mintUnscoped exchanges the API key for a token without a scope.
func (r *Reconciler) mintUnscoped(ctx context.Context, session *v1alpha1.ReactorSession) (reactor.Secret, error) {
	name := client.ObjectKeyFromObject(session)
	key, used, err := r.keys.Get(ctx, name, session.Spec.APIKeySecretRef)
	if err != nil {
		return "", err
	}
	if used.Problem != nil {
		return "", errNoCredential
	}
	token, err := r.reactor.Mint(ctx, reactor.MintRequest{APIKey: key, Lifetime: cleanupLifetime})
	if reactor.ClassOf(err) == reactor.ClassKeyRefused {
		// The key in memory may be an old one, which was replaced in the Secret and revoked before the watch showed the new version.
		newer, current, readErr := r.keys.Reread(ctx, name, session.Spec.APIKeySecretRef, used.Fingerprint)
		switch {
		case readErr != nil:
			return "", readErr
		case current.Problem == nil && current.Fingerprint != used.Fingerprint:
			token, err = r.reactor.Mint(ctx, reactor.MintRequest{APIKey: newer, Lifetime: cleanupLifetime})
		}
	}
	switch reactor.ClassOf(err) {
	case reactor.ClassKeyRefused, reactor.ClassRequestRefused:
		return "", errNoCredential
	case reactor.ClassNone, reactor.ClassKeyLimited, reactor.ClassUnavailable:
	}
	return token.JWT, err
}
