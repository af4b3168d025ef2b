package tokenserver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

const (
	floodPerSecond = 10_000
	floodLasts     = time.Second
)

// madeUp is a token that says of itself what a genuine one would say, in the shape of one and with the right id of a key. No two are alike.
func (c *cluster) madeUp(i int) string {
	part := func(content any) string {
		text, _ := json.Marshal(content)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	claims := map[string]any{"iss": c.URL, "sub": serviceAccountPrefix + "studio:web", "aud": audience, "exp": time.Now().Add(time.Hour).Unix(), "jti": i}
	signature := fmt.Appendf(nil, "%064d", i)
	return part(map[string]string{"alg": "ES256", "kid": "one"}) + "." + part(claims) + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// anyToken is a source that has a token for each caller.
type anyToken struct{}

func (anyToken) token(context.Context, string) (issued, error) {
	return issued{JWT: "token", ExpiresAt: time.Now().Add(time.Hour), Left: time.Hour}, nil
}

// routeOf serves this authenticator's callers, with the default limits.
func routeOf(who authenticator) http.Handler {
	perSecond := func() *rate.Limiter { return rate.NewLimiter(100, 100) }
	route := &handler{
		origins: &origins{http.NewCrossOriginProtection()}, inAll: perSecond(), strangers: perSecond(), callers: newCallerLimits(30, 10_000), who: who,
		source: anyToken{}, clock: clock.RealClock{}, log: slog.New(slog.DiscardHandler), counted: func(string) {},
	}
	return route.routes("/api/token")
}

// post sends a request with a bearer token, and returns the status and how long it took.
func post(t *testing.T, route http.Handler, token string) (int, time.Duration) {
	t.Helper()
	recorder, start := httptest.NewRecorder(), time.Now()
	route.ServeHTTP(recorder, bearer(t, token))
	return recorder.Code, time.Since(start)
}

// flood sends requests with made-up tokens, ten thousand a second, for a second. None waits for another. It returns when the last has its answer.
func (c *cluster) flood(t *testing.T, route http.Handler) {
	t.Helper()
	var requests sync.WaitGroup
	perTick := floodPerSecond / 1000
	for i := range floodPerSecond * int(floodLasts/time.Second) {
		if i%perTick == 0 {
			time.Sleep(time.Millisecond)
		}
		requests.Go(func() {
			if status, _ := post(t, route, c.madeUp(i)); status == http.StatusOK {
				t.Error("a made-up token is accepted")
			}
		})
	}
	requests.Wait()
}

// during runs a flood, and these callers beside it, ten of them in each second.
func (c *cluster) during(t *testing.T, route http.Handler, call func(i int)) {
	t.Helper()
	var all sync.WaitGroup
	all.Go(func() { c.flood(t, route) })
	for i := range 10 * int(floodLasts/time.Second) {
		all.Go(func() {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			call(i)
		})
	}
	all.Wait()
}

// The scenario: a client sends ten thousand made-up tokens a second. They name an account that may ask, the audience, and a key of the cluster.
// Callers that the server knows, and callers that it has never seen, get their tokens in the time that the cluster takes for one review.
func TestAFloodOfMadeUpTokensKeepsNoCallerWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newCluster(t)
		api.takes = 50 * time.Millisecond
		route, known := routeOf(api.authenticator(clock.RealClock{})), api.tokenOf(t, "studio:web", nil)
		if status, _ := post(t, route, known); status != http.StatusOK {
			t.Fatalf("before the flood: %d", status)
		}
		newcomers := make([]string, 10)
		for i := range newcomers {
			newcomers[i] = api.tokenOf(t, fmt.Sprint("media:bot", i), nil)
		}
		api.during(t, route, func(i int) {
			if status, took := post(t, route, known); status != http.StatusOK || took > 0 {
				t.Errorf("the known caller, call %d: %d after %s", i, status, took)
			}
			if status, took := post(t, route, newcomers[i]); status != http.StatusOK || took > api.takes {
				t.Errorf("the new caller %d: %d after %s", i, status, took)
			}
		})
		if most := 1 + len(newcomers) + 2*othersPerSecond; api.asked > most {
			t.Errorf("the cluster was asked about %d tokens, want at most %d", api.asked, most)
		}
	})
}

// Where the server may not read the keys of the cluster, it cannot tell a new caller from a made-up token. The callers that it knows must not
// suffer, not even when it is time to ask about their tokens again.
func TestWithoutTheKeysOfTheClusterKnownCallersAreServedInAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newCluster(t)
		api.keepsKeys = true
		route, known := routeOf(api.authenticator(clock.RealClock{})), api.tokenOf(t, "studio:web", nil)
		if status, _ := post(t, route, known); status != http.StatusOK {
			t.Fatalf("before the flood: %d", status)
		}
		time.Sleep(reviewedFor - floodLasts/2) // in the middle of the flood the cluster's word is too old
		api.during(t, route, func(i int) {
			if status, _ := post(t, route, known); status != http.StatusOK {
				t.Errorf("the known caller, call %d: %d", i, status)
			}
		})
		time.Sleep(time.Second)
		if status, _ := post(t, route, api.tokenOf(t, "media:bot", nil)); status != http.StatusOK {
			t.Errorf("a new caller, after the flood: %d", status)
		}
	})
}

// The scenario: more made-up tokens arrive than the memory has places, before one minute has passed.
func TestMadeUpTokensPushNoAcceptedTokenOutOfTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newCluster(t)
		who, known := api.authenticator(clock.RealClock{}), api.tokenOf(t, "studio:web", nil)
		if _, err := who.authenticate(bearer(t, known)); err != nil {
			t.Fatal(err)
		}
		for i := range mostReviews + 1 {
			if _, err := who.authenticate(bearer(t, api.madeUp(i))); err == nil {
				t.Fatal("a made-up token is accepted")
			}
		}
		before := api.asked
		if _, err := who.authenticate(bearer(t, known)); err != nil || api.asked != before {
			t.Errorf("the cluster was asked about a known token again: %v", err)
		}
	})
}

// What says of itself that it cannot be accepted costs the cluster nothing, whoever signed it.
func TestTokensThatCannotBeAcceptedAreNotReviewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newCluster(t)
		route := routeOf(api.authenticator(clock.RealClock{}))
		for _, token := range []string{
			"hello", api.tokenOf(t, "studio:other", nil), api.tokenOf(t, "studio:web", map[string]any{"aud": "other"}),
			api.tokenOf(t, "studio:web", map[string]any{"exp": time.Now().Add(-2 * clockLeeway).Unix()}),
		} {
			if status, _ := post(t, route, token); status != http.StatusUnauthorized {
				t.Errorf("got %d", status)
			}
		}
		api.wantAsked(t, 0)
	})
}

// The scenario: a page asks several times at the same moment with one token. The cluster is asked once, and the first request, which gives up,
// does not take the answer from the others.
func TestOneTokenIsReviewedOnceForAllWhoAskWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newCluster(t)
		api.takes = 3 * time.Second
		who, token := api.authenticator(clock.RealClock{}), api.tokenOf(t, "studio:web", nil)
		impatient := callAt(t, who, 0, time.Second, token)
		var others []<-chan outcome
		for range 5 {
			others = append(others, callAt(t, who, time.Millisecond, time.Hour, token))
		}
		if got := <-impatient; !isCannotTell(got.err) || got.after != time.Second {
			t.Errorf("the first, after %s: %v", got.after, got.err)
		}
		for _, other := range others {
			if got := <-other; got.err != nil || got.after != api.takes {
				t.Errorf("another, after %s: %v", got.after, got.err)
			}
		}
		api.wantAsked(t, 1)
	})
}

// An API server that hangs must not fill the server with requests that wait for it.
func TestOnlySoManyReviewsArePendingAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newCluster(t)
		api.takes = time.Hour
		who := api.authenticator(clock.RealClock{})
		var callers []<-chan outcome
		for i := range 3 * genuineAtATime {
			// Not faster than the cluster may be asked.
			callers = append(callers, callAt(t, who, time.Duration(i)*20*time.Millisecond, time.Hour, api.tokenOf(t, fmt.Sprint("media:bot", i), nil)))
		}
		waited := 0
		for i, caller := range callers {
			got := <-caller
			if !isCannotTell(got.err) {
				t.Errorf("caller %d: %v", i, got.err)
			}
			if got.after > time.Duration(i)*20*time.Millisecond {
				waited++
			}
		}
		if waited != genuineAtATime {
			t.Errorf("%d requests have waited for the cluster, want %d", waited, genuineAtATime)
		}
	})
}

// The same with an issuer of ID tokens, whose keys the server has.
func TestAFloodOfMadeUpIDTokensKeepsNoCallerWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newCluster(t) // its URL is the issuer's
		who := api.issuer.authenticator(clock.RealClock{})
		who.required = nil
		who.client = &http.Client{Transport: newSeldom(api, clock.RealClock{}), Timeout: issuerTimeout}
		route := routeOf(who)
		if status, _ := post(t, route, api.tokenOf(t, "studio:web", nil)); status != http.StatusOK {
			t.Fatalf("before the flood: %d", status)
		}
		newcomers := make([]string, 10)
		for i := range newcomers {
			newcomers[i] = api.tokenOf(t, fmt.Sprint("media:bot", i), nil)
		}
		api.during(t, route, func(i int) {
			if status, took := post(t, route, newcomers[i]); status != http.StatusOK || took > 0 {
				t.Errorf("the new caller %d: %d after %s", i, status, took)
			}
		})
		if told := int(api.told.Load()); told > issuerBurst+2 {
			t.Errorf("the issuer was asked %d times for its keys", told)
		}
	})
}

// BenchmarkAMadeUpToken is what each request of a flood costs, with a key of the cluster's id and so with a check of the signature.
func BenchmarkAMadeUpToken(b *testing.B) {
	api := &cluster{issuer: newIssuerWithoutServer(b)}
	api.answer = api.accepts
	who := api.authenticator(clock.RealClock{})
	if _, err := who.authenticate(bearer(b, api.tokenOf(b, "studio:web", nil))); err != nil {
		b.Fatal(err)
	}
	route := routeOf(who)
	for i := 0; b.Loop(); i++ { // none like another: the server remembers those that the cluster has refused
		route.ServeHTTP(httptest.NewRecorder(), bearer(b, api.madeUp(i)))
	}
}
