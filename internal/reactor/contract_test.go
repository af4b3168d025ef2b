package reactor_test

import (
	"cmp"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

const (
	emulatorKey = reactor.Secret("rk_contract_0123456789abcdef")
	unknownKey  = reactor.Secret("rk_contract_unknown_0123456789")

	// minLifetime is the lifetime of the requested tokens. It is short, because the real service may grant them.
	minLifetime = time.Minute
)

// service is the API under test.
type service struct {
	baseURL   string
	key       reactor.Secret
	model     string
	transport http.RoundTripper // nil for the client's own
}

// contractCase is a call and what must come of it.
type contractCase struct {
	name string

	// emulatorOnly is why the case is not run against the real service. If it is empty, the case is run.
	emulatorOnly string

	// bubble means that the case waits, and so needs a fake clock.
	bubble bool

	// prepare sets the emulator up.
	prepare func(*emulator.Emulator)

	// request is the request for a token. If nil, it has minLifetime and no scope.
	request func(service) reactor.MintRequest

	// The expected failure; ClassNone if a token is expected.
	class      reactor.Class
	status     int
	retryAfter time.Duration

	// check checks the token.
	check func(*testing.T, reactor.Token)
}

const (
	needsFault   = "it needs a fault"
	needsControl = "it needs control over the service's keys, limits or clock"
	wouldLast    = "it would leave a token of six hours behind"
)

func scoped(lifetime time.Duration, change func(*reactor.Scope)) func(service) reactor.MintRequest {
	return func(by service) reactor.MintRequest {
		scope := &reactor.Scope{Models: []string{by.model}, MaxSessions: 1, MaxSessionDuration: time.Minute}
		if change != nil {
			change(scope)
		}
		return reactor.MintRequest{APIKey: by.key, Lifetime: lifetime, Scope: scope}
	}
}

func faulty(faults ...emulator.Fault) func(*emulator.Emulator) {
	return func(e *emulator.Emulator) { e.SetFaults(faults...) }
}

// lives expects a lifetime; servers cut parts of seconds off here and there.
func lives(want time.Duration) func(*testing.T, reactor.Token) {
	return func(t *testing.T, token reactor.Token) {
		t.Helper()
		if got := token.Lifetime(); (got - want).Abs() > 2*time.Second {
			t.Errorf("the token lives for %s, want %s", got, want)
		}
	}
}

// skewed expects the server's clock to be off by this much.
func skewed(want time.Duration) func(*testing.T, reactor.Token) {
	return func(t *testing.T, token reactor.Token) {
		t.Helper()
		if (token.Skew - want).Abs() > time.Second {
			t.Errorf("the skew is %s, want %s", token.Skew, want)
		}
		lives(minLifetime)(t, token)
	}
}

// contract is what the client relies on. The cases without a reason in emulatorOnly hold for the real service too.
var contract = []contractCase{
	{name: "a token has the requested lifetime", check: lives(minLifetime)},
	{name: "a token may be scoped", request: scoped(minLifetime, nil), check: lives(minLifetime)},
	{name: "a key that is not known is refused", class: reactor.ClassKeyRefused, status: 401,
		request: func(service) reactor.MintRequest {
			return reactor.MintRequest{APIKey: unknownKey, Lifetime: minLifetime}
		}},
	{name: "a wildcard for models is refused", class: reactor.ClassRequestRefused, status: 400,
		request: scoped(minLifetime, func(scope *reactor.Scope) { scope.Models = []string{"*"} })},
	{name: "more than 500 sessions are refused", class: reactor.ClassRequestRefused, status: 400,
		request: scoped(minLifetime, func(scope *reactor.Scope) { scope.MaxSessions = 501 })},
	{name: "sessions of more than a day are refused", class: reactor.ClassRequestRefused, status: 400,
		emulatorOnly: "the bound is not documented by the service itself",
		request:      scoped(minLifetime, func(scope *reactor.Scope) { scope.MaxSessionDuration = 24*time.Hour + time.Second })},

	{name: "a requested lifetime above six hours is shortened without an error", emulatorOnly: wouldLast,
		request: scoped(24*time.Hour, nil), check: lives(6 * time.Hour)},
	{name: "a lower ceiling shortens too", emulatorOnly: needsControl,
		prepare: func(e *emulator.Emulator) { e.SetLifetimes(30*time.Second, 30*time.Second) }, check: lives(30 * time.Second)},
	{name: "a key that was revoked is refused", emulatorOnly: needsControl, class: reactor.ClassKeyRefused, status: 401,
		prepare: func(e *emulator.Emulator) { e.RevokeKey(emulatorKey.Reveal()) }},
	{name: "a server that is ahead", emulatorOnly: needsControl,
		prepare: func(e *emulator.Emulator) { e.SetDateSkew(15 * time.Minute) }, check: skewed(15 * time.Minute)},
	{name: "a server that is behind", emulatorOnly: needsControl,
		prepare: func(e *emulator.Emulator) { e.SetDateSkew(-8 * time.Hour) }, check: skewed(-8 * time.Hour)},

	{name: "an answer without Date", emulatorOnly: needsFault, prepare: faulty(emulator.Fault{OmitDate: true}), check: skewed(0)},
	{name: "a Date in the token's past makes it live longer than it will", emulatorOnly: needsFault,
		prepare: faulty(emulator.Fault{DateSkew: -time.Hour}), check: lives(minLifetime + time.Hour)},
	{name: "a Date after the token's expiry", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 200,
		prepare: faulty(emulator.Fault{DateSkew: time.Hour})},
	{name: "a limit with a wait in seconds", emulatorOnly: needsFault, class: reactor.ClassKeyLimited, status: 429, retryAfter: 30 * time.Second,
		prepare: faulty(emulator.Fault{Status: 429, RetryAfter: 30 * time.Second})},
	{name: "a limit with a date, on a clock that is off", emulatorOnly: needsFault, class: reactor.ClassKeyLimited, status: 429, retryAfter: time.Minute,
		prepare: func(e *emulator.Emulator) {
			e.SetDateSkew(time.Hour)
			e.SetFaults(emulator.Fault{Status: 429, RetryAfter: time.Minute, RetryAfterAsDate: true})
		}},
	{name: "a limit without a wait", emulatorOnly: needsFault, class: reactor.ClassKeyLimited, status: 429, prepare: faulty(emulator.Fault{Status: 429})},
	{name: "a wait of years is a day", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 503, retryAfter: 24 * time.Hour,
		prepare: faulty(emulator.Fault{Status: 503, RetryAfter: 10000 * time.Hour})},
	{name: "403", emulatorOnly: needsFault, class: reactor.ClassRequestRefused, status: 403, prepare: faulty(emulator.Fault{Status: 403})},
	{name: "404", emulatorOnly: needsFault, class: reactor.ClassRequestRefused, status: 404, prepare: faulty(emulator.Fault{Status: 404})},
	{name: "408", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 408, prepare: faulty(emulator.Fault{Status: 408})},
	{name: "422", emulatorOnly: needsFault, class: reactor.ClassRequestRefused, status: 422, prepare: faulty(emulator.Fault{Status: 422})},
	{name: "500", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 500, prepare: faulty(emulator.Fault{Status: 500})},
	{name: "a refusal whose body is a proxy's page", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 403,
		prepare: faulty(emulator.Fault{Status: 403, Body: new("<html>Forbidden</html>")})},
	{name: "a refused key whose body is a proxy's page", emulatorOnly: needsFault, class: reactor.ClassKeyRefused, status: 401,
		prepare: faulty(emulator.Fault{Status: 401, Body: new("<html>Unauthorized</html>")})},
	{name: "a limit whose wait is in the body", emulatorOnly: needsFault, class: reactor.ClassKeyLimited, status: 429, retryAfter: 2 * time.Second,
		prepare: faulty(emulator.Fault{Status: 429, Body: new(`{"error":"quota_exceeded","retry_after_seconds":2}`)})},
	{name: "a page whose body quotes the key", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 400,
		prepare: faulty(emulator.Fault{Status: 400, Body: new("bad key " + emulatorKey.Reveal())})},
	{name: "a refusal whose body is cut", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 502, prepare: faulty(emulator.Fault{Status: 502, Cut: true})},
	{name: "a redirect to another host", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 307,
		prepare: faulty(emulator.Fault{RedirectTo: "http://elsewhere.test/tokens"})},
	{name: "a redirect on the same host", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 302,
		prepare: faulty(emulator.Fault{RedirectTo: "/tokens", Status: 302, Times: 1})},
	{name: "a page instead of JSON", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 200, prepare: faulty(emulator.Fault{Body: new("<html>sign in</html>")})},
	{name: "an empty answer", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 200, prepare: faulty(emulator.Fault{Body: new("")})},
	{name: "another success than 200", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 204, prepare: faulty(emulator.Fault{Status: 204})},
	{name: "an answer without jwt", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 200, prepare: faulty(emulator.Fault{OmitJWT: true})},
	{name: "an answer without expires_at", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 200, prepare: faulty(emulator.Fault{OmitExpiresAt: true})},
	{name: "an answer that is cut", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 200, prepare: faulty(emulator.Fault{Cut: true})},
	{name: "an answer of just 1 MiB", emulatorOnly: needsFault, prepare: faulty(emulator.Fault{PadTo: 1 << 20}), check: lives(minLifetime)},
	{name: "an answer of more than 1 MiB", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 200, prepare: faulty(emulator.Fault{PadTo: 1<<20 + 1})},
	{name: "a token that has expired", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 200, prepare: faulty(emulator.Fault{ExpiresIn: new(-time.Second)})},
	{name: "a token that is about to expire", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 200, prepare: faulty(emulator.Fault{ExpiresIn: new(5 * time.Second)})},
	{name: "an answer that takes ten seconds", emulatorOnly: needsFault, bubble: true, prepare: faulty(emulator.Fault{Latency: 10 * time.Second}), check: lives(minLifetime)},
	{name: "an answer that takes too long", emulatorOnly: needsFault, bubble: true, class: reactor.ClassUnavailable, prepare: faulty(emulator.Fault{Latency: 16 * time.Second})},
	{name: "no answer", emulatorOnly: needsFault, bubble: true, class: reactor.ClassUnavailable, prepare: faulty(emulator.Fault{Hang: true})},
}

// run makes the call and compares.
func (c contractCase) run(t *testing.T, by service) {
	t.Helper()
	client, err := reactor.NewClient(reactor.Options{BaseURL: by.baseURL, UserAgent: "reactor-operator/contract-test", Transport: by.transport})
	if err != nil {
		t.Fatal(err)
	}
	request := reactor.MintRequest{APIKey: by.key, Lifetime: minLifetime}
	if c.request != nil {
		request = c.request(by)
	}
	token, err := client.Mint(t.Context(), request)
	if c.class != reactor.ClassNone {
		c.compareFailure(t, err, request.APIKey)
		return
	}
	if err != nil {
		t.Fatalf("no token: %v", err)
	}
	if token.JWT.Reveal() == "" || token.ReceivedAt.IsZero() {
		t.Errorf("an incomplete token: %v", token)
	}
	if c.check != nil {
		c.check(t, token)
	}
}

func (c contractCase) compareFailure(t *testing.T, err error, key reactor.Secret) {
	t.Helper()
	failure, ok := errors.AsType[*reactor.Error](err)
	if !ok {
		t.Fatalf("the error is %T: %v", err, err)
	}
	if failure.Class != c.class || failure.StatusCode != c.status || failure.RetryAfter != c.retryAfter {
		t.Errorf("%s, status %d, retry after %s; want %s, %d, %s: %v",
			failure.Class, failure.StatusCode, failure.RetryAfter, c.class, c.status, c.retryAfter, err)
	}
	if text := err.Error(); strings.Contains(text, key.Reveal()) || strings.Contains(text, "eyJ") || strings.ContainsAny(text, "\r\n") || len(text) > 640 {
		t.Errorf("the error is not fit for a condition: %s", text)
	}
}

// runEmulated runs the case against a new emulator. However the call ends, it was one call.
func (c contractCase) runEmulated(t *testing.T, serve func(*emulator.Emulator) (service, func())) {
	t.Helper()
	e := emulator.New(emulator.Options{Keys: []string{emulatorKey.Reveal()}})
	if c.prepare != nil {
		c.prepare(e)
	}
	by, end := serve(e)
	defer end()
	c.run(t, by)
	if calls := len(e.Ledger().Calls); calls != 1 {
		t.Errorf("%d calls were made, want 1", calls)
	}
}

func TestContractWithTheEmulatorInMemory(t *testing.T) {
	for _, test := range contract {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.runEmulated(t, func(e *emulator.Emulator) (service, func()) {
					return service{"http://emulator.test", emulatorKey, "reactor/helios", e.Transport()}, func() {}
				})
			})
		})
	}
}

func TestContractWithTheEmulatorOverASocket(t *testing.T) {
	for _, test := range contract {
		if test.bubble {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			test.runEmulated(t, func(e *emulator.Emulator) (service, func()) {
				server := httptest.NewServer(e)
				return service{server.URL, emulatorKey, "reactor/helios", nil}, server.Close
			})
		})
	}
}

// TestContractWithTheRealService runs when REACTOR_API_KEY is set. It mints two tokens of one minute and starts no
// session. REACTOR_API_URL and REACTOR_MODEL replace the service and the model.
func TestContractWithTheRealService(t *testing.T) {
	if os.Getenv("REACTOR_API_KEY") == "" {
		t.Skip("REACTOR_API_KEY is not set")
	}
	for _, test := range contract {
		t.Run(test.name, func(t *testing.T) {
			if test.emulatorOnly != "" {
				t.Skip("only against the emulator: " + test.emulatorOnly)
			}
			test.run(t, realService())
		})
	}
}

// realService is the service that the environment names.
func realService() service {
	return service{
		baseURL: cmp.Or(os.Getenv("REACTOR_API_URL"), reactor.DefaultBaseURL),
		key:     reactor.Secret(os.Getenv("REACTOR_API_KEY")),
		model:   cmp.Or(os.Getenv("REACTOR_MODEL"), "reactor/helios"),
	}
}
