package reactor

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Class says who must act on a failed call before another call can succeed.
type Class int

const (
	// ClassNone is the class of no error.
	ClassNone Class = iota

	// ClassKeyRefused means that Reactor rejected the API key. Every call with this key fails: a user must replace it.
	ClassKeyRefused

	// ClassKeyLimited means that there were too many calls with the API key. All calls with this key must wait, for RetryAfter if it is set.
	ClassKeyLimited

	// ClassRequestRefused means that Reactor rejected this request. It will reject the same request again.
	ClassRequestRefused

	// ClassUnavailable means that there was no answer, or one that cannot be used, or one that is not proven to be from Reactor (see
	// Error.Intermediary). It requires no action by a user. Try again later.
	ClassUnavailable
)

// String returns the name of the class: None, KeyRefused, KeyLimited, RequestRefused or Unavailable.
func (c Class) String() string {
	switch c {
	case ClassNone:
		return "None"
	case ClassKeyRefused:
		return "KeyRefused"
	case ClassKeyLimited:
		return "KeyLimited"
	case ClassRequestRefused:
		return "RequestRefused"
	case ClassUnavailable:
		return "Unavailable"
	}
	return "Unknown"
}

// classOfAnswer returns the class of an answer, and whether an intermediary between this client and Reactor may have sent it. proven
// says that the body has the form of Reactor's errors (see refusalIn).
//
// During maintenance and rollouts, proxies, firewalls and load balancers send redirects, and answers 403, 404 or 405 of their own. Such
// an answer says nothing about the request, so the caller must try again later. These answers need no proof:
//   - 401 and 429, because Reactor's errors of POST /tokens are not documented. If a member is missing in their bodies, a revoked key must
//     still be reported, and a rate limit must still be respected.
//   - 5xx, which is ClassUnavailable in either case.
//
// A success is also a failure of ClassUnavailable if its body cannot be used (see unusable).
func classOfAnswer(status int, proven bool) (class Class, intermediary bool) {
	switch {
	case status >= 200 && status <= 299:
		return ClassNone, false
	case status == http.StatusUnauthorized:
		return ClassKeyRefused, false
	case status == http.StatusTooManyRequests:
		return ClassKeyLimited, false
	case status >= 500 && status <= 599:
		return ClassUnavailable, false
	case status < 400 || status > 599, status == http.StatusProxyAuthRequired, !proven:
		return ClassUnavailable, true
	case status == http.StatusRequestTimeout:
		return ClassUnavailable, false
	}
	return ClassRequestRefused, false
}

// refusal is the content of the body of a failed call.
type refusal struct {
	proven     bool          // the body has the form of Reactor's errors
	retryAfter time.Duration // 0 if the body specifies none
}

// refusalIn reads a body. All known errors of Reactor are JSON objects with a string member "error". JSON alone is no proof, because
// Cloudflare's own errors are also JSON (RFC 9457), but without that member. The names must match exactly: encoding/json ignores case for
// the fields of a struct, but not for the keys of a map.
func refusalIn(body []byte) refusal {
	var members map[string]any
	if json.Unmarshal(body, &members) != nil {
		return refusal{}
	}
	if _, proven := members["error"].(string); !proven {
		return refusal{}
	}
	seconds, _ := members["retry_after_seconds"].(float64)
	return refusal{proven: true, retryAfter: boundedSeconds(seconds)}
}

// ClassOf returns the class of an error of this package, however deeply it is wrapped; ClassNone for nil; and
// ClassUnavailable for any other error, because such an error requires no action by a user.
func ClassOf(err error) Class {
	if err == nil {
		return ClassNone
	}
	if failure, ok := errors.AsType[*Error](err); ok {
		return failure.Class
	}
	return ClassUnavailable
}
