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

// Error is the failure of a call. Its text is safe for a condition: one line, bounded, without secrets.
type Error struct {
	// operation is the attempted operation. The default is "minting a token".
	operation string

	// Class says who must act on the failure.
	Class Class

	// StatusCode is the HTTP status; 0 if there was no answer, or if nothing was sent.
	StatusCode int

	// Intermediary says that the answer is not proven to be from Reactor: a proxy, a firewall or a load balancer between the client and
	// Reactor may have sent it. It is set for a redirect, for 407, for any other 4xx except 401 and 429 whose body does not have the form
	// of Reactor's errors, and for a success whose body is not JSON. The Class is then ClassUnavailable.
	Intermediary bool

	// Server is the answer's header Server, redacted: one line of at most 64 bytes. It often names the product that answered,
	// such as cloudflare. It is empty if there was no answer or no such header.
	Server string

	// RetryAfter is how long to wait according to the answer, at most 24 hours; 0 if the answer does not say. It is from the header
	// Retry-After, or else from the member retry_after_seconds of a body that has the form of Reactor's errors.
	RetryAfter time.Duration

	// Excerpt is the start of the answer's body, redacted: one line of at most 256 bytes. It is empty for a success that cannot be used,
	// because its body may contain a token in a form that Redact does not recognize.
	Excerpt string

	// Err is the cause; nil if the status explains the failure. Its text is redacted and bounded.
	Err error
}

// Error returns the attempted operation and its result.
func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString(cmp.Or(e.operation, "minting a token"))
	if e.StatusCode != 0 {
		text.WriteString(": " + e.sender() + " answered " + strings.TrimSpace(strconv.Itoa(e.StatusCode)+" "+http.StatusText(e.StatusCode)))
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

// sender returns the name of the sender of the answer.
func (e *Error) sender() string {
	if e.Intermediary {
		return "something between the operator and Reactor"
	}
	return "Reactor"
}

// Unwrap returns the cause, so that errors.Is finds context.Canceled and the like.
func (e *Error) Unwrap() error { return e.Err }

// cause is an error with another text than the error that it wraps.
type cause struct {
	text string
	err  error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.err }

// wrapRedacted wraps err with a text that is safe for a condition: what went wrong, then the text of err, redacted and bounded.
func wrapRedacted(what string, err error, known ...Secret) error {
	return &cause{text: what + ": " + excerptOf(err.Error(), known...), err: err}
}

// notSent is the failure of an invalid request, which was not sent.
func notSent(class Class, why string) *Error {
	return &Error{Class: class, Err: errors.New("the request was not sent: " + why)}
}

// unanswered is the failure of a request without an answer. Transports report the end of a context in different ways. Therefore the
// caller's context is checked first, then the client's own timeout, and the transport's error is reported only if neither has ended.
func (c *Client) unanswered(caller, bounded context.Context, err error, key Secret) *Error {
	switch {
	case caller.Err() != nil:
		err = wrapRedacted("the call was stopped", caller.Err())
	case bounded.Err() != nil:
		err = &cause{text: "Reactor did not answer within " + c.timeout.String(), err: bounded.Err()}
	default:
		err = wrapRedacted("no answer from Reactor", err, key)
	}
	return &Error{Class: ClassUnavailable, Err: err}
}
