package inmemory_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/emulator/inmemory"
)

const testKey = "rk_test_0123456789"

// newEmulator returns the handler of most tests, with its transport. It knows testKey.
func newEmulator() *emulator.Emulator { return emulator.New(emulator.Options{Keys: []string{testKey}}) }

// newRequest is a request to the emulator.
func newRequest(t *testing.T, ctx context.Context, body io.Reader) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://emulator.test/tokens", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Reactor-API-Key", testKey)
	return request
}

func TestARequestThatHasEndedIsNotServed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := newEmulator()
	for _, body := range []io.Reader{nil, strings.NewReader("null")} {
		if _, err := e.Transport().RoundTrip(newRequest(t, ctx, body)); !errors.Is(err, context.Canceled) {
			t.Errorf("the call ended with %v", err)
		}
	}
	if calls := len(e.Ledger().Calls); calls != 0 {
		t.Errorf("%d calls were served", calls)
	}
}

func TestABodyCannotBeReadAfterTheContextHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	response, err := newEmulator().Transport().RoundTrip(newRequest(t, ctx, nil))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(response.Body); !errors.Is(err, context.Canceled) {
		t.Errorf("the body ended with %v", err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestAHeaderThatNoSocketWouldCarryIsRefused(t *testing.T) {
	request := newRequest(t, t.Context(), nil)
	request.Header.Set("Reactor-API-Key", testKey+"\n")
	if _, err := newEmulator().Transport().RoundTrip(request); err == nil || strings.Contains(err.Error(), testKey) {
		t.Errorf("the call ended with %v", err)
	}
}

func TestBlanksAroundAHeaderAreTrimmedAsOnASocket(t *testing.T) {
	request := newRequest(t, t.Context(), nil)
	request.Header.Set("Reactor-API-Key", " "+testKey+" ")
	response, err := newEmulator().Transport().RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", response, err)
	}
	if got := request.Header.Get("Reactor-API-Key"); got != " "+testKey+" " {
		t.Errorf("the client's own header became %q", got)
	}
}

func TestABodyThatBreaksOffIsTheClientsError(t *testing.T) {
	broken := errors.New("broken")
	body := io.MultiReader(strings.NewReader("{"), errReader{broken})
	if _, err := newEmulator().Transport().RoundTrip(newRequest(t, t.Context(), body)); !errors.Is(err, broken) {
		t.Errorf("the call ended with %v", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestAnyHandlerIsServedAsOnASocket(t *testing.T) {
	serve := func(handler http.HandlerFunc) (*http.Response, error) {
		return inmemory.NewTransport(handler).RoundTrip(newRequest(t, t.Context(), nil))
	}
	response, err := serve(func(http.ResponseWriter, *http.Request) {})
	if err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("a handler that writes nothing: %v, %v", response, err)
	}
	response, err = serve(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "x")
		w.Header().Set("Late", "1")
		w.WriteHeader(http.StatusTeapot)
	})
	if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Late") != "" {
		t.Errorf("a header that is written late: %v, %v", response, err)
	}
	if _, err := serve(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }); !errors.Is(err, io.EOF) {
		t.Errorf("a connection that ends before the answer: %v", err)
	}
	defer func() {
		if got := recover(); got != "a slip" {
			t.Errorf("recovered %v", got)
		}
	}()
	_, _ = serve(func(http.ResponseWriter, *http.Request) { panic("a slip") })
}
