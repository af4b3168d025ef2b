package reactor

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Class says whose matter a failed call is, and so who must act before the next one makes sense.
type Class int

const (
	// ClassNone is the class of no error.
	ClassNone Class = iota

	// ClassKeyRefused is the API key's matter: Reactor does not know it. Every call with this key will fail until the
	// key is another.
	ClassKeyRefused

	// ClassKeyLimited is the API key's matter too: it asks too often. All calls with this key wait, for RetryAfter if
	// that is set.
	ClassKeyLimited

	// ClassRequestRefused is the matter of this one request: Reactor will refuse the same request again.
	ClassRequestRefused

	// ClassUnavailable requires no action by a person: no answer came, or none that can be used, or one that is not proven to be Reactor's
	// (see Error.Intermediary). Try again later.
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

// classOfAnswer returns the class of an answer, and whether something between this client and Reactor may have given it. proven
// says that the body has the form of Reactor's errors (see refusalIn).
//
// Proxies, firewalls and load balancers answer with redirects and with 403, 404 or 405 of their own during maintenance and
// rollouts. Such an answer says nothing about the request, so the client asks again later. Three kinds of answer need no proof:
//   - 401 and 429, because Reactor's answers of POST /tokens are not published: a missing member must not hide a revoked key, or
//     make a limited client ask more often;
//   - 5xx, which is ClassUnavailable whoever gives it.
//
// A success is still a failure of ClassUnavailable if its body cannot be used (see unusable).
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

// refusal is what the body of a failed call says, in Reactor's form.
type refusal struct {
	proven     bool          // the body has the form of Reactor's errors
	retryAfter time.Duration // 0 if the body names none
}

// refusalIn reads a body. All errors of Reactor that are known are JSON objects with a string member "error". JSON alone proves
// nothing: Cloudflare's own errors are JSON too (RFC 9457), without that member. The names are compared exactly, which
// encoding/json does for a map and not for a struct.
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
// ClassUnavailable for an error of other origin, since no person was asked to act.
func ClassOf(err error) Class {
	if err == nil {
		return ClassNone
	}
	if failure, ok := errors.AsType[*Error](err); ok {
		return failure.Class
	}
	return ClassUnavailable
}
