package reactor

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Error is why a call failed. Its text may stand in a condition: one line, bounded, without secrets.
type Error struct {
	// doing is what was attempted; minting a token when empty.
	doing string

	// Class says whose matter the failure is.
	Class Class

	// StatusCode is the HTTP status; 0 when there was no answer, or when nothing was sent.
	StatusCode int

	// Intermediary says that an answer came and is not proven to be Reactor's: a proxy, a firewall or a load balancer between the
	// client and Reactor may have given it. It is set for a redirect, for 407, for any other 4xx but 401 and 429 whose body does
	// not have the form of Reactor's errors, and for a success whose body is not JSON. Its class is ClassUnavailable.
	Intermediary bool

	// Server is the answer's header Server, redacted: one line of at most 64 bytes. It often names the product that answered,
	// such as cloudflare; empty when there was no answer or no such header.
	Server string

	// RetryAfter is how long the answer asked to wait, between 0 and 24 hours; 0 when it did not ask. It is the header
	// Retry-After, or without one the member retry_after_seconds of a body in the form of Reactor's errors.
	RetryAfter time.Duration

	// Excerpt is the begin of the answer's body, redacted: one line of at most 256 bytes. It is empty for a success that
	// could not be used, because its body may hold a token in a form that nobody would recognise.
	Excerpt string

	// Err is the cause, where the status alone does not tell it; its text is redacted and bounded.
	Err error
}

// Error says what was attempted and what came of it.
func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString(cmp.Or(e.doing, "minting a token"))
	if e.StatusCode != 0 {
		text.WriteString(": " + e.answered() + " answered " + strings.TrimSpace(strconv.Itoa(e.StatusCode)+" "+http.StatusText(e.StatusCode)))
	}
	if e.Intermediary && e.Server != "" {
		text.WriteString(" (Server: " + e.Server + ")")
	}
	if e.Err != nil {
		text.WriteString(": " + e.Err.Error())
	}
	if e.Excerpt != "" {
		text.WriteString(": " + e.Excerpt)
	}
	return text.String()
}

// answered names what gave the answer.
func (e *Error) answered() string {
	if e.Intermediary {
		return "something between the operator and Reactor"
	}
	return "Reactor"
}

// Unwrap returns the cause, so that errors.Is finds context.Canceled and the like.
func (e *Error) Unwrap() error { return e.Err }

// cause is an error with a text of our choice in front of what really happened.
type cause struct {
	text string
	err  error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.err }

// because gives err a text that may be shown: what went wrong, then err's own words, redacted and bounded.
func because(what string, err error, known ...Secret) error {
	return &cause{text: what + ": " + excerptOf(err.Error(), known...), err: err}
}

// notSent is the failure of a request that was refused before it was sent, since the answer is known.
func notSent(class Class, why string) *Error {
	return &Error{Class: class, Err: errors.New("the request was not sent: " + why)}
}

// unanswered is the failure of a request without an answer. The caller's context comes first, whatever a transport makes
// of its end; then our own timeout.
func (c *Client) unanswered(caller, bounded context.Context, err error, key Secret) *Error {
	switch {
	case caller.Err() != nil:
		err = because("given up", caller.Err())
	case bounded.Err() != nil:
		err = &cause{text: "Reactor did not answer within " + c.timeout.String(), err: bounded.Err()}
	default:
		err = because("no answer from Reactor", err, key)
	}
	return &Error{Class: ClassUnavailable, Err: err}
}
