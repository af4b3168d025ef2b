package integration

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// request is a request as it came by, its body included when it is a write.
type request struct {
	method string
	path   string
	query  string
	body   []byte

	// What a path of the Kubernetes API says; empty for other paths.
	group, namespace, resource, name, subresource string
}

// String names the request, without its body.
func (r request) String() string { return r.method + " " + r.path }

// isWrite tells whether the request changes something of the cluster that is not about the operator itself: its lease, its
// questions about those who scrape it, and the events that it emits do not count.
func (r request) isWrite() bool {
	if r.method == http.MethodGet || r.method == http.MethodHead {
		return false
	}
	return !slices.Contains([]string{"leases", "events", "tokenreviews", "subjectaccessreviews"}, r.resource)
}

// requestOf takes a path such as /apis/reactor.inc/v1alpha1/namespaces/studio/reactortokens/web/status to pieces.
func requestOf(r *http.Request, body []byte) request {
	seen := request{method: r.Method, path: r.URL.Path, query: r.URL.RawQuery, body: body}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		seen.group, parts = parts[1], parts[3:]
	default:
		return seen
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		seen.namespace, parts = parts[1], parts[2:]
	}
	for i, into := range []*string{&seen.resource, &seen.name, &seen.subresource} {
		if i < len(parts) {
			*into = parts[i]
		}
	}
	return seen
}

// matcher chooses requests.
type matcher func(request) bool

// writeOf chooses the writes of a resource, such as secrets or reactortokens/status, with this method.
func writeOf(method, resource string) matcher {
	resource, subresource, _ := strings.Cut(resource, "/")
	return func(r request) bool {
		return r.method == method && r.resource == resource && r.subresource == subresource
	}
}

// crossing is a place that requests pass on their way to a server. A test can count them there, and stop one.
type crossing struct {
	url         string
	certificate []byte // PEM
	next        http.Handler
	answered    func(request, int) // is told the status of each answer; nil: nobody is

	mu     sync.Mutex
	passed []request
	stops  []*stop
}

// newCrossing serves, on a loopback address and with TLS, a crossing before the next handler.
func newCrossing(t *testing.T, next http.Handler) *crossing {
	t.Helper()
	c := &crossing{next: next}
	server := httptest.NewUnstartedServer(c)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that are killed break connections
	server.StartTLS()
	c.url = server.URL
	c.certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return c
}

// ServeHTTP lets a request pass, unless a test stops it.
func (c *crossing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := readAgain(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	seen := requestOf(r, body)
	switch c.meet(seen).await() {
	case loseRequest:
		panic(http.ErrAbortHandler)
	case loseAnswer:
		c.next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	case letPass:
		c.next.ServeHTTP(&answer{w, func(status int) {
			if c.answered != nil {
				c.answered(seen, status)
			}
		}}, r)
	}
}

// answer tells its status as soon as there is one: a watch goes on after it.
type answer struct {
	http.ResponseWriter
	begins func(status int)
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.begins(status)
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap lets a watch be passed on as it comes.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// readAgain reads the body of a request and puts it back.
func readAgain(r *http.Request) ([]byte, error) {
	if r.Method == http.MethodGet || r.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, err
}

// meet writes the request down, and returns the stop that it has come to, or nil.
func (c *crossing) meet(seen request) *stop {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed = append(c.passed, seen)
	for i, s := range c.stops {
		if s.matches(seen) {
			c.stops = slices.Delete(c.stops, i, i+1)
			close(s.reached)
			return s
		}
	}
	return nil
}

// mark returns the place in time from which since counts.
func (c *crossing) mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.passed)
}

// since returns the requests that came after the mark and match.
func (c *crossing) since(mark int, matches matcher) []request {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []request
	for _, r := range c.passed[mark:] {
		if matches(r) {
			found = append(found, r)
		}
	}
	return found
}

// verdict is how a stopped request goes on.
type verdict int

const (
	letPass     verdict = iota
	loseRequest         // it never arrives, and its sender sees a broken connection
	loseAnswer          // it arrives, and its sender sees a broken connection
)

// stop holds one request up until the test says how it goes on.
type stop struct {
	t        *testing.T
	matches  matcher
	reached  chan struct{}
	verdicts chan verdict
}

// stopNext stops the next request that matches.
func (c *crossing) stopNext(t *testing.T, matches matcher) *stop {
	t.Helper()
	s := &stop{t: t, matches: matches, reached: make(chan struct{}), verdicts: make(chan verdict, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stops = append(c.stops, s)
	return s
}

// await returns the verdict. A test that ends without one loses the request.
func (s *stop) await() verdict {
	if s == nil {
		return letPass
	}
	select {
	case v := <-s.verdicts:
		return v
	case <-s.t.Context().Done():
		return loseRequest
	}
}

// waitUntilReached returns once the request stands there.
func (s *stop) waitUntilReached(what string) {
	s.t.Helper()
	expect.Eventually(s.t, what, func() error {
		select {
		case <-s.reached:
			return nil
		default:
			return fmt.Errorf("it did not come")
		}
	})
}

// goOn tells the request how it goes on.
func (s *stop) goOn(v verdict) { s.verdicts <- v }
