package tokenserver

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

const (
	firstKey  = "rk_first-0123456789abcdef"
	secondKey = "rk_second-0123456789abcdef"
	model     = "reactor/helios"
	proxy     = "10.1.2.3:4567"
)

// world is a token server before the emulator, inside a bubble of virtual time.
type world struct {
	*testing.T
	reactor *emulator.Emulator
	keyFile string
	logged  *bytes.Buffer
	route   http.Handler
}

// inWorld runs a test with a server that mints a token for each caller, whom a proxy names. In the end it looks for secrets in the log.
func inWorld(t *testing.T, change func(*config.TokenServer), test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, logged: &bytes.Buffer{}, reactor: emulator.New(emulator.Options{Keys: []string{firstKey, secondKey}})}
		w.keyFile = filepath.Join(t.TempDir(), "api-key")
		w.rotate(firstKey)
		settings := parsed(t, "--api-key-file="+w.keyFile, "--models="+model, "--proxy-header=X-User", "--proxy-networks=10.0.0.0/8", "--mint-qps=10", "--mint-burst=10")
		settings.RequestsPerSecond = 100_000
		if change != nil {
			change(&settings)
		}
		w.route = w.serve(settings)
		test(w)
		for _, secret := range append(w.reactor.IssuedJWTs(), firstKey, secondKey) {
			if strings.Contains(w.logged.String(), secret) {
				t.Errorf("the secret %s… is in the log", secret[:6])
			}
		}
	})
}

func parsed(t *testing.T, args ...string) config.TokenServer {
	t.Helper()
	settings, err := config.ParseTokenServer(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

func (w *world) serve(settings config.TokenServer) http.Handler {
	w.Helper()
	log := slog.New(slog.NewJSONHandler(w.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	api, err := reactor.NewClient(reactor.Options{BaseURL: "https://reactor.test", Transport: w.reactor.Transport()})
	if err != nil {
		w.Fatal(err)
	}
	var tokens source = newMinted(settings, api, clock.RealClock{}, log)
	if settings.SharedTokenDir != "" {
		tokens = &mounted{directory: settings.SharedTokenDir, minRemaining: settings.MinRemainingLifetime, clock: clock.RealClock{}}
	}
	route, err := newRouteWith(settings, tokens, prometheus.NewRegistry(), log)
	if err != nil {
		w.Fatal(err)
	}
	return route
}

// rotate puts an API key into the key's file.
func (w *world) rotate(key string) {
	w.Helper()
	if err := os.WriteFile(w.keyFile, []byte(key+"\n"), 0o600); err != nil {
		w.Fatal(err)
	}
}

// answer is what a page gets.
type answer struct {
	status  int
	header  http.Header
	JWT     string
	Expires int64 `json:"expires_at"`
	Error   string
	Message string
}

// ask sends a request, as the proxy does for a caller.
func (w *world) ask(method, caller string, changes ...func(*http.Request)) answer {
	w.Helper()
	return askOf(w.T, w.route, method, caller, changes...)
}

func askOf(t *testing.T, route http.Handler, method, caller string, changes ...func(*http.Request)) answer {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, "https://app.example/api/token", http.NoBody)
	request.RemoteAddr = proxy
	if caller != "" {
		request.Header.Set("X-User", caller)
	}
	for _, change := range changes {
		change(request)
	}
	recorder := httptest.NewRecorder()
	route.ServeHTTP(recorder, request)
	got := answer{status: recorder.Code, header: recorder.Header()}
	if recorder.Code != http.StatusNoContent {
		if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v", recorder.Body, err)
		}
	}
	return got
}

func header(name, value string) func(*http.Request) {
	return func(request *http.Request) { request.Header.Add(name, value) }
}

// want checks the status and the code of an answer; the code is "" for a token.
func (w *world) want(got answer, status int, code string) {
	w.Helper()
	if got.status != status || got.Error != code {
		w.Errorf("got %d %q (%s), want %d %q", got.status, got.Error, got.Message, status, code)
	}
	if status != http.StatusOK && (got.header.Get("Cache-Control") != "no-store" || got.JWT != "") {
		w.Errorf("a refusal with %d may be kept, or holds a token: %v", status, got.header)
	}
	if got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Content-Type") != "application/json" {
		w.Errorf("a browser may take the answer for something else: %v", got.header)
	}
	switch {
	case got.JWT != "":
		if _, err := w.reactor.Verify(got.JWT); err != nil {
			w.Errorf("the token: %v", err)
		}
	case status == http.StatusOK:
		w.Error("there is no token in the answer")
	case got.Message == "":
		w.Error("the answer has no message for the user")
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		if seconds, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || seconds < 1 {
			w.Errorf("Retry-After is %q", got.header.Get("Retry-After"))
		}
	}
}

// wantMints checks how many tokens Reactor has issued.
func (w *world) wantMints(want int) {
	w.Helper()
	if got := w.reactor.Ledger().Mints(); got != want {
		w.Errorf("%d tokens were minted, want %d", got, want)
	}
}

func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
