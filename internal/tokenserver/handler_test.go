package tokenserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reactor-operator/reactor-operator/internal/config"
)

func givesUpAfter(t *testing.T, d time.Duration) func(*http.Request) {
	t.Helper()
	return func(request *http.Request) {
		ctx, cancel := context.WithTimeout(request.Context(), d)
		t.Cleanup(cancel)
		*request = *request.WithContext(ctx)
	}
}

func TestABrowserKeepsTheAnswerToAGetUntilAMinuteBeforeItExpires(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		got := w.ask(http.MethodGet, "ada")
		if cache := got.header.Get("Cache-Control"); cache != "private, max-age=3540" && cache != "private, max-age=3539" {
			t.Errorf("Cache-Control: %s", cache)
		}
		// A user who signs in to the same browser after another user does not get the token of the other user.
		if vary := got.header.Get("Vary"); vary != "Authorization, Cookie" {
			t.Errorf("Vary: %v", vary)
		}
		w.pass(30 * time.Minute)
		if cache := w.ask(http.MethodGet, "ada").header.Get("Cache-Control"); cache != "private, max-age=1740" && cache != "private, max-age=1739" {
			t.Errorf("half an hour later, Cache-Control: %s", cache)
		}
		if cache := w.ask(http.MethodPost, "ada").header.Get("Cache-Control"); cache != "no-store" {
			t.Errorf("of a POST, Cache-Control: %s", cache)
		}
	})
}

func TestTheExpiryIsReturnedWhenItIsRequested(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		got := w.ask(http.MethodPost, "ada", func(r *http.Request) { r.URL.RawQuery = "expires_at=true" })
		claims, err := w.reactor.Verify(got.JWT)
		if err != nil || claims.ExpiresAt.Unix() != got.Expires {
			t.Errorf("expires_at is %d, the token's is %v (%v)", got.Expires, claims.ExpiresAt, err)
		}
	})
}

// The attacks, and what comes of each. None may cost a mint.
func TestAttacksAreRefused(t *testing.T) {
	externalClient := func(r *http.Request) { r.RemoteAddr = "203.0.113.9:1234" }
	for name, test := range map[string]struct {
		method, caller string
		changes        []func(*http.Request)
		status         int
		code           string
	}{
		"no credentials":                     {method: http.MethodPost, status: 401, code: "unauthenticated"},
		"a header from outside the networks": {method: http.MethodPost, caller: "ada", changes: []func(*http.Request){externalClient}, status: 401, code: "unauthenticated"},
		"such a header, and a forwarded address inside": {
			method: http.MethodPost, caller: "ada", changes: []func(*http.Request){externalClient, header("X-Forwarded-For", "10.1.2.3")}, status: 401, code: "unauthenticated"},
		"a second header in addition to the proxy's": {
			method: http.MethodPost, caller: "ada", changes: []func(*http.Request){header("X-User", "mallory")}, status: 401, code: "unauthenticated"},
		"an endless name": {method: http.MethodPost, caller: strings.Repeat("a", 512+1), status: 401, code: "unauthenticated"},
		"a page from elsewhere": {
			method: http.MethodPost, caller: "ada", changes: []func(*http.Request){header("Origin", "https://evil.example")}, status: 403, code: "origin"},
		"a page from elsewhere that asks with GET": {
			method: http.MethodGet, caller: "ada", changes: []func(*http.Request){header("Origin", "https://evil.example")}, status: 403, code: "origin"},
		"a page without an origin": {
			method: http.MethodPost, caller: "ada", changes: []func(*http.Request){header("Origin", "null")}, status: 403, code: "origin"},
		"a link from elsewhere": {
			method: http.MethodGet, caller: "ada", changes: []func(*http.Request){header("Sec-Fetch-Site", "cross-site")}, status: 403, code: "origin"},
		"an origin that starts like an allowed one": {
			method: http.MethodPost, caller: "ada", changes: []func(*http.Request){header("Origin", "https://partner.example.evil.example")}, status: 403, code: "origin"},
		"a huge body": {method: http.MethodPost, caller: "ada", changes: []func(*http.Request){body(1<<30, false)}, status: 413, code: "too_large"},
		"a huge body without a Content-Length": {
			method: http.MethodPost, caller: "ada", changes: []func(*http.Request){body(1<<20, true)}, status: 413, code: "too_large"},
		"a body that does not arrive": {method: http.MethodPost, caller: "ada", changes: []func(*http.Request){func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(iotest.ErrReader(os.ErrDeadlineExceeded)), 10
		}}, status: 400, code: "incomplete"},
		"another method": {method: http.MethodDelete, caller: "ada", status: 405, code: "method"},
		"another path": {
			method: http.MethodGet, caller: "ada", changes: []func(*http.Request){func(r *http.Request) { r.URL.Path = "/etc/passwd" }}, status: 404, code: "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(s *config.TokenServer) { s.AllowedOrigins = []string{"https://partner.example"} }, func(w *world) {
				w.want(w.ask(test.method, test.caller, test.changes...), test.status, test.code)
				w.wantMints(0)
			})
		})
	}
}

// failing is a source whose error contains more than it should.
type failing struct{ reported string }

func (f failing) token(context.Context, string) (issued, error) {
	return issued{}, &unavailableError{reasonReactorUnavailable, time.Second, errors.New("an answer that cannot be read: " + f.reported)}
}

func TestASecretInAnErrorIsNeitherInTheLogNorInTheAnswer(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		secret := w.ask(http.MethodPost, "ada").JWT
		settings := parsed(t, "--shared-token-dir=/nowhere", "--allow-anonymous")
		route, err := newRouteWith(settings, failing{secret + " " + firstKey}, prometheus.NewRegistry(), slog.New(slog.NewJSONHandler(w.logged, nil)))
		if err != nil {
			t.Fatal(err)
		}
		got := askOf(t, route, http.MethodPost, "")
		w.want(got, http.StatusServiceUnavailable, reasonReactorUnavailable)
		if !strings.Contains(w.logged.String(), "an answer that cannot be read") || strings.Contains(w.logged.String(), secret) || strings.Contains(w.logged.String(), firstKey) {
			t.Errorf("the log: %s", w.logged)
		}
		if strings.Contains(got.Message, "cannot be read") {
			t.Errorf("the details are the operator's business: %s", got.Message)
		}
	})
}

// body is a body of a number of bytes.
func body(size int64, chunked bool) func(*http.Request) {
	return func(request *http.Request) {
		request.Body = io.NopCloser(io.LimitReader(endless{}, size))
		request.ContentLength = size
		if chunked {
			request.ContentLength = -1
		}
	}
}

type endless struct{}

func (endless) Read(into []byte) (int, error) {
	for i := range into {
		into[i] = ' '
	}
	return len(into), nil
}

func TestPagesOfTheServersOwnOriginAndOfTheListMayAsk(t *testing.T) {
	inWorld(t, func(s *config.TokenServer) { s.AllowedOrigins = []string{"https://partner.example"} }, func(w *world) {
		own := w.ask(http.MethodPost, "ada", header("Origin", "https://app.example"), header("Sec-Fetch-Site", "same-origin"))
		w.want(own, http.StatusOK, "")
		if allowed := own.header.Get("Access-Control-Allow-Origin"); allowed != "" {
			t.Errorf("another origin may read an answer to the own one: %s", allowed)
		}
		partner := w.ask(http.MethodPost, "ada", header("Origin", "https://partner.example"), header("Sec-Fetch-Site", "cross-site"))
		w.want(partner, http.StatusOK, "")
		if allowed := partner.header.Get("Access-Control-Allow-Origin"); allowed != "https://partner.example" {
			t.Errorf("Access-Control-Allow-Origin: %s", allowed)
		}
		preflight := w.ask(http.MethodOptions, "", header("Origin", "https://partner.example"),
			header("Access-Control-Request-Method", "POST"), header("Access-Control-Request-Headers", "authorization"))
		if got := preflight.header.Get("Access-Control-Allow-Headers"); preflight.status != http.StatusNoContent || !strings.EqualFold(got, "authorization") {
			t.Errorf("a preflight gets %d, %q", preflight.status, got)
		}
		evil := w.ask(http.MethodOptions, "", header("Origin", "https://evil.example"), header("Access-Control-Request-Method", "POST"))
		if got := evil.header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("a preflight from elsewhere is allowed for %q", got)
		}
	})
}

func TestOneCallerCannotUseUpWhatOthersNeed(t *testing.T) {
	inWorld(t, func(s *config.TokenServer) { s.CallerRequestsPerMinute = 5 }, func(w *world) {
		for range 5 {
			w.want(w.ask(http.MethodPost, "ada"), http.StatusOK, "")
		}
		limited := w.ask(http.MethodPost, "ada")
		w.want(limited, http.StatusTooManyRequests, "too_many_requests")
		if got := limited.header.Get("Retry-After"); got != "12" {
			t.Errorf("Retry-After: %s, want 12: five a minute", got)
		}
		w.want(w.ask(http.MethodPost, "grace"), http.StatusOK, "")
		w.pass(12 * time.Second)
		w.want(w.ask(http.MethodPost, "ada"), http.StatusOK, "")
	})
}

func TestAllCallersTogetherAreLimited(t *testing.T) {
	inWorld(t, func(s *config.TokenServer) { s.RequestsPerSecond = 3 }, func(w *world) {
		for i := range 3 {
			w.want(w.ask(http.MethodPost, fmt.Sprint("caller", i)), http.StatusOK, "")
		}
		w.want(w.ask(http.MethodPost, "ada"), http.StatusTooManyRequests, "too_many_requests")
		w.pass(time.Second)
		w.want(w.ask(http.MethodPost, "ada"), http.StatusOK, "")
	})
}

// The scenario: one client sends ten thousand requests without credentials, or from outside the proxy's networks, or one signed-in visitor
// reloads a page all the time. In the same second, a visitor whom the proxy names asks for a token.
func TestAFloodOfRefusedRequestsTakesNothingFromCallers(t *testing.T) {
	for name, ask := range map[string]func(w *world) answer{
		"without credentials": func(w *world) answer { return w.ask(http.MethodPost, "") },
		"with the header of the proxy from elsewhere": func(w *world) answer {
			return w.ask(http.MethodPost, "ada", func(r *http.Request) { r.RemoteAddr = "203.0.113.9:1" })
		},
		"of one caller": func(w *world) answer { return w.ask(http.MethodPost, "mallory") },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(s *config.TokenServer) { s.RequestsPerSecond, s.CallerRequestsPerMinute = 100, 30 }, func(w *world) {
				for range 10_000 {
					ask(w)
				}
				w.want(w.ask(http.MethodPost, "ada"), http.StatusOK, "")
			})
		})
	}
}

func TestAnonymousVisitorsAreLimitedByTheirAddress(t *testing.T) {
	anonymous := func(s *config.TokenServer) { s.ProxyHeader, s.AllowAnonymous, s.CallerRequestsPerMinute = "", true, 1 }
	from := func(address string, forwarded ...string) []func(*http.Request) {
		changes := []func(*http.Request){func(r *http.Request) { r.RemoteAddr = address }}
		for _, entry := range forwarded {
			changes = append(changes, header("X-Forwarded-For", entry))
		}
		return changes
	}
	for name, test := range map[string]struct {
		second []func(*http.Request) // after 192.0.2.1 behind the proxy
		status int
	}{
		"the same address":                               {from(proxy, "192.0.2.1"), 429},
		"the same, which claims another before it":       {from(proxy, "198.51.100.7, 192.0.2.1"), 429},
		"the same, which claims another in a header":     {from(proxy, "198.51.100.7", "192.0.2.1"), 429},
		"the same, behind two proxies":                   {from(proxy, "192.0.2.1, 10.9.9.9"), 429},
		"another address":                                {from(proxy, "192.0.2.2"), 200},
		"from outside, what it says of itself is nought": {from("203.0.113.9:1", "192.0.2.1"), 200},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, anonymous, func(w *world) {
				w.want(w.ask(http.MethodPost, "", from(proxy, "192.0.2.1")...), http.StatusOK, "")
				if got := w.ask(http.MethodPost, "", test.second...); got.status != test.status {
					t.Errorf("got %d, want %d", got.status, test.status)
				}
			})
		})
	}
	t.Run("one IPv6 network is one visitor", func(t *testing.T) {
		inWorld(t, anonymous, func(w *world) {
			w.want(w.ask(http.MethodPost, "", from("[2001:db8::1]:1")...), http.StatusOK, "")
			w.want(w.ask(http.MethodPost, "", from("[2001:db8::2]:1")...), http.StatusTooManyRequests, "too_many_requests")
			w.want(w.ask(http.MethodPost, "", from("[2001:db8:0:1::1]:1")...), http.StatusOK, "")
		})
	})
}

// warnings are the lines of the log that are not for debugging and are about this code.
func (w *world) warnings(code string) []string {
	w.Helper()
	var found []string
	for line := range strings.Lines(w.logged.String()) {
		if strings.Contains(line, `"level":"WARN"`) && strings.Contains(line, `"code":"`+code+`"`) {
			found = append(found, line)
		}
	}
	return found
}

// The scenario: more callers ask than Reactor may be asked for, all day long. Each of them is refused, and a line for each would fill the disk
// of the node. The operators must still read that callers are refused, and how many.
func TestManyRefusalsWithOneReasonAreOneWarningAMinute(t *testing.T) {
	inWorld(t, func(s *config.TokenServer) { s.MintQPS, s.MintBurst = 0.001, 1 }, func(w *world) {
		w.want(w.ask(http.MethodPost, "ada"), http.StatusOK, "")
		for i := range 1000 {
			w.want(w.ask(http.MethodPost, fmt.Sprint("caller", i)), http.StatusServiceUnavailable, reasonBusy)
		}
		if got := w.warnings(reasonBusy); len(got) != 1 {
			t.Errorf("%d refusals made %d warnings", 1000, len(got))
		}
		w.pass(warningInterval)
		w.want(w.ask(http.MethodPost, "grace"), http.StatusServiceUnavailable, reasonBusy)
		if got := w.warnings(reasonBusy); len(got) != 2 || !strings.Contains(got[1], `"notLogged":999`) {
			t.Errorf("a minute later: %v", got)
		}
		if err := os.Remove(w.keyFile); err != nil { // another reason has its own warning
			t.Fatal(err)
		}
		w.want(w.ask(http.MethodPost, "linus"), http.StatusServiceUnavailable, reasonKeyRejected)
		if got := w.warnings(reasonKeyRejected); len(got) != 1 {
			t.Errorf("another reason in the same minute: %v", got)
		}
	})
}

// gone is a source before which callers lose their patience.
type gone struct{}

func (gone) token(ctx context.Context, _ string) (issued, error) {
	<-ctx.Done()
	return issued{}, ctx.Err()
}

// Anybody can ask and go away.
func TestACallerThatGoesAwayCausesNoWarning(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		settings := parsed(t, "--shared-token-dir=/nowhere", "--allow-anonymous")
		route, err := newRouteWith(settings, gone{}, prometheus.NewRegistry(), slog.New(slog.NewJSONHandler(w.logged, nil)))
		if err != nil {
			t.Fatal(err)
		}
		goesAway := func(request *http.Request) {
			ctx, cancel := context.WithCancel(request.Context())
			cancel()
			*request = *request.WithContext(ctx)
		}
		w.want(askOf(w.T, route, http.MethodPost, "", goesAway), http.StatusServiceUnavailable, "gone")
		if w.logged.Len() > 0 {
			t.Errorf("the log: %s", w.logged)
		}
	})
}
