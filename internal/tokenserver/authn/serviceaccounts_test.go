package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/test/infra/authntest"
)

// wantReviews checks how many tokens the cluster has reviewed.
func wantReviews(t *testing.T, c *authntest.Cluster, want int) {
	t.Helper()
	if got := c.Reviews(); got != want {
		t.Errorf("the cluster was asked about %d tokens, want %d", got, want)
	}
}

// accountsOf accepts the service account studio/web and those of media.
func accountsOf(c *authntest.Cluster, now clock.PassiveClock) *serviceAccounts {
	client := &http.Client{Transport: newLimitedTransport(c, now)}
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), client), c.URL+clusterKeysPath)
	settings := config.TokenServer{ServiceAccounts: []string{"studio/web", "media/*"}, ServiceAccountAudience: authntest.Audience}
	return newServiceAccounts(settings, c, keys, now)
}

func TestServiceAccountsThatAreNamedMayAsk(t *testing.T) {
	api := authntest.NewCluster(t)
	now := clocktesting.NewFakePassiveClock(time.Now())
	authenticator := accountsOf(api, now)
	foreign := authntest.NewCluster(t)
	for name, test := range map[string]struct{ token, want string }{
		"a named account":             {api.Token(t, "studio:web", nil), "studio/web"},
		"one of a named namespace":    {api.Token(t, "media:bot", nil), "media/bot"},
		"for several audiences":       {api.Token(t, "studio:web", jwt.MapClaims{"aud": []string{"other", authntest.Audience}}), "studio/web"},
		"another account":             {api.Token(t, "studio:other", nil), ""},
		"a longer name":               {api.Token(t, "studio:web:extra", nil), ""},
		"a user":                      {api.Token(t, "", jwt.MapClaims{"sub": "ada@example.com"}), ""},
		"a user with such a name":     {api.Token(t, "", jwt.MapClaims{"sub": "studio:web"}), ""},
		"for another audience":        {api.Token(t, "studio:web", jwt.MapClaims{"aud": "other"}), ""},
		"expired":                     {api.Token(t, "studio:web", jwt.MapClaims{"exp": now.Now().Add(-time.Hour).Unix()}), ""},
		"of another cluster":          {foreign.Token(t, "studio:web", nil), ""},
		"no token":                    {"hello", ""},
		"claims that are not encoded": {"a.!.c", ""},
		"claims that are not JSON":    {"a.aGVsbG8.c", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time from memory
				caller, err := authenticator.Authenticate(bearer(t, test.token))
				if _, refused := errors.AsType[*RejectedError](err); caller != test.want || refused != (test.want == "") {
					t.Errorf("%q, %v", caller, err)
				}
				if _, err := authenticator.Inspect(bearer(t, test.token)); (err != nil) != (test.want == "") {
					t.Errorf("afterwards, inspect says: %v", err)
				}
			}
		})
	}
}

// A user of another kind may be called like a service account by what reviews tokens.
func TestAUserThatIsNoServiceAccountIsRefused(t *testing.T) {
	api := authntest.NewCluster(t)
	for _, user := range []string{"ada@example.com", "studio:web", "system:serviceaccount:studio:web:extra"} {
		api.Review = func(_ string, audiences []string) (authenticationv1.TokenReviewStatus, error) {
			return authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: audiences, User: authenticationv1.UserInfo{Username: user}}, nil
		}
		if caller, err := accountsOf(api, clock.RealClock{}).Authenticate(bearer(t, api.Token(t, "studio:web", nil))); err == nil {
			t.Errorf("%s: got %q", user, caller)
		}
	}
}

// An API server that knows nothing of audiences accepts the token and names none.
func TestATokenThatWasNotCheckedForTheAudienceIsRefused(t *testing.T) {
	api := authntest.NewCluster(t)
	api.Review = func(string, []string) (authenticationv1.TokenReviewStatus, error) {
		return authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "system:serviceaccount:studio:web"}}, nil
	}
	if caller, err := accountsOf(api, clock.RealClock{}).Authenticate(bearer(t, api.Token(t, "studio:web", nil))); err == nil {
		t.Errorf("got %q", caller)
	}
}

func TestTheClustersWordIsBelievedForAMinute(t *testing.T) {
	now := clocktesting.NewFakePassiveClock(time.Now())
	api := authntest.NewCluster(t)
	authenticator, token := accountsOf(api, now), api.Token(t, "studio:web", nil)
	for range 5 {
		if _, err := authenticator.Authenticate(bearer(t, token)); err != nil {
			t.Fatal(err)
		}
	}
	wantReviews(t, api, 1)
	api.Review = func(string, []string) (authenticationv1.TokenReviewStatus, error) { // the pod was deleted
		return authenticationv1.TokenReviewStatus{Error: "the pod was deleted"}, nil
	}
	now.SetTime(now.Now().Add(reviewTTL + time.Second))
	for range 5 { // a refusal is believed too
		if caller, err := authenticator.Authenticate(bearer(t, token)); err == nil {
			t.Errorf("got %q", caller)
		}
	}
	wantReviews(t, api, 2)
	api.Review = func(string, []string) (authenticationv1.TokenReviewStatus, error) {
		return authenticationv1.TokenReviewStatus{}, errors.New("the API server is away")
	}
	if _, err := authenticator.Authenticate(bearer(t, api.Token(t, "media:bot", nil))); !isUnavailable(err) {
		t.Errorf("got %v", err)
	}
}

// The scenario: more made-up tokens arrive than the memory has places, before one minute has passed.
func TestMadeUpTokensPushNoAcceptedTokenOutOfTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := authntest.NewCluster(t)
		authenticator, known := accountsOf(api, clock.RealClock{}), api.Token(t, "studio:web", nil)
		if _, err := authenticator.Authenticate(bearer(t, known)); err != nil {
			t.Fatal(err)
		}
		for i := range maxCachedReviews + 1 {
			if _, err := authenticator.Authenticate(bearer(t, api.MadeUpToken(i))); err == nil {
				t.Fatal("a made-up token is accepted")
			}
		}
		before := api.Reviews()
		if _, err := authenticator.Authenticate(bearer(t, known)); err != nil || api.Reviews() != before {
			t.Errorf("the cluster was asked about a known token again: %v", err)
		}
	})
}

// The scenario: a page asks several times at the same moment with one token. The cluster is asked once, and the first request, which gives up,
// does not take the answer from the others.
func TestOneTokenIsReviewedOnceForAllCallersThatSendIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := authntest.NewCluster(t)
		api.ReviewLatency = 3 * time.Second
		authenticator, token := accountsOf(api, clock.RealClock{}), api.Token(t, "studio:web", nil)
		impatient := callAt(t, authenticator, 0, time.Second, token)
		var others []<-chan outcome
		for range 5 {
			others = append(others, callAt(t, authenticator, time.Millisecond, time.Hour, token))
		}
		if got := <-impatient; !isUnavailable(got.err) || got.after != time.Second {
			t.Errorf("the first, after %s: %v", got.after, got.err)
		}
		for _, other := range others {
			if got := <-other; got.err != nil || got.after != api.ReviewLatency {
				t.Errorf("another, after %s: %v", got.after, got.err)
			}
		}
		wantReviews(t, api, 1)
	})
}

// An API server that hangs must not fill the server with requests that wait for it.
func TestOnlySoManyReviewsArePendingAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := authntest.NewCluster(t)
		api.ReviewLatency = time.Hour
		authenticator := accountsOf(api, clock.RealClock{})
		var callers []<-chan outcome
		for i := range 3 * maxVerifiedReviews {
			// Not faster than the cluster may be asked.
			callers = append(callers, callAt(t, authenticator, time.Duration(i)*20*time.Millisecond, time.Hour, api.Token(t, fmt.Sprint("media:bot", i), nil)))
		}
		waited := 0
		for i, caller := range callers {
			got := <-caller
			if !isUnavailable(got.err) {
				t.Errorf("caller %d: %v", i, got.err)
			}
			if got.after > time.Duration(i)*20*time.Millisecond {
				waited++
			}
		}
		if waited != maxVerifiedReviews {
			t.Errorf("%d requests have waited for the cluster, want %d", waited, maxVerifiedReviews)
		}
	})
}
