package tokenserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// served is a token server that runs.
type served struct {
	url, metrics, probes string
	stop                 context.CancelFunc
	ended                chan error
}

// serveFor runs a token server with these settings before an emulator, on free ports.
func serveFor(t *testing.T, reactor http.Handler, args ...string) *served {
	t.Helper()
	api := httptest.NewServer(reactor)
	t.Cleanup(api.Close)
	keyFile := filepath.Join(t.TempDir(), "api-key")
	if err := os.WriteFile(keyFile, []byte(firstKey), 0o600); err != nil {
		t.Fatal(err)
	}
	ports := freeAddresses(t)
	settings := parsed(t, append([]string{"--api-key-file=" + keyFile, "--models=" + model, "--allow-anonymous", "--api-url=" + api.URL,
		"--listen=" + ports[0], "--metrics-bind-address=" + ports[1], "--health-probe-bind-address=" + ports[2]}, args...)...)
	ctx, stop := context.WithCancel(t.Context())
	s := &served{url: "http://" + ports[0] + settings.Path, metrics: "http://" + ports[1] + "/metrics", probes: "http://" + ports[2], stop: stop, ended: make(chan error, 1)}
	if settings.TLSCertFile != "" {
		s.url = "https://" + ports[0] + settings.Path
	}
	go func() { s.ended <- Run(ctx, settings, "test", slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-s.ended; err != nil && !strings.Contains(err.Error(), "listening") {
			t.Errorf("the server has ended: %v", err)
		}
	})
	for { // until it listens: all ports are opened before anything is served
		connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ports[2])
		if err == nil {
			_ = connection.Close()
			return s
		}
		select {
		case err := <-s.ended:
			s.ended <- err
			t.Fatalf("the server has ended: %v", err)
		default:
		}
	}
}

func freeAddresses(t *testing.T) [3]string {
	t.Helper()
	var addresses [3]string
	for i := range addresses {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addresses[i] = listener.Addr().String()
		defer func() { _ = listener.Close() }() // all are taken until all are known
	}
	return addresses
}

func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestTheServerServesTheRouteItsMetricsAndItsProbes(t *testing.T) {
	s := serveFor(t, emulator.New(emulator.Options{Keys: []string{firstKey}}), "--path=/token")
	if status, body := get(t, http.DefaultClient, s.url); status != http.StatusOK || !strings.Contains(body, `"jwt":"ey`) {
		t.Errorf("%d %s", status, body)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, _ := get(t, http.DefaultClient, s.probes+path); status != http.StatusOK {
			t.Errorf("%s: %d", path, status)
		}
	}
	_, metrics := get(t, http.DefaultClient, s.metrics)
	for _, line := range []string{`reactor_token_server_requests_total{outcome="token"} 1`, `reactor_mint_requests_total{code_class="success"} 1`} {
		if !strings.Contains(metrics, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if strings.Contains(metrics, "eyJ") || strings.Contains(metrics, firstKey) {
		t.Error("the metrics hold a secret")
	}
}

// What was asked before the end is answered, and nothing more is taken.
func TestTheServerAnswersWhatWasAskedBeforeItStops(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	reactor := emulator.New(emulator.Options{Keys: []string{firstKey}})
	s := serveFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-answer
		reactor.ServeHTTP(w, r)
	}))
	got := make(chan int, 1)
	go func() {
		response, err := http.Get(s.url)
		if err != nil {
			got <- 0
			return
		}
		_ = response.Body.Close()
		got <- response.StatusCode
	}()
	<-asked
	s.stop()
	for { // until it takes no more
		connection, err := net.Dial("tcp", strings.TrimPrefix(s.probes, "http://"))
		if err != nil {
			break
		}
		_ = connection.Close()
	}
	close(answer)
	if status := <-got; status != http.StatusOK {
		t.Errorf("got %d", status)
	}
	err := <-s.ended
	s.ended <- err
	if err != nil {
		t.Error(err)
	}
}

func TestAPortThatIsInUseIsReportedImmediately(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, flag := range []string{"--listen=", "--metrics-bind-address=", "--health-probe-bind-address="} {
		settings := parsed(t, "--shared-token-dir=/nowhere", "--allow-anonymous", "--listen=127.0.0.1:0", "--metrics-bind-address=0", "--health-probe-bind-address=0",
			flag+taken.Addr().String())
		if err := Run(t.Context(), settings, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

// The certificates are renewed while the server runs, as cert-manager does.
func TestRenewedCertificatesAreServed(t *testing.T) {
	folder := t.TempDir()
	cert, key := filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	first := writeCertificate(t, cert, key, 1)
	s := serveFor(t, emulator.New(emulator.Options{Keys: []string{firstKey}}), "--tls-cert-file="+cert, "--tls-key-file="+key)
	response, err := trusting(first).Get(s.url)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK || response.Proto != "HTTP/2.0" {
		t.Errorf("got %s by %s, %v", response.Status, response.Proto, err)
	}
	second := writeCertificate(t, cert, key, 2)
	for { // the file system tells it; the test's own deadline ends this
		if response, err := trusting(second).Get(s.url); err == nil {
			_ = response.Body.Close()
			return
		}
	}
}

// writeCertificate makes a certificate for 127.0.0.1, and returns the pool that trusts it.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, content := range map[string][]byte{certFile: certificate, keyFile: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(file+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	return pool
}

func trusting(roots *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
}

// Who sends a header or a body byte by byte does not keep a connection for longer than its time. The times are those of every server that
// Run makes; here they are shorter.
func TestSlowClientsAreCutOff(t *testing.T) {
	for name, start := range map[string]string{
		"in the header": "POST /api/token HTTP/1.1\r\nHost: a\r\nX-Slow: ",
		"in the body":   "POST /api/token HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n ",
	} {
		t.Run(name, func(t *testing.T) {
			settings := parsed(t, "--shared-token-dir="+mountedFor(t, time.Hour), "--allow-anonymous")
			route, err := newRoute(settings, "test", newRegistry("test"), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			server := newHTTPServer(route, slog.New(slog.DiscardHandler))
			if server.ReadHeaderTimeout == 0 || server.ReadTimeout == 0 || server.WriteTimeout == 0 || server.IdleTimeout == 0 {
				t.Fatalf("a time is not bounded: %+v", server)
			}
			server.ReadHeaderTimeout, server.ReadTimeout = 50*time.Millisecond, 100*time.Millisecond
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go func() { _ = server.Serve(listener) }()
			defer func() { _ = server.Close() }()
			connection, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = connection.Close() }()
			fmt.Fprint(connection, start)
			reader := bufio.NewReader(connection)
			if response, err := http.ReadResponse(reader, nil); err == nil && response.StatusCode == http.StatusOK {
				t.Error("it got a token")
			}
			for { // the server closes the connection
				if _, err := reader.ReadByte(); err != nil {
					return
				}
			}
		})
	}
}

// Anybody can open a connection and not speak TLS. A line for each would be a flood.
func TestConnectionsThatFailAreNotWrittenToTheLogAndPanicsAre(t *testing.T) {
	var logged bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&logged, nil))
	server := newHTTPServer(http.NotFoundHandler(), log)
	server.ErrorLog.Print("http: TLS handshake error from 203.0.113.9:1: EOF")
	if logged.Len() > 0 {
		t.Errorf("the log: %s", &logged)
	}
	server.ErrorLog.Print("http: panic serving 203.0.113.9:1: nil pointer")
	if !strings.Contains(logged.String(), `"level":"ERROR","msg":"http: panic serving`) {
		t.Errorf("the log: %s", &logged)
	}
}

// mountedFor is a folder with a token that lives for so long.
func mountedFor(tb testing.TB, life time.Duration) string {
	tb.Helper()
	folder := tb.TempDir()
	for name, content := range map[string]string{jwtFile: strings.Repeat("e", 600), expiresAtFile: fmt.Sprint(time.Now().Add(life).Unix())} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return folder
}

// BenchmarkTheMountedSource and BenchmarkBareNetHTTP answer the same bytes: what the route costs beside a server that does nothing else.
func BenchmarkTheMountedSource(b *testing.B) {
	settings, err := config.ParseTokenServer([]string{"--shared-token-dir=" + mountedFor(b, 6*time.Hour), "--allow-anonymous", "--requests-per-second=10000000", "--caller-requests-per-minute=1000000000"}, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	route, err := newRoute(settings, "test", newRegistry("test"), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	throughput(b, route)
}

func BenchmarkBareNetHTTP(b *testing.B) {
	body := []byte(`{"jwt":"` + strings.Repeat("e", 600) + "\"}\n")
	throughput(b, http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header().Set("Content-Type", "application/json")
		_, _ = writer.Write(body)
	}))
}

// throughput asks with keep-alive connections, as many as there are processors.
func throughput(b *testing.B, handler http.Handler) {
	b.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	b.ResetTimer()
	b.RunParallel(func(each *testing.PB) {
		client := &http.Client{Transport: &http.Transport{}}
		for each.Next() {
			response, err := client.Post(server.URL+"/api/token", "", http.NoBody)
			if err != nil || response.StatusCode != http.StatusOK {
				b.Errorf("%v, %v", response, err)
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
}
