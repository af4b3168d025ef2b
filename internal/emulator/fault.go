package emulator

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// longestPad bounds how far a fault inflates an answer.
const longestPad = 64 << 20

// Fault makes calls go wrong. The first fault in the list that matches a call and is not used up has its way; members
// that do not exclude each other act together.
//
// Status, Body, RedirectTo, Page, Refusal and Hang answer instead of doing what is asked for. With the others it is done and written down, and
// what reaches the client of it is changed: with Cut on "POST /sessions" a session is started of which nobody knows the id.
type Fault struct {
	// Route is the pattern of the route that is meant, such as "DELETE /sessions/{id}"; "POST /tokens" when empty. The package's
	// documentation lists them.
	Route string

	// Key is the fingerprint of the API key whose calls are meant, or those with its tokens; empty for all.
	Key string

	// Model is a model that the request's scope must name, or that the session must be of; empty for all.
	Model string

	// Times is how many calls go wrong; 0 for all until the faults are cleared.
	Times int

	// Latency passes before anything else happens.
	Latency time.Duration

	// Hang keeps the client waiting until it gives up.
	Hang bool

	// Cut ends the connection in the middle of the answer's body.
	Cut bool

	// Status is answered. If it is 0, it is 307 with RedirectTo, and 200 with Body. Without Body, the body has the form of Reactor's own
	// errors, so that clients treat the answer as Reactor's:
	//
	//	{"error":"fault","message":"the emulator is set to answer 403"}
	//
	// A 429 with RetryAfter also has retry_after_seconds there.
	Status int

	// Body is answered as it is instead of that one: bad JSON, for example, or another error of Reactor.
	Body *string

	// Page is answered as a proxy or a CDN in front of Reactor does, with its status, headers and body. It excludes Status, Body and
	// RedirectTo; RetryAfter replaces the page's own.
	Page Page

	// Refusal is answered as Reactor refuses a session, with its status, headers and body. It excludes Status, Body, RedirectTo and Page.
	Refusal Refusal

	// PadTo inflates the body with blanks at its begin to so many bytes, at most 64 MiB. JSON stays JSON.
	PadTo int

	// RedirectTo is answered as Location.
	RedirectTo string

	// RetryAfter is answered as Retry-After in whole seconds. Status says when the body repeats it.
	RetryAfter time.Duration

	// RetryAfterAsDate writes RetryAfter as a date on the emulator's clock.
	RetryAfterAsDate bool

	// OmitJWT leaves jwt out of the answer.
	OmitJWT bool

	// OmitExpiresAt leaves expires_at out of the answer.
	OmitExpiresAt bool

	// ExpiresIn is the token's lifetime, whatever was asked for; it may be negative.
	ExpiresIn *time.Duration

	// DateSkew shifts the header Date of this answer alone; SetDateSkew shifts the whole clock.
	DateSkew time.Duration

	// OmitDate leaves the header Date out.
	OmitDate bool
}

// Validate says why no server could behave this way.
func (f Fault) Validate() error {
	switch {
	case f.Route != "" && f.Route != tokensRoute && f.Route != startRoute && sessionAnswers[f.Route] == nil:
		return fmt.Errorf("route %q is not one that is served", f.Route)
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status %d is not between 200 and 599", f.Status)
	case f.Times < 0 || f.Latency < 0 || f.RetryAfter < 0:
		return errors.New("times, latency and retry_after must not be negative")
	case f.PadTo < 0 || f.PadTo > longestPad:
		return fmt.Errorf("pad_to %d is not between 0 and %d", f.PadTo, longestPad)
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

// matches tells whether a call is meant.
func (f Fault) matches(route, key string, models []string) bool {
	return (f.Route == route || f.Route == "" && route == tokensRoute) && (f.Key == "" || f.Key == key) && (f.Model == "" || slices.Contains(models, f.Model))
}

// replaces tells whether something else than a token is answered.
func (f Fault) replaces() bool {
	return f.Status != 0 || f.Body != nil || f.RedirectTo != "" || f.Page != "" || f.Refusal != ""
}

// status is what a fault that replaces answers with.
func (f Fault) status() int {
	switch {
	case f.Status != 0:
		return f.Status
	case f.RedirectTo != "":
		return http.StatusTemporaryRedirect
	}
	return http.StatusOK
}

// retryAfter writes the header's value.
func (f Fault) retryAfter(now time.Time) string {
	if f.RetryAfterAsDate {
		return now.Add(f.RetryAfter).Format(http.TimeFormat)
	}
	return fmt.Sprint(int64(f.RetryAfter / time.Second))
}

// SetFaults replaces all faults. It panics on one that Validate refuses, since that is a slip in a test.
func (e *Emulator) SetFaults(faults ...Fault) {
	for _, fault := range faults {
		if err := fault.Validate(); err != nil {
			panic("emulator: fault: " + err.Error())
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = slices.Clone(faults)
}

// ClearFaults ends all faults. Calls that already hang go on hanging.
func (e *Emulator) ClearFaults() { e.SetFaults() }

// takeFault returns the fault that a call meets, and counts it.
func (e *Emulator) takeFault(route, key string, models []string) (Fault, bool) {
	for i, fault := range e.faults {
		if !fault.matches(route, key, models) {
			continue
		}
		if fault.Times == 1 {
			e.faults = slices.Delete(e.faults, i, i+1)
		} else if fault.Times > 1 {
			e.faults[i].Times--
		}
		return fault, true
	}
	return Fault{}, false
}
