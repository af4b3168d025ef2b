package reactor

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reactor-operator/reactor-operator/test/infra/heap"
)

// pipes is a network in memory, for a bubble.
type pipes struct {
	net.Listener

	accepted chan net.Conn
	closed   chan struct{}
	once     *sync.Once
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.accepted <- theirs
	return ours, nil
}

// eachProtocol runs a test in a bubble, with a client over HTTP/1.1 and over HTTP/2. Client and server share the heap: what a connection
// has in its buffers is found at both of its ends.
func eachProtocol(t *testing.T, test func(t *testing.T, client *Client)) {
	t.Helper()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, stop := clientOverPipes(t, http2)
				defer stop()
				test(t, client)
			})
		})
	}
}

// wantInHeap checks whether a dump of the heap holds the key. A copy of another key, which is alive, shows that it would be found.
func wantInHeap(t *testing.T, key heap.Hidden, want bool) {
	t.Helper()
	control := heap.NewKey()
	alive := control.Reveal()
	dump := heap.Dump(t)
	if !control.In(t, dump) {
		t.Error("the heap dump does not hold what is alive: this test could not fail")
	}
	runtime.KeepAlive(alive)
	if got := key.In(t, dump); got != want {
		t.Errorf("the heap dump holds the key: %t, want %t", got, want)
	}
}

// The buffers and the header table of a connection hold what was sent last until the connection is closed.
func TestAMinuteAfterTheLastMintNoKeyIsInTheHeap(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *Client) {
		key := heap.NewKey()
		mintOnce(t, client, key)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantInHeap(t, key, false)
	})
}

// A connection that the mints with another key keep open must not keep a key that is not used any more.
func TestAKeyIsNotKeptByAConnectionThatAnotherKeyUses(t *testing.T) {
	eachProtocol(t, func(t *testing.T, client *Client) {
		key, another := heap.NewKey(), heap.NewKey()
		mintOnce(t, client, key)
		for range 7 {
			time.Sleep(10 * time.Second)
			mintOnce(t, client, another)
		}
		wantInHeap(t, key, false)
	})
}

// clientOverPipes returns a client with its own transport, and what ends its server.
func clientOverPipes(t *testing.T, http2 bool) (*Client, func()) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.ProtoMajor == 2; got != http2 {
			t.Errorf("protocol %s", r.Proto)
		}
		w.Header().Set("Content-Type", "application/json")
		expires := time.Now().Add(time.Hour).Unix()
		fmt.Fprintf(w, `{"jwt":%q,"expires_at":%d}`, jwtWith(fmt.Sprintf(`{"iat":%d,"exp":%d}`, time.Now().Unix(), expires)), expires)
	}))
	network := pipes{server.Listener, make(chan net.Conn), make(chan struct{}), &sync.Once{}}
	_ = server.Listener.Close()
	server.Listener, server.EnableHTTP2 = network, http2
	server.StartTLS()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := NewClient(Options{BaseURL: "https://example.com", CABundleFile: bundle})
	if err != nil {
		t.Fatal(err)
	}
	transport := client.own.current
	transport.Proxy, transport.DialContext = nil, network.dial
	return client, func() {
		transport.CloseIdleConnections()
		server.Close()
	}
}

// mintOnce mints a token; nothing of the key is left when it returns.
func mintOnce(t *testing.T, client *Client, key heap.Hidden) {
	t.Helper()
	if _, err := client.Mint(t.Context(), MintRequest{APIKey: Secret(key.Reveal()), Lifetime: time.Hour}); err != nil {
		t.Fatal(err)
	}
}
