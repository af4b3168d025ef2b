package tokenserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/tokenserver/flight"
)

// minter exchanges an API key for a token. Its errors are *reactor.Error.
type minter interface {
	Mint(ctx context.Context, request reactor.MintRequest) (reactor.Token, error)
}

const (
	// minBackoff and maxBackoff limit the backoff after a response that says nothing about the key or the request. It doubles.
	minBackoff = time.Second
	maxBackoff = time.Minute
	// rejectedBackoff is the backoff after Reactor rejected the key or the request: Reactor may recover from an error on its side, and visitors do
	// not wait for longer.
	rejectedBackoff = time.Minute
	// rateLimitBackoff is the backoff after a 429 without Retry-After.
	rateLimitBackoff = 30 * time.Second
)

// minted mints a separate token for each caller. The caller gets the same token again while it is valid for long enough. A new token would be a
// new grant: with a fresh budget of sessions, and without access to the sessions that the previous token started.
type minted struct {
	reactor      minter
	keyFile      string
	request      reactor.MintRequest // without the key
	minRemaining time.Duration
	clock        clock.PassiveClock
	log          *slog.Logger

	limiter *rate.Limiter
	mints   flight.Group[issued] // at most one at a time for each caller

	mu       sync.Mutex
	tokens   *lru.Cache // reactor.Token, the latest one by caller
	backoffs backoffs
	failures int // in a row
}

func newMinted(settings config.TokenServer, api minter, now clock.PassiveClock, log *slog.Logger) *minted {
	return &minted{
		reactor: api, keyFile: settings.APIKeyFile, minRemaining: settings.MinRemainingLifetime, clock: now, log: log,
		request: reactor.MintRequest{Lifetime: settings.Lifetime, Scope: &reactor.Scope{
			Models: settings.Models, MaxSessions: settings.MaxSessions, MaxSessionDuration: settings.MaxSessionDuration,
		}},
		limiter: rate.NewLimiter(rate.Limit(settings.MintQPS), settings.MintBurst),
		tokens:  lru.New(settings.MaxCallers),
	}
}

// token implements source.
func (m *minted) token(ctx context.Context, caller string) (issued, error) {
	if caller == "" { // the next request may be from another visitor, who must not get the same token
		return m.mint(ctx, caller)
	}
	if token, ok := m.cached(caller); ok {
		return token, nil
	}
	return m.mints.Do(ctx, caller, func() (issued, error) {
		if token, ok := m.cached(caller); ok { // a mint ended after the check above
			return token, nil
		}
		// The mint is for all requests that wait for it, and continues when the first one ends.
		return m.mint(context.WithoutCancel(ctx), caller)
	})
}

// cached returns the token of the caller, and whether it is valid for long enough.
func (m *minted) cached(caller string) (issued, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, ok := m.tokens.Get(caller)
	if !ok {
		return issued{}, false
	}
	token, _ := found.(reactor.Token)
	left := token.Left(m.clock.Now())
	return issued{token.JWT, token.ExpiresAt, left}, left >= m.minRemaining
}

// mint requests a token from Reactor, if the limits and backoffs allow it.
func (m *minted) mint(ctx context.Context, caller string) (issued, error) {
	key, err := readKey(m.keyFile)
	if err != nil {
		return issued{}, &unavailableError{reasonKeyRejected, rejectedBackoff, err}
	}
	if err := m.admit(key); err != nil {
		return issued{}, err
	}
	request := m.request
	request.APIKey = key
	token, err := m.reactor.Mint(ctx, request)
	switch {
	case ctx.Err() != nil: // the client has disconnected, which says nothing about Reactor
		return issued{}, ctx.Err()
	case err != nil:
		return issued{}, m.recordFailure(ctx, key, err)
	}
	left := token.Left(m.clock.Now())
	if left < m.minRemaining {
		return issued{}, m.recordTooShort(left)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures = 0
	if caller != "" {
		m.tokens.Add(caller, token)
	}
	m.log.InfoContext(ctx, "minted a token", "caller", caller, "expires", token.ExpiresAt)
	return issued{token.JWT, token.ExpiresAt, left}, nil
}

// admit counts a mint against the limit. Its error says why no mint is allowed now.
func (m *minted) admit(key reactor.Secret) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	current := m.backoffs.of(key)
	if wait := current.until.Sub(now); wait > 0 {
		return &unavailableError{current.reason, withJitter(wait), nil}
	}
	if m.limiter.AllowN(now, 1) {
		return nil
	}
	return &unavailableError{reasonBusy, withJitter(untilAllowed(m.limiter, now)), nil}
}

// withJitter spreads the retries of clients that were refused at the same time.
func withJitter(wait time.Duration) time.Duration {
	return wait + rand.N(5*time.Second) //nolint:gosec // the value is not a secret
}

// recordFailure starts a backoff after a failed mint, so that not every caller sends its own request to Reactor.
func (m *minted) recordFailure(ctx context.Context, key reactor.Secret, err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures++
	reason, wait, keyOnly := reasonReactorUnavailable, min(minBackoff<<min(m.failures-1, 8), maxBackoff), false
	switch reactor.ClassOf(err) {
	case reactor.ClassKeyRefused:
		reason, wait, keyOnly = reasonKeyRejected, rejectedBackoff, true
	case reactor.ClassRequestRefused:
		reason, wait, keyOnly = reasonRequestRejected, rejectedBackoff, true
	case reactor.ClassKeyLimited:
		reason, wait = reasonRateLimited, rateLimitBackoff
	case reactor.ClassNone, reactor.ClassUnavailable:
	}
	if failure, ok := errors.AsType[*reactor.Error](err); ok && failure.RetryAfter > 0 {
		wait = failure.RetryAfter
	}
	next := backoff{until: m.clock.Now().Add(wait), reason: reason}
	if keyOnly {
		m.backoffs.addForKey(key, next)
	} else {
		m.backoffs.addForAllKeys(next)
	}
	m.log.WarnContext(ctx, "could not mint a token", "reason", reason, "error", err, "nextAttempt", next.until)
	return &unavailableError{reason, wait, err}
}

// recordTooShort starts a backoff after Reactor granted a token with too short a lifetime, because the next one would be as short.
func (m *minted) recordTooShort(left time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.backoffs.addForAllKeys(backoff{until: m.clock.Now().Add(rejectedBackoff), reason: reasonTooShort})
	return &unavailableError{reasonTooShort, rejectedBackoff,
		fmt.Errorf("reactor granted a token that has %s left, less than --min-remaining-lifetime=%s", left.Round(time.Second), m.minRemaining)}
}
