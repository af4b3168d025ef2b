package reactor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// sessionCase is what happens to a session before the client asks about it and ends it, and what must come of that.
type sessionCase struct {
	name string

	// emulatorOnly is why the case is not run against the real service. If it is empty, the case is run.
	emulatorOnly string

	// before happens to the session first.
	before func(t *testing.T, client *reactor.Client, token reactor.Secret, e *emulator.Emulator, id string)

	// with replaces the token that started the session.
	with func(t *testing.T, client *reactor.Client, by service, token reactor.Secret) reactor.Secret

	// id replaces the session's id.
	id string

	over   bool          // the session is over when it is looked up
	class  reactor.Class // of the failure to look it up and of that to end it; ClassNone for none
	status int
}

// closesWithin is how long after a DELETE a session is closed.
const closesWithin = 2 * time.Second

// sessionContract is what the operator relies on when it ends sessions, so that Reactor stops billing them.
var sessionContract = []sessionCase{
	{name: "a session that lives is ended"},
	{name: "a session that was ended is over, and ending it again is no failure", over: true,
		before: func(t *testing.T, client *reactor.Client, token reactor.Secret, _ *emulator.Emulator, id string) {
			t.Helper()
			if err := client.EndSession(t.Context(), token, id); err != nil {
				t.Error(err)
			}
			time.Sleep(closesWithin)
		}},
	{name: "an unknown session is over", id: "00000000-0000-4000-8000-000000000000", over: true},
	{name: "a renewed token with a scope is another grant", class: reactor.ClassRequestRefused, status: 403,
		with: func(t *testing.T, client *reactor.Client, by service, _ reactor.Secret) reactor.Secret {
			t.Helper()
			return mintFor(t, client, by)
		}},
	{name: "a token that is none is refused", class: reactor.ClassKeyRefused, status: 401,
		with: func(*testing.T, *reactor.Client, service, reactor.Secret) reactor.Secret {
			return "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"
		}},
	{name: "a token without a scope may end what another one started",
		with: func(t *testing.T, client *reactor.Client, by service, _ reactor.Secret) reactor.Secret {
			t.Helper()
			token, err := client.Mint(t.Context(), reactor.MintRequest{APIKey: by.key, Lifetime: minLifetime})
			if err != nil {
				t.Fatal(err)
			}
			return token.JWT
		}},
	{name: "a session that waits for its user is not over", emulatorOnly: needsControl,
		before: func(t *testing.T, _ *reactor.Client, token reactor.Secret, e *emulator.Emulator, id string) {
			t.Helper()
			time.Sleep(time.Second)
			offered, err := send(t.Context(), e.Transport(), "POST", "http://emulator.test/sessions/"+id+"/transport/webrtc/sdp_params", token, `{"sdp_offer":"v=0"}`)
			if err != nil || offered.StatusCode != http.StatusAccepted || !e.Drop(id) {
				t.Errorf("the connection could not be made and dropped: %v %v", offered, err)
			}
		}},
	{name: "a session whose time is over is over", emulatorOnly: "it waits for a minute", over: true,
		before: func(*testing.T, *reactor.Client, reactor.Secret, *emulator.Emulator, string) {
			time.Sleep(30 * time.Second)
		}},
	{name: "a token that has expired is refused", emulatorOnly: "it waits for a minute", class: reactor.ClassKeyRefused, status: 401,
		before: func(*testing.T, *reactor.Client, reactor.Secret, *emulator.Emulator, string) {
			time.Sleep(2 * minLifetime)
		}},
	{name: "a service that is away", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 503,
		before: faultySessions(emulator.Fault{Status: 503})},
	{name: "a service that does not answer", emulatorOnly: needsFault, class: reactor.ClassUnavailable,
		before: faultySessions(emulator.Fault{Hang: true})},
	{name: "a limit", emulatorOnly: needsFault, class: reactor.ClassKeyLimited, status: 429,
		before: faultySessions(emulator.Fault{Status: 429})},
	{name: "a refusal that is a proxy's page", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 403,
		before: faultySessions(emulator.Fault{Status: 403, Body: new("<html>Forbidden</html>")})},
	{name: "a redirect", emulatorOnly: needsFault, class: reactor.ClassUnavailable, status: 307,
		before: faultySessions(emulator.Fault{RedirectTo: "http://elsewhere.test/"})},
}

func faultySessions(fault emulator.Fault) func(*testing.T, *reactor.Client, reactor.Secret, *emulator.Emulator, string) {
	return func(_ *testing.T, _ *reactor.Client, _ reactor.Secret, e *emulator.Emulator, _ string) {
		get, del := fault, fault
		get.Route, del.Route = "GET /sessions/{id}", "DELETE /sessions/{id}"
		e.SetFaults(get, del)
	}
}

// mintFor returns a token that may start one session of half a minute.
func mintFor(t *testing.T, client *reactor.Client, by service) reactor.Secret {
	t.Helper()
	request := scoped(minLifetime, func(scope *reactor.Scope) { scope.MaxSessionDuration = 30 * time.Second })(by)
	token, err := client.Mint(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return token.JWT
}

// send sends what the operator's client never does: only programs start sessions.
func send(ctx context.Context, transport http.RoundTripper, method, url string, token reactor.Secret, body string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	request.Header.Set("Content-Type", "application/json")
	return (&http.Client{Transport: transport}).Do(request)
}

// startSession starts a session, and returns its id.
func startSession(t *testing.T, by service, token reactor.Secret) string {
	t.Helper()
	response, err := send(t.Context(), by.transport, http.MethodPost, by.baseURL+"/sessions", token, fmt.Sprintf(
		`{"model":{"name":%q},"client_info":{"sdk_version":"2.9.0","sdk_type":"js"},"supported_transports":[{"protocol":"webrtc","version":"1.0"}]}`, by.model))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var started struct {
		ID string `json:"session_id"`
	}
	if err := json.NewDecoder(response.Body).Decode(&started); err != nil || !reactor.IsSessionID(started.ID) {
		t.Fatalf("no session was started: status %d, %v", response.StatusCode, err)
	}
	return started.ID
}

// run starts a session, looks it up and ends it.
func (c sessionCase) run(t *testing.T, by service, e *emulator.Emulator) {
	t.Helper()
	client, err := reactor.NewClient(reactor.Options{BaseURL: by.baseURL, UserAgent: "reactor-operator/contract-test", Transport: by.transport})
	if err != nil {
		t.Fatal(err)
	}
	token := mintFor(t, client, by)
	id := startSession(t, by, token)
	defer func() { // even if the case fails, because a session costs money
		if err := client.EndSession(context.WithoutCancel(t.Context()), token, id); err != nil && c.emulatorOnly == "" {
			t.Error(err)
		}
	}()
	if c.before != nil {
		c.before(t, client, token, e, id)
	}
	about, with := id, token
	if c.id != "" {
		about = c.id
	}
	if c.with != nil {
		with = c.with(t, client, by, token)
	}
	session, err := client.Session(t.Context(), with, about)
	c.compare(t, "looking up a session", err)
	if err == nil && (session.ID != about || session.Over() != c.over) {
		t.Errorf("%+v, over: %t, want %t", session, session.Over(), c.over)
	}
	c.compare(t, "ending a session", client.EndSession(t.Context(), with, about))
	if c.class == reactor.ClassNone {
		time.Sleep(closesWithin)
		if session, err := client.Session(t.Context(), with, about); err != nil || !session.Over() {
			t.Errorf("after its end it is %+v, %v", session, err)
		}
	}
}

func (c sessionCase) compare(t *testing.T, operation string, err error) {
	t.Helper()
	if c.class == reactor.ClassNone {
		if err != nil {
			t.Error(err)
		}
		return
	}
	failure, ok := errors.AsType[*reactor.Error](err)
	if !ok || failure.Class != c.class || failure.StatusCode != c.status {
		t.Errorf("%T %v, want %s, %d", err, err, c.class, c.status)
		return
	}
	if text := err.Error(); !strings.HasPrefix(text, operation+": ") || strings.Contains(text, "eyJ") {
		t.Errorf("the error is reported as %s", text)
	}
}

func TestSessionContractWithTheEmulator(t *testing.T) {
	for _, test := range sessionContract {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := emulator.New(emulator.Options{Keys: []string{emulatorKey.Reveal()}})
				test.run(t, service{"http://emulator.test", emulatorKey, "reactor/helios", e.Transport()}, e)
				if test.class == reactor.ClassNone && len(e.Ledger().Open()) != 0 && test.id == "" {
					t.Error("the session is still billed")
				}
			})
		})
	}
}

// TestSessionContractWithTheRealService runs when REACTOR_API_KEY is set, and REACTOR_CONTRACT_SESSIONS too, since sessions cost
// money: it starts one for each case, of at most half a minute, and ends it immediately.
func TestSessionContractWithTheRealService(t *testing.T) {
	if os.Getenv("REACTOR_API_KEY") == "" || os.Getenv("REACTOR_CONTRACT_SESSIONS") == "" {
		t.Skip("REACTOR_API_KEY and REACTOR_CONTRACT_SESSIONS are not both set")
	}
	for _, test := range sessionContract {
		t.Run(test.name, func(t *testing.T) {
			if test.emulatorOnly != "" {
				t.Skip("only against the emulator: " + test.emulatorOnly)
			}
			test.run(t, realService(), nil)
		})
	}
}
