package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

const key = "rk_worker_0123456789"

func TestEachWayInWhichASessionEnds(t *testing.T) {
	for name, test := range map[string]struct {
		settings settings
		fault    emulator.Fault
		stop     bool
		apiKey   string // instead of a token in a file
		code     int
		open     int
		says     string
	}{
		"its time is over":  {code: 0, says: `{"sessionId":`},
		"with the API key":  {apiKey: key, code: 0, says: `{"sessionId":`},
		"another exit code": {settings: settings{exit: 7}, code: 7, says: `{"sessionId":`},
		"stopped by a signal":     {settings: settings{hold: time.Hour}, stop: true, code: 143, says: `{"sessionId":`},
		"left open":         {settings: settings{abandon: true}, code: 0, open: 1, says: `{"sessionId":`},
		"a refused key":     {apiKey: "rk_unknown_0123456789", code: 1, says: `{"error":{"code":"UNAUTHORIZED","status":401}}`},
		"a rate limit": {fault: emulator.Fault{Route: "POST /sessions", Refusal: emulator.RefusalNoCapacity}, code: 1,
			says: `{"error":{"code":"RATE_LIMITED","status":429,"message":"{\"error\":\"no available capacity: no available servers to handle the request\"}"}}`},
		"depleted credits": {fault: emulator.Fault{Route: "POST /sessions", Refusal: emulator.RefusalCreditsDepleted}, code: 1,
			says: `{"error":{"code":"BAD_REQUEST","status":402,"message":"{\"error\":\"credits_depleted\",`},
		"a refused token":               {fault: emulator.Fault{Route: "POST /sessions", Status: http.StatusForbidden}, code: 1, says: `{"error":{"code":"UNAUTHORIZED","status":403}}`},
		"Reactor is away":               {fault: emulator.Fault{Route: "POST /sessions", Status: http.StatusBadGateway}, code: 1, says: `{"error":{"code":"SERVER_ERROR","status":502}}`},
		"a request that makes no sense": {fault: emulator.Fault{Route: "POST /sessions", Status: http.StatusBadRequest}, code: 1, says: `{"error":{"code":"BAD_REQUEST","status":400}}`},
		"an answer that is cut":         {fault: emulator.Fault{Route: "POST /sessions", Cut: true}, code: 1, open: 1, says: `{"error":{"code":"NETWORK_ERROR"}}`},
		"requested to fail":                  {settings: settings{fail: "QUOTA_EXCEEDED"}, code: 1, says: `{"error":{"code":"QUOTA_EXCEEDED"}}`},
		"another client ended it":      {fault: emulator.Fault{Route: "DELETE /sessions/{id}", Status: http.StatusNotFound}, code: 0, open: 1, says: `{"sessionId":`},
	} {
		t.Run(name, func(t *testing.T) {
			reactor := emulator.New(emulator.Options{Keys: []string{key}})
			reactor.SetSessionTimes(0, 0, 0)
			server := httptest.NewServer(reactor)
			defer server.Close()
			t.Setenv("REACTOR_API_URL", server.URL)
			t.Setenv("REACTOR_MODEL", "reactor/helios")
			t.Setenv("REACTOR_API_KEY", test.apiKey)
			t.Setenv("REACTOR_JWT_FILE", "")
			if test.apiKey == "" {
				t.Setenv("REACTOR_JWT_FILE", tokenFile(t, server.URL))
			}
			if test.fault.Route != "" {
				reactor.SetFaults(test.fault)
			}
			test.settings.message, test.settings.poll = filepath.Join(t.TempDir(), "message"), time.Millisecond
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			if test.stop { // as soon as it holds a session
				go func() {
					for len(reactor.Ledger().Open()) == 0 && ctx.Err() == nil {
						runtime.Gosched()
					}
					stop()
				}()
			}
			code, err := run(ctx, test.settings)
			said, _ := os.ReadFile(test.settings.message)
			if code != test.code || !strings.HasPrefix(string(said), test.says) || len(reactor.Ledger().Open()) != test.open {
				t.Errorf("exit code %d, %v, %d open, message %s", code, err, len(reactor.Ledger().Open()), said)
			}
			if text := string(said); strings.Contains(text, "eyJ") || strings.Contains(text, "rk_") {
				t.Errorf("the termination message contains a credential: %s", text)
			}
		})
	}
}

func TestASessionThatReactorEndsEndsTheProgram(t *testing.T) {
	reactor := emulator.New(emulator.Options{Keys: []string{key}})
	server := httptest.NewServer(reactor)
	defer server.Close()
	t.Setenv("REACTOR_API_URL", server.URL)
	t.Setenv("REACTOR_MODEL", "reactor/helios")
	t.Setenv("REACTOR_JWT_FILE", tokenFile(t, server.URL))
	go func() {
		for len(reactor.Ledger().Open()) == 0 && t.Context().Err() == nil {
			runtime.Gosched()
		}
		reactor.EndSession(reactor.Ledger().Sessions[0].ID)
	}()
	code, err := run(t.Context(), settings{hold: time.Hour, poll: time.Millisecond, message: filepath.Join(t.TempDir(), "message")})
	if code != 1 || !errors.Is(err, errEnded) {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestReactorMayBeAwayWhileTheSessionRuns(t *testing.T) {
	reactor := emulator.New(emulator.Options{Keys: []string{key}})
	server := httptest.NewServer(reactor)
	defer server.Close()
	file := tokenFile(t, server.URL)
	token, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := worker{api: server.URL, token: strings.TrimSpace(string(token))}
	id, err := w.start(t.Context(), "reactor/helios")
	if err != nil {
		t.Fatal(err)
	}
	reactor.SetFaults(emulator.Fault{Route: "GET /sessions/{id}", Status: http.StatusBadGateway})
	if err := w.keepAlive(t.Context(), id); err != nil {
		t.Error(err)
	}
}

func TestAnotherTokenInTheFileIsNoticedAndNotUsedForTheSession(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jwt")
	w := worker{tokenFile: file}
	for _, test := range []struct {
		content string
		want    int
	}{{"first\n", 0}, {"first", 0}, {"second", 1}, {"second\n", 1}, {"third", 2}} {
		if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if w.token == "" {
			if err := w.authorize(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		w.readToken()
		if w.changes != test.want || w.token != "first" {
			t.Errorf("after %q: %d changes, and the session's token is %s", test.content, w.changes, w.token)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if w.readToken(); w.changes != 2 {
		t.Error("a file that is away for a moment is no other token")
	}
}

func TestTheExitCodeTellsTheSignal(t *testing.T) {
	ctx := untilSignalled()
	if err := send("INT", os.Getpid()); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if code := interrupted(context.Cause(ctx)); code != 130 {
		t.Errorf("exit code %d after %v", code, context.Cause(ctx))
	}
}

func TestAFlagNamesAnotherURLThanTheOperator(t *testing.T) {
	reactor := emulator.New(emulator.Options{Keys: []string{key}})
	reactor.SetSessionTimes(0, 0, 0)
	server := httptest.NewServer(reactor)
	defer server.Close()
	t.Setenv("REACTOR_API_URL", "http://proxy.invalid")
	t.Setenv("REACTOR_MODEL", "reactor/helios")
	t.Setenv("REACTOR_API_KEY", key)
	t.Setenv("REACTOR_JWT_FILE", "")
	code, err := run(t.Context(), settings{api: server.URL + "/", message: filepath.Join(t.TempDir(), "message"), poll: time.Hour})
	if sessions := reactor.Ledger().Sessions; code != 0 || err != nil || len(sessions) != 1 || sessions[0].State != emulator.StateClosed {
		t.Errorf("exit code %d, %v, sessions %+v", code, err, sessions)
	}
}

func TestASignalIsSentByItsName(t *testing.T) {
	came := make(chan os.Signal, 1)
	signal.Notify(came, syscall.SIGINT)
	defer signal.Stop(came)
	if err := send("INT", os.Getpid()); err != nil {
		t.Fatal(err)
	}
	<-came
	if err := send("KILL", os.Getpid()); err == nil {
		t.Error("every signal is sent")
	}
}

// tokenFile writes a token into a file, as the operator does.
func tokenFile(t *testing.T, api string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, api+"/tokens", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Reactor-API-Key", key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(response.Body)
	var granted struct{ JWT string }
	if err := json.Unmarshal(text, &granted); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwt")
	if err := os.WriteFile(file, []byte(granted.JWT+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
