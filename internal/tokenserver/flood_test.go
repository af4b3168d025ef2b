package tokenserver

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/tokenserver/authn"
	"github.com/reactor-operator/reactor-operator/test/infra/authntest"
)

const (
	floodPerSecond = 10_000
	floodLasts     = time.Second

	// The limits of package authn.
	reviewTTL                  = time.Minute
	unverifiedReviewsPerSecond = 5
	issuerBurst                = 5
)

// anyToken is a source that has a token for each caller.
type anyToken struct{}

func (anyToken) token(context.Context, string) (issued, error) {
	return issued{JWT: "token", ExpiresAt: time.Now().Add(time.Hour), Left: time.Hour}, nil
}

// routeOf serves the callers of this authenticator, with the default limits.
func routeOf(authenticator authn.Authenticator) http.Handler {
	perSecond := func() *rate.Limiter { return rate.NewLimiter(100, 100) }
	route := &handler{
		origins: &origins{http.NewCrossOriginProtection()}, verified: perSecond(), unverified: perSecond(), callers: newCallerLimits(30, 10_000),
		authenticator: authenticator, source: anyToken{}, clock: clock.RealClock{}, log: slog.New(slog.DiscardHandler), count: func(string) {},
	}
	return route.routes("/api/token")
}

// accountsOf accepts the service account studio/web and those of media, and calls the cluster as a server in the cluster does.
func accountsOf(tb testing.TB, c *authntest.Cluster) authn.Authenticator {
	tb.Helper()
	settings := config.TokenServer{ServiceAccounts: []string{"studio/web", "media/*"}, ServiceAccountAudience: authntest.Audience}
	authenticator, err := authn.NewServiceAccounts(settings, &rest.Config{Host: c.URL, Transport: c, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}})
	if err != nil {
		tb.Fatal(err)
	}
	return authenticator
}

func bearer(tb testing.TB, token string) *http.Request {
	tb.Helper()
	request := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, "/api/token", http.NoBody)
	request.Header.Set("Authorization", "Bearer "+token)
	return request
}

// post sends a request with a bearer token, and returns the status and how long it took.
func post(t *testing.T, route http.Handler, token string) (int, time.Duration) {
	t.Helper()
	recorder, start := httptest.NewRecorder(), time.Now()
	route.ServeHTTP(recorder, bearer(t, token))
	return recorder.Code, time.Since(start)
}

// flood sends requests with made-up tokens, ten thousand a second, for a second. None waits for another. It returns when the last has its answer.
func flood(t *testing.T, c *authntest.Cluster, route http.Handler) {
	t.Helper()
	var requests sync.WaitGroup
	perTick := floodPerSecond / 1000
	for i := range floodPerSecond * int(floodLasts/time.Second) {
		if i%perTick == 0 {
			time.Sleep(time.Millisecond)
		}
		requests.Go(func() {
			if status, _ := post(t, route, c.MadeUpToken(i)); status == http.StatusOK {
				t.Error("a made-up token is accepted")
			}
		})
	}
	requests.Wait()
}

// during runs a flood, and these callers in addition, ten of them in each second.
func during(t *testing.T, c *authntest.Cluster, route http.Handler, call func(i int)) {
	t.Helper()
	var all sync.WaitGroup
	all.Go(func() { flood(t, c, route) })
	for i := range 10 * int(floodLasts/time.Second) {
		all.Go(func() {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			call(i)
		})
	}
	all.Wait()
}

// The scenario: a client sends ten thousand made-up tokens a second. They name an account that may ask, the authntest.Audience, and a key of the cluster.
// Callers that the server knows, and new callers, get their tokens in the time that the cluster takes for one review.
func TestAFloodOfMadeUpTokensKeepsNoCallerWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := authntest.NewCluster(t)
		api.ReviewLatency = 50 * time.Millisecond
		route, known := routeOf(accountsOf(t, api)), api.Token(t, "studio:web", nil)
		if status, _ := post(t, route, known); status != http.StatusOK {
			t.Fatalf("before the flood: %d", status)
		}
		newcomers := make([]string, 10)
		for i := range newcomers {
			newcomers[i] = api.Token(t, fmt.Sprint("media:bot", i), nil)
		}
		during(t, api, route, func(i int) {
			if status, took := post(t, route, known); status != http.StatusOK || took > 0 {
				t.Errorf("the known caller, call %d: %d after %s", i, status, took)
			}
			if status, took := post(t, route, newcomers[i]); status != http.StatusOK || took > api.ReviewLatency {
				t.Errorf("the new caller %d: %d after %s", i, status, took)
			}
		})
		if maximum := 1 + len(newcomers) + 2*unverifiedReviewsPerSecond; api.Reviews() > maximum {
			t.Errorf("the cluster was asked about %d tokens, want at most %d", api.Reviews(), maximum)
		}
	})
}

// Where the server may not read the keys of the cluster, it cannot tell a new caller from a made-up token. The callers that it knows must not
// suffer, not even when it is time to ask about their tokens again.
func TestWithoutTheKeysOfTheClusterKnownCallersAreServedInAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := authntest.NewCluster(t)
		api.KeysForbidden = true
		route, known := routeOf(accountsOf(t, api)), api.Token(t, "studio:web", nil)
		if status, _ := post(t, route, known); status != http.StatusOK {
			t.Fatalf("before the flood: %d", status)
		}
		time.Sleep(reviewTTL - floodLasts/2) // in the middle of the flood the cluster's word is too old
		during(t, api, route, func(i int) {
			if status, _ := post(t, route, known); status != http.StatusOK {
				t.Errorf("the known caller, call %d: %d", i, status)
			}
		})
		time.Sleep(time.Second)
		if status, _ := post(t, route, api.Token(t, "media:bot", nil)); status != http.StatusOK {
			t.Errorf("a new caller, after the flood: %d", status)
		}
	})
}

// What says of itself that it cannot be accepted costs the cluster nothing, whoever signed it.
func TestTokensThatCannotBeAcceptedAreNotReviewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := authntest.NewCluster(t)
		route := routeOf(accountsOf(t, api))
		for _, token := range []string{
			"hello", api.Token(t, "studio:other", nil), api.Token(t, "studio:web", map[string]any{"aud": "other"}),
			api.Token(t, "studio:web", map[string]any{"exp": time.Now().Add(-10 * time.Minute).Unix()}),
		} {
			if status, _ := post(t, route, token); status != http.StatusUnauthorized {
				t.Errorf("got %d", status)
			}
		}
		if got := api.Reviews(); got != 0 {
			t.Errorf("the cluster was asked about %d tokens", got)
		}
	})
}

// The same with an issuer of ID tokens, whose keys the server has.
func TestAFloodOfMadeUpIDTokensKeepsNoCallerWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := authntest.NewCluster(t) // its URL is the issuer's
		who := authn.NewOIDC(config.TokenServer{OIDCIssuer: api.URL, OIDCAudience: authntest.Audience}, api, clock.RealClock{})
		route := routeOf(who)
		if status, _ := post(t, route, api.Token(t, "studio:web", nil)); status != http.StatusOK {
			t.Fatalf("before the flood: %d", status)
		}
		newcomers := make([]string, 10)
		for i := range newcomers {
			newcomers[i] = api.Token(t, fmt.Sprint("media:bot", i), nil)
		}
		during(t, api, route, func(i int) {
			if status, took := post(t, route, newcomers[i]); status != http.StatusOK || took > 0 {
				t.Errorf("the new caller %d: %d after %s", i, status, took)
			}
		})
		if keyRequests := int(api.KeyRequests.Load()); keyRequests > issuerBurst+2 {
			t.Errorf("the issuer was asked %d times for its keys", keyRequests)
		}
	})
}

// BenchmarkAMadeUpToken is what each request of a flood costs, with a key of the cluster's id and so with a check of the signature.
func BenchmarkAMadeUpToken(b *testing.B) {
	api := authntest.NewCluster(b)
	who := accountsOf(b, api)
	if _, err := who.Authenticate(bearer(b, api.Token(b, "studio:web", nil))); err != nil {
		b.Fatal(err)
	}
	route := routeOf(who)
	for i := 0; b.Loop(); i++ { // none like another: the server remembers those that the cluster has refused
		route.ServeHTTP(httptest.NewRecorder(), bearer(b, api.MadeUpToken(i)))
	}
}

func TestNoBearerTokenIsInTheLog(t *testing.T) {
	i := authntest.NewIssuer(t)
	server := httptest.NewServer(i)
	defer server.Close()
	i.URL = server.URL
	tokens := map[string]string{
		"good": i.Sign(t, jwt.SigningMethodES256, i.Key, nil), "expired": i.Sign(t, jwt.SigningMethodES256, i.Key, jwt.MapClaims{"exp": 1}),
		"none": i.Sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), "cut": i.Sign(t, jwt.SigningMethodES256, i.Key, nil)[:100],
	}
	now := clocktesting.NewFakePassiveClock(time.Now())
	cluster := authntest.NewCluster(t)
	tokens["the cluster's, which it refuses"] = cluster.Token(t, "studio:web", nil)
	cluster.Review = func(string, []string) (authenticationv1.TokenReviewStatus, error) {
		return authenticationv1.TokenReviewStatus{}, nil
	}
	oidcOf := func(url string) authn.Authenticator {
		return authn.NewOIDC(config.TokenServer{OIDCIssuer: url, OIDCAudience: authntest.Audience}, http.DefaultTransport, now)
	}
	for kind, who := range map[string]authn.Authenticator{"OIDC": oidcOf(i.URL), "an issuer that is away": oidcOf("http://127.0.0.1:1"), "the cluster": accountsOf(t, cluster)} {
		var logged bytes.Buffer
		route := &handler{
			origins: &origins{http.NewCrossOriginProtection()}, verified: rate.NewLimiter(rate.Inf, 1), unverified: rate.NewLimiter(rate.Inf, 1), callers: newCallerLimits(1000, 1000), authenticator: who,
			source: &mounted{directory: t.TempDir(), clock: now}, clock: now, log: slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
			count: func(string) {},
		}
		for name, token := range tokens {
			askOf(t, route.routes("/api/token"), http.MethodPost, "", header("Authorization", "Bearer "+token))
			for part := range strings.SplitSeq(token, ".") {
				if len(part) > 8 && strings.Contains(logged.String(), part) {
					t.Errorf("%s: a part of the token that is %s is in the log: %s", kind, name, &logged)
				}
			}
		}
		if logged.Len() == 0 {
			t.Errorf("%s: nothing was logged", kind)
		}
	}
}
