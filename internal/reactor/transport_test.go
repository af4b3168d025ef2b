package reactor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func writeFile(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func certificatePEM(raw []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

// otherCertificate is one that no server of these tests has.
func otherCertificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return certificatePEM(raw)
}

// serveTLS starts a server with TLS.
func serveTLS(t *testing.T, http2 bool, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // some handshakes are meant to fail
	server.EnableHTTP2 = http2
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// serveToken answers with a token, over the wanted version of HTTP.
func serveToken(t *testing.T, wantProto int) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, request *http.Request) {
		if request.ProtoMajor != wantProto {
			t.Errorf("the call came over %s, want HTTP/%d", request.Proto, wantProto)
		}
		_, _ = fmt.Fprintf(w, `{"jwt":"j","expires_at":%d}`, time.Now().Add(time.Hour).Unix())
	}
}

// tcpProxy forwards TCP connections, as a NAT or a load balancer does.
type tcpProxy struct {
	listener net.Listener
	target   string

	mu          sync.Mutex
	established []*atomic.Bool // for each connection, whether its bytes are swallowed
}

// startTCPProxy returns a proxy in front of the server, which ends with the test.
func startTCPProxy(t *testing.T, server *httptest.Server) *tcpProxy {
	t.Helper()
	var listen net.ListenConfig
	listener, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &tcpProxy{listener: listener, target: server.Listener.Addr().String()}
	t.Cleanup(func() { _ = listener.Close() })
	go proxy.serve()
	return proxy
}

func (p *tcpProxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		swallows := &atomic.Bool{}
		p.mu.Lock()
		p.established = append(p.established, swallows)
		p.mu.Unlock()
		go p.forward(client, swallows)
	}
}

func (p *tcpProxy) forward(client net.Conn, swallows *atomic.Bool) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() {
		forwardBytes(client, server, swallows)
		if !swallows.Load() {
			_ = client.Close()
		}
	}()
	forwardBytes(server, client, swallows)
}

// forwardBytes returns when a connection ends.
func forwardBytes(to io.Writer, from io.Reader, swallows *atomic.Bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if swallows.Load() {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// blackhole stops forwarding the established connections, in both directions, without closing them.
func (p *tcpProxy) blackhole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, swallows := range p.established {
		swallows.Store(true)
	}
}

func (p *tcpProxy) dials() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.established)
}

// clientOf returns a client that reaches the server through the proxy.
func clientOf(t *testing.T, server *httptest.Server, proxy *tcpProxy) *Client {
	t.Helper()
	bundle := writeFile(t, filepath.Join(t.TempDir(), "ca.crt"), certificatePEM(server.Certificate().Raw))
	client, err := NewClient(Options{BaseURL: "https://" + proxy.listener.Addr().String(), CABundleFile: bundle})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.own.forCall().CloseIdleConnections() })
	return client
}

func mustMint(t *testing.T, client *Client) {
	t.Helper()
	if _, err := client.Mint(t.Context(), anyRequest()); err != nil {
		t.Fatal(err)
	}
}

// mintInVain makes a call that nothing answers, and gives it little time.
func mintInVain(t *testing.T, client *Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := client.Mint(ctx, anyRequest()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want a timeout", err)
	}
}

// 1. A NAT drops an established connection silently. 2. A call over it times out, which ends the stream and not the connection.
// 3. The next call must not use that connection.
func TestAnHTTP2ConnectionOnWhichACallTimedOutIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	server := serveTLS(t, true, serveToken(t, 2))
	proxy := startTCPProxy(t, server)
	client := clientOf(t, server, proxy)
	client.own.http2 = http.HTTP2Config{} // no ping finds it
	client.own.retire(client.own.current)
	for range 3 {
		mustMint(t, client)
	}
	proxy.blackhole()
	mintInVain(t, client)
	for range 3 {
		mustMint(t, client)
	}
	if got := proxy.dials(); got != 2 {
		t.Errorf("%d connections were made, want 2", got)
	}
}

// The same connection, found by its pings: a call over it fails before its timeout.
func TestADeadHTTP2ConnectionIsClosedWhenItsPingIsLost(t *testing.T) {
	t.Parallel()
	server := serveTLS(t, true, serveToken(t, 2))
	proxy := startTCPProxy(t, server)
	client := clientOf(t, server, proxy)
	if got := client.own.current.HTTP2; got.SendPingTimeout <= 0 || got.SendPingTimeout+got.PingTimeout >= DefaultTimeout {
		t.Errorf("a dead connection is found after %s + %s, want less than the timeout of a call", got.SendPingTimeout, got.PingTimeout)
	}
	client.own.http2 = http.HTTP2Config{SendPingTimeout: 20 * time.Millisecond, PingTimeout: time.Second}
	client.own.retire(client.own.current)
	mustMint(t, client)
	proxy.blackhole()
	_, err := client.Mint(t.Context(), anyRequest())
	if failure := failureOf(t, err); failure.Class != ClassUnavailable || !strings.Contains(err.Error(), "client connection lost") {
		t.Errorf("got %s: %v", failure.Class, err)
	}
	for range 3 {
		mustMint(t, client)
	}
	if got := proxy.dials(); got != 2 {
		t.Errorf("%d connections were made, want 2", got)
	}
}

func TestAnHTTP2ConnectionIsNotReplacedAsLongAsItAnswers(t *testing.T) {
	t.Parallel()
	server := serveTLS(t, true, serveToken(t, 2))
	proxy := startTCPProxy(t, server)
	client := clientOf(t, server, proxy)
	for range 5 {
		mustMint(t, client)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Mint(ctx, anyRequest()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	mustMint(t, client)
	if got := proxy.dials(); got != 1 {
		t.Errorf("%d connections were made, want 1", got)
	}
}

// round is a number of calls that are all pending at the same time: the server answers when it has received them all.
type round struct {
	missing atomic.Int64
	full    chan struct{}
}

func (r *round) wait(ctx context.Context) {
	if r.missing.Add(-1) == 0 {
		close(r.full)
	}
	select {
	case <-r.full:
	case <-ctx.Done():
	}
}

func TestWorkersKeepTheirHTTP1ConnectionsAndDropAllThatAreDeadAfterOneTimeout(t *testing.T) {
	t.Parallel()
	const workers = 32
	var current atomic.Pointer[round]
	answer := serveToken(t, 1)
	server := serveTLS(t, false, func(w http.ResponseWriter, request *http.Request) {
		_, _ = io.Copy(io.Discard, request.Body) // the server notices that a client left after it has read the body
		current.Load().wait(request.Context())
		answer(w, request)
	})
	proxy := startTCPProxy(t, server)
	client := clientOf(t, server, proxy)
	mintTogether := func() {
		next := &round{full: make(chan struct{})}
		next.missing.Store(workers)
		current.Store(next)
		var pending sync.WaitGroup
		for range workers {
			pending.Go(func() {
				if _, err := client.Mint(t.Context(), anyRequest()); err != nil {
					t.Error(err)
				}
			})
		}
		pending.Wait()
	}
	mintTogether()
	mintTogether()
	if got := proxy.dials(); got != workers {
		t.Errorf("%d workers made %d connections with two calls each, want one for each", workers, got)
	}
	proxy.blackhole()
	mintInVain(t, client)
	mintTogether()
	if got := proxy.dials(); got != 2*workers {
		t.Errorf("%d connections were made, want %d", got, 2*workers)
	}
}

func TestCallsThatTimeOutTogetherReplaceTheirTransportOnce(t *testing.T) {
	own, err := newOwnTransport("", nil)
	if err != nil {
		t.Fatal(err)
	}
	first := own.forCall()
	own.retire(first)
	second := own.forCall()
	own.retire(first)
	if second == first || own.forCall() != second {
		t.Error("a call that timed out on an old transport replaced the new one")
	}
}

// mountedFile is a file as Kubernetes mounts it from a ConfigMap: a symbolic link through a folder that is a link, too.
type mountedFile struct {
	folder   string
	versions int
}

func (m *mountedFile) path() string { return filepath.Join(m.folder, "ca.crt") }

func (m *mountedFile) update(t *testing.T, content string) {
	t.Helper()
	m.versions++
	version := fmt.Sprintf("..version_%d", m.versions)
	link := filepath.Join(m.folder, "..data_tmp")
	err := errors.Join(
		os.Mkdir(filepath.Join(m.folder, version), 0o700),
		os.WriteFile(filepath.Join(m.folder, version, "ca.crt"), []byte(content), 0o600),
		os.Symlink(version, link),
		os.Rename(link, filepath.Join(m.folder, "..data")),
	)
	if m.versions == 1 {
		err = errors.Join(err, os.Symlink(filepath.Join("..data", "ca.crt"), m.path()))
	} else {
		err = errors.Join(err, os.RemoveAll(filepath.Join(m.folder, fmt.Sprintf("..version_%d", m.versions-1))))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheCABundleIsReadAgainWhenItChanges(t *testing.T) {
	server := serveTLS(t, true, serveToken(t, 2))
	right, wrong := certificatePEM(server.Certificate().Raw), otherCertificate(t)
	bundle := &mountedFile{folder: t.TempDir()}
	bundle.update(t, wrong)
	var reports []string
	client, err := NewClient(Options{BaseURL: server.URL, CABundleFile: bundle.path(), CABundleReloaded: func(err error) {
		reports = append(reports, strings.ReplaceAll(fmt.Sprint(err), bundle.folder, "/ca"))
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.own.forCall().CloseIdleConnections() })

	for _, step := range []struct {
		name    string
		change  func()
		trusted bool
		report  string // of this step; empty for none
	}{
		{"a bundle of another server", func() {}, false, ""},
		{"the valid one", func() { bundle.update(t, right) }, true, "<nil>"},
		{"no change", func() {}, true, ""},
		{"one that is half written", func() { bundle.update(t, right[:100]) }, true, "CA bundle: it contains no certificate in PEM format"},
		{"an empty one", func() { bundle.update(t, "") }, true, "/ca/ca.crt is empty"},
		{"no file", func() { _ = os.Rename(bundle.path(), bundle.path()+".away") }, true, "stat /ca/ca.crt: no such file or directory"},
		{"the same file again", func() { _ = os.Rename(bundle.path()+".away", bundle.path()) }, true, "/ca/ca.crt is empty"},
		{"the valid one again", func() { bundle.update(t, right) }, true, "<nil>"},
		{"the other one, which holds for open connections too", func() { bundle.update(t, wrong) }, false, "<nil>"},
	} {
		step.change()
		reports = nil
		for range 2 { // the second call has nothing to report
			_, err := client.Mint(t.Context(), anyRequest())
			if trusted := err == nil; trusted != step.trusted {
				t.Errorf("%s: %v", step.name, err)
			}
			if err != nil && !strings.Contains(err.Error(), "no answer from Reactor: tls: failed to verify certificate") {
				t.Errorf("%s: %v", step.name, err)
			}
		}
		var want []string
		if step.report != "" {
			want = []string{step.report}
		}
		if diff := cmp.Diff(want, reports); diff != "" {
			t.Errorf("%s: reports (-want +got):\n%s", step.name, diff)
		}
	}
}

func TestWithoutACABundleTheSystemsRootsDecide(t *testing.T) {
	server := serveTLS(t, true, serveToken(t, 2))
	client, err := NewClient(Options{BaseURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Mint(t.Context(), anyRequest())
	if failure := failureOf(t, err); failure.StatusCode != 0 || !strings.Contains(err.Error(), "no answer from Reactor: tls: failed to verify certificate") {
		t.Error(err)
	}
}
