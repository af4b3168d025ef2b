package tokenserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// minter exchanges an API key for a token. Its errors are *reactor.Error.
type minter interface {
	Mint(ctx context.Context, request reactor.MintRequest) (reactor.Token, error)
}

const (
	// firstBackoff and longestBackoff bound how long nobody asks Reactor after an answer that helped nobody. It doubles.
	firstBackoff   = time.Second
	longestBackoff = time.Minute
	// refusedHold is how long nobody asks after a refusal, unless the key changes: a mistake on Reactor's side heals, and a visitor's
	// patience ends before that.
	refusedHold = time.Minute
	// limitedHold is the same after a 429 that names no instant.
	limitedHold = 30 * time.Second
)

// minted gives each caller a token of its own. A caller's token is kept and handed out again until it has too little left: a new one
// would be a new grant, with a fresh budget of sessions, and without power over the sessions that its predecessor started.
type minted struct {
	reactor   minter
	keyFile   string
	request   reactor.MintRequest // without the key
	minRemainingLifetime time.Duration
	clock     clock.PassiveClock
	log       *slog.Logger

	bucket  *rate.Limiter
	flights singleflight.Group // one mint a caller at a time

	mu       sync.Mutex
	tokens   *lru.Cache // the latest token of each caller
	holds    holds
	failures int
}

// token implements source.
func (m *minted) token(ctx context.Context, caller string) (issued, error) {
	if caller == "" { // a token that was handed out once may belong to anybody
		return m.mint(ctx, caller)
	}
	if kept, ok := m.kept(caller); ok {
		return kept, nil
	}
	// The others who wait for the same token must not lose it because the first of them has gone.
	return share(ctx, &m.flights, caller, func() (issued, error) {
		if kept, ok := m.kept(caller); ok {
			return kept, nil
		}
		return m.mint(context.WithoutCancel(ctx), caller)
	})
}

// kept is the caller's token, if it has enough left.
func (m *minted) kept(caller string) (issued, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, ok := m.tokens.Get(caller)
	if !ok {
		return issued{}, false
	}
	token, _ := found.(reactor.Token)
	left := token.Left(m.clock.Now())
	return issued{token.JWT, token.ExpiresAt, left}, left >= m.minRemainingLifetime
}

// mint asks Reactor, if it may be asked now.
func (m *minted) mint(ctx context.Context, caller string) (issued, error) {
	key, err := readKey(m.keyFile)
	if err != nil {
		return issued{}, &unavailableError{reasonKeyRefused, refusedHold, err}
	}
	if refusal := m.admit(key); refusal != nil {
		return issued{}, refusal
	}
	request := m.request
	request.APIKey = key
	token, err := m.reactor.Mint(ctx, request)
	switch {
	case ctx.Err() != nil: // who asked has gone, which says nothing about Reactor
		return issued{}, ctx.Err()
	case err != nil:
		return issued{}, m.failed(ctx, key, err)
	}
	left := token.Left(m.clock.Now())
	if left < m.minRemainingLifetime {
		return issued{}, m.tooShort(left)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures = 0
	if caller != "" {
		m.tokens.Add(caller, token)
	}
	m.log.InfoContext(ctx, "a token was minted", "caller", caller, "expires", token.ExpiresAt)
	return issued{token.JWT, token.ExpiresAt, left}, nil
}

// admit takes one mint from the limits.
func (m *minted) admit(key reactor.Secret) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	held := m.holds.on(key)
	if wait := held.until.Sub(now); wait > 0 {
		return &unavailableError{held.reason, spread(wait), nil}
	}
	if m.bucket.AllowN(now, 1) {
		return nil
	}
	missing := (1 - m.bucket.TokensAt(now)) / float64(m.bucket.Limit())
	return &unavailableError{reasonBusy, spread(time.Duration(missing * float64(time.Second))), nil}
}

// spread makes a crowd that was sent away together come back one by one.
func spread(wait time.Duration) time.Duration {
	return wait + rand.N(5*time.Second) //nolint:gosec // nobody gains anything by guessing it
}

// failed remembers an answer without a token, so that not every caller has to hear it from Reactor.
func (m *minted) failed(ctx context.Context, key reactor.Secret, err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures++
	reason, wait, ofKey := reasonReactorAway, min(firstBackoff<<min(m.failures-1, 8), longestBackoff), false
	switch reactor.ClassOf(err) {
	case reactor.ClassKeyRefused:
		reason, wait, ofKey = reasonKeyRefused, refusedHold, true
	case reactor.ClassRequestRefused:
		reason, wait, ofKey = reasonRefused, refusedHold, true
	case reactor.ClassKeyLimited:
		reason, wait = reasonRateLimited, limitedHold
	case reactor.ClassNone, reactor.ClassUnavailable:
	}
	if failure, ok := errors.AsType[*reactor.Error](err); ok && failure.RetryAfter > 0 {
		wait = failure.RetryAfter
	}
	held := hold{until: m.clock.Now().Add(wait), reason: reason}
	if ofKey {
		m.holds.forKey(key, held)
	} else {
		m.holds.forAll(held)
	}
	m.log.WarnContext(ctx, "no token was minted", "reason", reason, "error", err, "nextAttempt", held.until)
	return &unavailableError{reason, wait, err}
}

// tooShort is the failure of a token that lives, and not for long enough. The next one would be no longer.
func (m *minted) tooShort(left time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holds.forAll(hold{until: m.clock.Now().Add(refusedHold), reason: reasonTooShort})
	return &unavailableError{reasonTooShort, refusedHold,
		fmt.Errorf("reactor granted a token that has %s left, and --min-remaining-lifetime asks for %s", left.Round(time.Second), m.minRemainingLifetime)}
}
