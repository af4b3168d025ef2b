package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

const proxyKey = "rk_chaos_0123456789"

// pipes is a listener in memory, for virtual time.
type pipes struct {
	dialed chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error {
	close(p.closed)
	return nil
}

func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// client returns one with a pool of connections of its own.
func (p pipes) client(t *testing.T, ca []byte) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("the proxy has no certificate")
	}
	transport := &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			p.dialed <- there
			return here, nil
		},
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// get requests /tokens and returns the body of the answer.
func get(ctx context.Context, client *http.Client) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://reactor.test/tokens", nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.Proto + " " + string(body), err
}

const fromReactor = "HTTP/2.0 from Reactor"

// behindPipes starts a proxy in front of a handler.
func behindPipes(t *testing.T, handler http.HandlerFunc) (*proxy, pipes) {
	t.Helper()
	p, err := newProxy("reactor.test", &url.URL{Scheme: "http", Host: "emulator.test"}, roundTrip(func(r *http.Request) (*http.Response, error) {
		recorded := httptest.NewRecorder()
		handler(recorded, r)
		return recorded.Result(), nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	network := pipes{make(chan net.Conn), make(chan struct{})}
	go p.serve(network)
	t.Cleanup(p.stop)
	return p, network
}

func TestARequestOnABlackholedConnectionIsNotAnsweredUntilItsClientGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var forwarded atomic.Int64
		p, network := behindPipes(t, func(w http.ResponseWriter, _ *http.Request) {
			forwarded.Add(1)
			_, _ = io.WriteString(w, "from Reactor")
		})
		client := network.client(t, p.ca)
		if got, err := get(t.Context(), client); got != fromReactor || err != nil {
			t.Fatalf("before: %q, %v", got, err)
		}
		if silenced := p.blackhole(); silenced != 1 {
			t.Fatalf("%d connections are blackholed, want 1", silenced)
		}
		const patience = 15 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		began := time.Now()
		got, err := get(ctx, client)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != patience || forwarded.Load() != 1 {
			t.Errorf("%q, %v after %s, %d requests forwarded", got, err, time.Since(began), forwarded.Load())
		}
		if got, err := get(t.Context(), network.client(t, p.ca)); got != fromReactor || err != nil || p.dials() != 2 {
			t.Errorf("on a new connection: %q, %v; %d connections dialed", got, err, p.dials())
		}
		// Only the client closes it.
		client.CloseIdleConnections()
		if synctest.Wait(); len(p.open) != 1 {
			t.Errorf("%d connections are open after the client closed the blackholed one, want 1", len(p.open))
		}
	})
}

func TestTheAnswerToARequestInFlightIsLostInABlackhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		arrived, answer := make(chan struct{}), make(chan struct{})
		p, network := behindPipes(t, func(w http.ResponseWriter, _ *http.Request) {
			close(arrived)
			<-answer
			_, _ = io.WriteString(w, "from Reactor")
		})
		client := network.client(t, p.ca)
		go func() {
			<-arrived
			p.blackhole()
			close(answer)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if got, err := get(ctx, client); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestTheOperatorsClientGetsErrorPagesForAWhile(t *testing.T) {
	emulated := emulator.New(emulator.Options{Keys: []string{proxyKey}})
	server := httptest.NewServer(emulated)
	defer server.Close()
	p, address, err := startProxy(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, p.ca, 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := reactor.NewClient(reactor.Options{BaseURL: address, CABundleFile: bundle})
	if err != nil {
		t.Fatal(err)
	}
	mint := func() (status int) {
		token, err := client.Mint(t.Context(), reactor.MintRequest{APIKey: proxyKey, Lifetime: time.Minute})
		failure, ok := errors.AsType[*reactor.Error](err)
		switch {
		case ok:
			return failure.StatusCode
		case err != nil || token.JWT == "":
			t.Fatalf("no token, and no failure of a call either: %v", err)
		}
		return -1 // a token
	}
	statuses := []int{mint()}
	p.failing.Store(true)
	for range len(errorPages) + 1 {
		statuses = append(statuses, mint())
	}
	p.failing.Store(false)
	statuses = append(statuses, mint())
	if diff := cmp.Diff([]int{-1, 302, 403, 404, 405, 502, 200, 302, -1}, statuses); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if calls, pages := len(emulated.Ledger().Calls), p.pages.Load(); calls != 2 || pages != 7 || p.dials() != 1 {
		t.Errorf("%d calls reached the emulator, %d pages were answered, %d connections dialed; want 2, 7, 1", calls, pages, p.dials())
	}
}

func TestErrorPagesNameWhatAnswered(t *testing.T) {
	for _, page := range errorPages {
		recorded := httptest.NewRecorder()
		page.write(recorded)
		got := recorded.Result()
		body, err := io.ReadAll(got.Body)
		if got.Header.Get("Server") != page.server || got.Header.Get("Content-Type") != "text/html; charset=utf-8" || len(body) == 0 || err != nil {
			t.Errorf("%d: %v %q, %v", page.status, got.Header, body, err)
		}
		if to, err := got.Location(); (page.status == http.StatusFound) != (err == nil && to.Host == "maintenance.invalid") {
			t.Errorf("%d leads to %v, %v", page.status, to, err)
		}
	}
}
