package emulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// The patterns of the routes without a session.
const (
	tokensRoute = "POST /tokens"
	startRoute  = "POST /sessions"
)

// maxPadBytes is the maximum of Fault.PadTo.
const maxPadBytes = 64 << 20

// Fault makes calls fail. The first fault in the list that matches a call applies; fields that do not exclude each other apply together.
//
// With Status, Body, RedirectTo, Page, Refusal and Hang, the emulator does not do what the call requests. With the other fields, the emulator does
// and records it, and changes the response: with Cut on "POST /sessions" it starts a session whose id the client does not get.
type Fault struct {
	// Route is the pattern of the route, such as "DELETE /sessions/{id}"; "POST /tokens" when empty. The package's documentation lists the routes.
	Route string

	// Key is the fingerprint of the API key of the calls, or of their tokens; empty for all.
	Key string

	// Model is a model that the request's scope must name, or that the session must be of; empty for all.
	Model string

	// Times is the number of calls that fail; 0 for all until the faults are cleared.
	Times int

	// Latency is the delay before the call is handled.
	Latency time.Duration

	// Hang keeps the call open until the client gives up.
	Hang bool

	// Cut ends the connection in the middle of the response's body.
	Cut bool

	// Status is the status of the response. If it is 0, the status is 307 with RedirectTo, and 200 with Body. Without Body, the body has the form
	// of Reactor's own errors, so that clients treat the response as Reactor's:
	//
	//	{"error":"fault","message":"the emulator is set to answer 403"}
	//
	// A 429 with RetryAfter also has retry_after_seconds there.
	Status int

	// Body replaces that body: for example with invalid JSON, or with another error of Reactor.
	Body *string

	// Page is the response of a proxy or a CDN in front of Reactor, with its status, headers and body. It excludes Status, Body and
	// RedirectTo; RetryAfter replaces the page's own.
	Page Page

	// Refusal is Reactor's response when it refuses a session, with its status, headers and body. It excludes Status, Body, RedirectTo and Page.
	Refusal Refusal

	// PadTo is the size in bytes, at most 64 MiB, to which leading spaces extend the body. JSON stays JSON.
	PadTo int

	// RedirectTo is the header Location.
	RedirectTo string

	// RetryAfter is the header Retry-After, in whole seconds. Status says when the body repeats it.
	RetryAfter time.Duration

	// RetryAfterAsDate writes RetryAfter as a date on the emulator's clock.
	RetryAfterAsDate bool

	// OmitJWT omits jwt from the response.
	OmitJWT bool

	// OmitExpiresAt omits expires_at from the response.
	OmitExpiresAt bool

	// ExpiresIn replaces the requested lifetime of the token. It can be negative.
	ExpiresIn *time.Duration

	// DateSkew shifts only the header Date of this response; SetDateSkew shifts the whole clock.
	DateSkew time.Duration

	// OmitDate omits the header Date.
	OmitDate bool
}

// Validate returns an error if no server can behave this way.
func (f Fault) Validate() error {
	switch {
	case f.Route != "" && f.Route != tokensRoute && f.Route != startRoute && sessionHandlers[f.Route] == nil:
		return fmt.Errorf("route %q is not one that is served", f.Route)
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status %d is not between 200 and 599", f.Status)
	case f.Times < 0 || f.Latency < 0 || f.RetryAfter < 0:
		return errors.New("times, latency and retry_after must not be negative")
	case f.PadTo < 0 || f.PadTo > maxPadBytes:
		return fmt.Errorf("pad_to %d is not between 0 and %d", f.PadTo, maxPadBytes)
	}
	return errors.Join(f.validatePage(), f.validateRefusal())
}

func (f Fault) validateRefusal() error {
	switch {
	case f.Refusal == "":
		return nil
	case f.Status != 0 || f.Body != nil || f.RedirectTo != "" || f.Page != "":
		return errors.New("refusal excludes status, body, redirect_to and page")
	case !slices.Contains(Refusals(), f.Refusal):
		return fmt.Errorf("refusal %q does not exist: choose one of %q", f.Refusal, Refusals())
	}
	return nil
}

func (f Fault) validatePage() error {
	switch {
	case f.Page == "":
		return nil
	case f.Status != 0 || f.Body != nil || f.RedirectTo != "":
		return errors.New("page excludes status, body and redirect_to")
	case !slices.Contains(Pages(), f.Page):
		return fmt.Errorf("page %q does not exist: choose one of %q", f.Page, Pages())
	}
	return nil
}

// matches reports whether the fault applies to a call.
func (f Fault) matches(route, key string, models []string) bool {
	return (f.Route == route || f.Route == "" && route == tokensRoute) && (f.Key == "" || f.Key == key) && (f.Model == "" || slices.Contains(models, f.Model))
}

// takeFault returns the first fault that applies to a call, and the faults that apply to later calls.
func takeFault(faults []Fault, route, key string, models []string) (fault Fault, found bool, left []Fault) {
	at := slices.IndexFunc(faults, func(one Fault) bool { return one.matches(route, key, models) })
	if at < 0 {
		return Fault{}, false, faults
	}
	fault, left = faults[at], slices.Clone(faults)
	switch {
	case fault.Times == 1:
		left = slices.Delete(left, at, at+1)
	case fault.Times > 1:
		left[at].Times--
	}
	return fault, true, left
}

// wait waits for the latency of the fault. It returns false if the client has given up by then.
func (f Fault) wait(ctx context.Context) bool {
	if f.Hang {
		<-ctx.Done()
		return false
	}
	if f.Latency == 0 {
		return true
	}
	timer := time.NewTimer(f.Latency)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// replaces reports whether the emulator answers with the fault, and does not do what the call requests.
func (f Fault) replaces() bool {
	return f.Status != 0 || f.Body != nil || f.RedirectTo != "" || f.Page != "" || f.Refusal != ""
}

// reply is the response of a fault that replaces.
func (f Fault) reply() reply {
	if f.Page != "" {
		return pages[f.Page]
	}
	if f.Refusal != "" {
		return refusals[f.Refusal]
	}
	status := f.Status
	switch {
	case status != 0:
	case f.RedirectTo != "":
		status = http.StatusTemporaryRedirect
	default:
		status = http.StatusOK
	}
	body := errorBody{Error: "fault", Message: "the emulator is set to answer " + strconv.Itoa(status)}
	if status == http.StatusTooManyRequests {
		body.RetryAfterSeconds = int64(f.RetryAfter / time.Second)
	}
	answer := reply{status: status, header: http.Header{}, body: encode(body)}
	if f.RedirectTo != "" {
		answer.header.Set("Location", f.RedirectTo)
	}
	if f.Body != nil {
		answer.body = []byte(*f.Body)
	}
	return answer
}

// change returns the response as the client receives it.
func (f Fault) change(answer reply, now time.Time) reply {
	answer.header = maps.Clone(answer.header)
	if answer.header == nil {
		answer.header = http.Header{}
	}
	if f.RetryAfter > 0 {
		answer.header.Set("Retry-After", f.retryAfter(now))
	}
	answer.header.Set("Date", now.Add(f.DateSkew).Format(http.TimeFormat))
	if f.OmitDate {
		answer.header["Date"] = nil // without the key, net/http would write its own
	}
	if missing := f.PadTo - len(answer.body); missing > 0 {
		answer.body = append(bytes.Repeat([]byte(" "), missing), answer.body...)
	}
	answer.cut = f.Cut
	return answer
}

// retryAfter returns the value of the header Retry-After.
func (f Fault) retryAfter(now time.Time) string {
	if f.RetryAfterAsDate {
		return now.Add(f.RetryAfter).Format(http.TimeFormat)
	}
	return strconv.FormatInt(int64(f.RetryAfter/time.Second), 10)
}
