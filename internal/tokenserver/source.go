package tokenserver

import (
	"context"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// source provides tokens.
type source interface {
	// token returns a token for the caller that is valid for at least --min-remaining-lifetime. The caller is empty if it is not known. The error
	// is an *unavailableError, or that of the context.
	token(ctx context.Context, caller string) (issued, error)
}

// issued is a token that can be returned to the caller.
type issued struct {
	JWT       reactor.Secret
	ExpiresAt time.Time     // Reactor's clock, whole seconds
	Left      time.Duration // the remaining lifetime now
}

// The reasons for a response without a token, as its error field has them. Details are only in the log, because they are for the operators of
// the server and not for the visitor.
const (
	reasonBusy               = "busy"                // the limits of mints are reached
	reasonRateLimited        = "reactor_rate_limit"  // Reactor answered 429
	reasonKeyRejected        = "api_key_refused"     // Reactor answered 401, or there is no key
	reasonRequestRejected    = "request_refused"     // Reactor rejects the models or the limits
	reasonReactorUnavailable = "reactor_unavailable" // no response, or none that can be used
	reasonTooShort           = "token_too_short"     // the token of Reactor or of the Secret has less than --min-remaining-lifetime left
	reasonNoToken            = "no_token"            // the Secret does not exist, or has no token
)

// unavailableError reports why there is no token now, and when to try again.
type unavailableError struct {
	reason     string
	retryAfter time.Duration
	cause      error // for the log; nil if the reason is sufficient
}

// Error returns the reason and the cause.
func (u *unavailableError) Error() string {
	if u.cause == nil {
		return u.reason
	}
	return u.reason + ": " + u.cause.Error()
}

// Unwrap returns the cause.
func (u *unavailableError) Unwrap() error { return u.cause }
