package tokenserver

import (
	"context"
	"math"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// source is where tokens come from.
type source interface {
	// token returns a token for the caller, with at least as much left as a session needs. The caller is empty when nobody knows who
	// asks. An error is an *unavailableError, or that of the context.
	token(ctx context.Context, caller string) (issued, error)
}

// issued is a token that can be handed out.
type issued struct {
	JWT       reactor.Secret
	ExpiresAt time.Time     // Reactor's clock, whole seconds
	Left      time.Duration // when it was looked at
}

// The reasons for which there is no token, as the answer tells them. The details stand in the log: they are the operator's business and
// not the visitor's.
const (
	reasonBusy        = "busy"                // more tokens are wanted than the limits allow
	reasonRateLimited = "reactor_rate_limit"  // Reactor answered 429
	reasonKeyRefused  = "api_key_refused"     // Reactor answered 401, or there is no key
	reasonRefused     = "request_refused"     // Reactor refuses models or limits
	reasonReactorAway = "reactor_unavailable" // no answer, or none that can be used
	reasonTooShort    = "token_too_short"     // what Reactor grants, or the Secret holds, has less left than a session needs
	reasonNoToken     = "no_token"            // the Secret is not there, or holds none
)

// unavailableError is why there is no token now, and when it is worth asking again.
type unavailableError struct {
	reason     string
	retryAfter time.Duration
	cause      error // for the log; nil when the reason says it all
}

// Error says why, with the cause.
func (u *unavailableError) Error() string {
	if u.cause == nil {
		return u.reason
	}
	return u.reason + ": " + u.cause.Error()
}

// Unwrap returns the cause.
func (u *unavailableError) Unwrap() error { return u.cause }

// wholeSeconds rounds up: who comes back a moment too early is sent away again.
func wholeSeconds(d time.Duration) int64 {
	return max(1, int64(math.Ceil(d.Seconds())))
}
