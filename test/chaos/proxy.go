package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"

	"k8s.io/client-go/util/cert"
)

// proxy is between the operator and Reactor. The operator reaches it with TLS and HTTP/2, so that one connection carries all calls, and
// it forwards them in plain HTTP. It has the two failures of proxies, firewalls and NATs that a program at either end cannot produce:
// connections that are silent but not closed, and answers that are not Reactor's.
type proxy struct {
	ca      []byte // PEM, for --ca-bundle
	server  *http.Server
	forward *httputil.ReverseProxy

	failing atomic.Bool  // answers with pages
	pages   atomic.Int64 // answered so far

	mu     sync.Mutex
	open   map[*connection]bool
	dialed int // connections so far
}

// startProxy starts a proxy on a free port of this machine, to which only programs outside of the node connect, and returns its URL.
func startProxy(target string) (p *proxy, address string, err error) {
	to, err := url.Parse(target)
	if err != nil {
		return nil, "", err
	}
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	if p, err = newProxy("127.0.0.1", to, &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}); err != nil {
		return nil, "", errors.Join(err, on.Close())
	}
	go p.serve(on)
	return p, "https://" + on.Addr().String(), nil
}

// newProxy returns a proxy with a throwaway certificate for a host. It forwards to the target, by way of the given transport.
func newProxy(host string, target *url.URL, by http.RoundTripper) (*proxy, error) {
	chain, key, err := cert.GenerateSelfSignedCertKey(host, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("create the proxy's certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("load the proxy's certificate: %w", err)
	}
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // killed operators and cut answers are expected
	p := &proxy{ca: chain, open: map[*connection]bool{}}
	p.forward = &httputil.ReverseProxy{
		Transport: by,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog:  quiet,
		// The caller gets a failed call, as it would without a proxy, and not a 502.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.server = &http.Server{ //nolint:gosec // no timeouts: a blackholed connection stays open as long as its client keeps it
		Handler:   p,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}},
		ErrorLog:  quiet,
	}
	return p, nil
}

// serve accepts connections until the proxy is stopped. The server adds HTTP/2 to what TLS negotiates.
func (p *proxy) serve(on net.Listener) { _ = p.server.ServeTLS(listener{on, p}, "", "") }

// stop closes the listener and all connections, the blackholed ones too.
func (p *proxy) stop() { _ = p.server.Close() }

// ServeHTTP answers with a page, or forwards.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.failing.Load() {
		p.forward.ServeHTTP(w, r)
		return
	}
	errorPages[int(p.pages.Add(1)-1)%len(errorPages)].write(w)
}

// blackhole silences all connections that are open now, permanently, and returns how many there are. Those dialed later work.
func (p *proxy) blackhole() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.silent.Store(true)
	}
	return len(p.open)
}

// dials is how many connections were dialed so far.
func (p *proxy) dials() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dialed
}

// listener keeps the proxy's connections. TLS is above it: what a silent connection swallows is bytes.
type listener struct {
	net.Listener

	proxy *proxy
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: accepted, proxy: l.proxy}
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	l.proxy.open[c] = true
	l.proxy.dialed++
	return c, nil
}

// connection is one between the operator and the proxy. Once it is silent, the proxy's server is not involved any more: it reads nothing,
// so that it answers nothing and closes nothing, and what it still writes is dropped. The socket stays open, and the machine acknowledges
// what arrives, TCP's keepalive probes included: only an answer to a request, or to a ping of HTTP/2, shows that a connection works.
type connection struct {
	net.Conn

	proxy  *proxy
	silent atomic.Bool
}

// Read implements net.Conn. On a silent connection it returns only once the other end has closed it.
func (c *connection) Read(into []byte) (int, error) {
	for {
		n, err := c.Conn.Read(into)
		if !c.silent.Load() {
			return n, err
		}
		if err != nil {
			return 0, err
		}
	}
}

// Write implements net.Conn.
func (c *connection) Write(from []byte) (int, error) {
	if c.silent.Load() {
		return len(from), nil
	}
	return c.Conn.Write(from)
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.proxy.mu.Lock()
	delete(c.proxy.open, c)
	c.proxy.mu.Unlock()
	return c.Conn.Close()
}

// errorPage is what a proxy answers in place of Reactor.
type errorPage struct {
	status int
	server string
	header [2]string // one more: name and value
}

const nginx = "nginx"

// errorPages are answered in turn: maintenance, a firewall, a route that is missing during a rollout, a page that takes no POST, a
// gateway without a backend, and a captive portal.
var errorPages = []errorPage{
	{http.StatusFound, nginx, [2]string{"Location", "https://maintenance.invalid/"}},
	{http.StatusForbidden, "cloudflare", [2]string{"Cf-Ray", "0123456789abcdef-FRA"}},
	{http.StatusNotFound, nginx, [2]string{}},
	{http.StatusMethodNotAllowed, nginx, [2]string{"Allow", "GET, HEAD"}},
	{http.StatusBadGateway, nginx, [2]string{}},
	{http.StatusOK, nginx, [2]string{}},
}

func (p errorPage) write(w http.ResponseWriter) {
	w.Header().Set("Server", p.server)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if p.header[0] != "" {
		w.Header().Set(p.header[0], p.header[1])
	}
	w.WriteHeader(p.status)
	_, _ = fmt.Fprintf(w, "<!DOCTYPE html><html><head><title>%[1]d</title></head><body><h1>%[1]d %[2]s</h1></body></html>\n", p.status, http.StatusText(p.status))
}
