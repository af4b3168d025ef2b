package sim

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// pages are the ways in which a proxy, a firewall or a load balancer answers instead of Reactor, and how long after the last such answer the
// operator may need. None of them says anything about the request or, 429 apart, about the key.
var pages = map[string]struct {
	page  emulator.Page
	grace time.Duration
}{
	"302":      {emulator.PageMaintenanceFound, afterFailure},
	"403 HTML": {emulator.PageForbiddenHTML, afterFailure},
	"403 text": {emulator.PageForbiddenText, afterFailure},
	"403 JSON": {emulator.PageForbiddenJSON, afterFailure},
	"404 HTML": {emulator.PageNotFoundHTML, afterFailure},
	"405 HTML": {emulator.PageNotAllowedHTML, afterFailure},
	"200 HTML": {emulator.PageOKHTML, afterFailure},
	"502 HTML": {emulator.PageBadGatewayHTML, afterFailure},
	"429 JSON": {emulator.PageLimitedJSON, afterLimit},
}

// sessionRoutes are the routes about Reactor sessions.
var sessionRoutes = []string{"POST /sessions", "GET /sessions/{id}", "DELETE /sessions/{id}"}

// everyRoute is a step's On when all of Reactor's routes are meant.
const everyRoute = "every route"

// betweenOperations are what happens between the operator and Reactor.
var betweenOperations = []operation{
	{"a proxy answers", 5, func(d dice) step {
		return step{On: d.one("POST /tokens", "POST /tokens", everyRoute), How: d.one(slices.Sorted(maps.Keys(pages))...), For: d.between(30*time.Second, 20*time.Minute)}
	}, func(w *world, s step) {
		answer := pages[s.How]
		faults := []emulator.Fault{{Page: answer.page}}
		if s.On == everyRoute {
			for _, route := range sessionRoutes {
				faults = append(faults, emulator.Fault{Route: route, Page: answer.page})
			}
		}
		w.answerWrongly(s, answer.grace, faults...)
	}},
	{"a mistaken 401", 4, func(d dice) step { return step{How: d.one("", "", "HTML", lateCall), Count: 1 + d.IntN(2)} }, (*world).mistake},
	{"a connection dies", 2, func(dice) step { return step{} }, func(w *world, _ step) {
		if leader := w.leader.Load(); leader != nil {
			leader.silent.Store(true)
		}
	}},
}

// lateCall is how a mistaken 401 overtakes the answer of a call that was sent before.
const lateCall = "overtakes a call"

// mistake has the next requests for a token answered with 401, although their key is good. Nothing else is out of order: the judge allows for
// no more than the time until the key is tried again.
func (w *world) mistake(s step) {
	w.between.mu.Lock()
	if s.How == lateCall {
		w.between.planned = append(w.between.planned, lateCall)
	}
	for range s.Count {
		w.between.planned = append(w.between.planned, "401 "+s.How)
	}
	w.between.mu.Unlock()
	if s.How == lateCall { // two requests with the same key at the same time
		for _, name := range w.tokensWith(keySecrets[0]) {
			w.requestRenewal(step{On: name, Do: s.Do})
		}
	}
}

// between is what is between the operator and Reactor.
type between struct {
	mu      sync.Mutex
	planned []string // what happens to the next requests for a token
}

// next returns what happens to a request for a token; empty for nothing.
func (b *between) next() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.planned) == 0 {
		return ""
	}
	how := b.planned[0]
	b.planned = b.planned[1:]
	return how
}

func (b *between) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.planned = nil
}

// send sends a request of a run of the operator to Reactor.
//
// A connection that died silently is one whose packets a NAT or a proxy drops: all calls on it hang, and new connections work. The model
// supposes that the client replaces such a connection after one call timed out, or after a ping did. That the client does so, over HTTP/1.1
// and HTTP/2, cannot show here, where there are no sockets: it is a test of internal/reactor. What shows here is that a call of 15 seconds
// without an answer, in the middle of anything, costs no token.
func (w *world) send(r *run, request *http.Request) (*http.Response, error) {
	if r.silent.Load() {
		w.judge.strike(everything, "a dead connection", 15*time.Second+afterChange) // the calls that hang take the workers
		w.judge.strike(atReactor, "a dead connection", time.Minute)
		<-request.Context().Done()
		r.silent.Store(false)
		return nil, request.Context().Err()
	}
	if request.Method != http.MethodPost || request.URL.Path != "/tokens" {
		return w.transport.RoundTrip(request)
	}
	switch how := w.between.next(); how {
	case "":
	case lateCall:
		const late = 4 * time.Second
		w.judge.strike(everything, how, late+afterChange/2)
		select {
		case <-request.Context().Done():
			return nil, request.Context().Err()
		case <-time.After(late):
		}
	case "401 HTML":
		return answerTo(request, http.StatusUnauthorized, "<html><body><h1>Sign in</h1></body></html>"), nil
	default:
		return answerTo(request, http.StatusUnauthorized, `{"error":"invalid_api_key","message":"the API key is missing or not known"}`), nil
	}
	return w.transport.RoundTrip(request)
}

// answerTo is an answer that is not Reactor's. It has no Date, so it says nothing about Reactor's clock.
func answerTo(request *http.Request, status int, body string) *http.Response {
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)), Request: request,
	}
}
