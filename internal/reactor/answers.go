package reactor

import (
	"errors"
	"net/http"
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

	// ClassRequestRefused is the matter of this one request: the same request will be refused again.
	ClassRequestRefused

	// ClassUnavailable is nobody's matter: no answer came, or none that can be used. Try again later.
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

// statusRange is a line of the table of answers.
type statusRange struct {
	from, to int
	class    Class
}

// statusTable gives every status its class; the first line that matches wins. A status that no line names, such as 101
// or 999, is not an answer that the API gives: something else answered, which is ClassUnavailable.
//
// A success is still a failure of ClassUnavailable if its body cannot be used (see tokenFrom).
var statusTable = []statusRange{
	{http.StatusUnauthorized, http.StatusUnauthorized, ClassKeyRefused},
	{http.StatusTooManyRequests, http.StatusTooManyRequests, ClassKeyLimited},
	{http.StatusRequestTimeout, http.StatusRequestTimeout, ClassUnavailable},
	{200, 299, ClassNone},
	{300, 399, ClassRequestRefused}, // redirects are not followed
	{400, 499, ClassRequestRefused},
	{500, 599, ClassUnavailable},
}

// classOfStatus looks a status up in the table of answers.
func classOfStatus(status int) Class {
	for _, line := range statusTable {
		if line.from <= status && status <= line.to {
			return line.class
		}
	}
	return ClassUnavailable
}

// ClassOf returns the class of an error of this package, however deeply it is wrapped; ClassNone for nil; and
// ClassUnavailable for an error of other origin, since nobody was told to act.
func ClassOf(err error) Class {
	if err == nil {
		return ClassNone
	}
	if failure, ok := errors.AsType[*Error](err); ok {
		return failure.Class
	}
	return ClassUnavailable
}
