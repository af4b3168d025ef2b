package tokenserver

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/reactor-operator/reactor-operator/internal/config"
)

// cluster signs tokens, publishes its keys, and reviews tokens.
type cluster struct {
	*issuer
	keepsKeys bool          // nobody may read them
	takes     time.Duration // for a review

	mu     sync.Mutex
	answer func(token string, audiences []string) (authenticationv1.TokenReviewStatus, error)
	asked  int
}

// newCluster is a cluster that accepts all that it has signed, for the audience that it is asked about.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{issuer: newIssuerWithoutServer(t)}
	c.answer = c.accepts
	return c
}

func (c *cluster) accepts(token string, audiences []string) (authenticationv1.TokenReviewStatus, error) {
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return c.key.Public(), nil })
	user, _ := claims.GetSubject()
	return authenticationv1.TokenReviewStatus{Authenticated: err == nil, Audiences: audiences, User: authenticationv1.UserInfo{Username: user}}, nil
}

func (c *cluster) Create(ctx context.Context, review *authenticationv1.TokenReview, _ metav1.CreateOptions) (*authenticationv1.TokenReview, error) {
	c.mu.Lock()
	c.asked++
	answer := c.answer
	c.mu.Unlock()
	if c.takes > 0 {
		select {
		case <-time.After(c.takes):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	status, err := answer(review.Spec.Token, review.Spec.Audiences)
	return &authenticationv1.TokenReview{Status: status}, err
}

// wantAsked checks how many tokens the cluster has reviewed.
func (c *cluster) wantAsked(t *testing.T, want int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked != want {
		t.Errorf("the cluster was asked about %d tokens, want %d", c.asked, want)
	}
}

// RoundTrip implements http.RoundTripper: it serves the keys.
func (c *cluster) RoundTrip(request *http.Request) (*http.Response, error) {
	if c.keepsKeys {
		return &http.Response{StatusCode: http.StatusForbidden, Body: http.NoBody}, nil
	}
	return c.respond(request), nil
}

// tokenOf is a token of a service account, which is given as namespace:name, as this cluster makes it.
func (c *cluster) tokenOf(tb testing.TB, account string, changes jwt.MapClaims) string {
	tb.Helper()
	claims := jwt.MapClaims{"sub": serviceAccountPrefix + account, "aud": []string{audience}}
	maps.Copy(claims, changes)
	return c.sign(tb, jwt.SigningMethodES256, c.key, claims)
}

// authenticator accepts the service account studio/web and those of media.
func (c *cluster) authenticator(now clock.PassiveClock) *serviceAccounts {
	client := &http.Client{Transport: newSeldom(c, now)}
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), client), c.URL+clusterKeysPath)
	settings := config.TokenServer{ServiceAccounts: []string{"studio/web", "media/*"}, ServiceAccountAudience: audience}
	return newServiceAccounts(settings, c, keys, now)
}

func TestServiceAccountsThatAreNamedMayAsk(t *testing.T) {
	api := newCluster(t)
	now := clocktesting.NewFakePassiveClock(time.Now())
	who := api.authenticator(now)
	foreign := newCluster(t)
	for name, test := range map[string]struct{ token, want string }{
		"a named account":             {api.tokenOf(t, "studio:web", nil), "studio/web"},
		"one of a named namespace":    {api.tokenOf(t, "media:bot", nil), "media/bot"},
		"for several audiences":       {api.tokenOf(t, "studio:web", jwt.MapClaims{"aud": []string{"other", audience}}), "studio/web"},
		"another account":             {api.tokenOf(t, "studio:other", nil), ""},
		"a longer name":               {api.tokenOf(t, "studio:web:extra", nil), ""},
		"a person":                    {api.tokenOf(t, "", jwt.MapClaims{"sub": "ada@example.com"}), ""},
		"a person with such a name":   {api.tokenOf(t, "", jwt.MapClaims{"sub": "studio:web"}), ""},
		"for another audience":        {api.tokenOf(t, "studio:web", jwt.MapClaims{"aud": "other"}), ""},
		"expired":                     {api.tokenOf(t, "studio:web", jwt.MapClaims{"exp": now.Now().Add(-time.Hour).Unix()}), ""},
		"of another cluster":          {foreign.tokenOf(t, "studio:web", nil), ""},
		"no token":                    {"hello", ""},
		"claims that are not encoded": {"a.!.c", ""},
		"claims that are not JSON":    {"a.aGVsbG8.c", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time from memory
				caller, err := who.authenticate(bearer(t, test.token))
				if _, refused := errors.AsType[*refusedError](err); caller != test.want || refused != (test.want == "") {
					t.Errorf("%q, %v", caller, err)
				}
				if _, err := who.inspect(bearer(t, test.token)); (err != nil) != (test.want == "") {
					t.Errorf("afterwards, inspect says: %v", err)
				}
			}
		})
	}
}

// A user of another kind may be called like a service account by what reviews tokens.
func TestAUserThatIsNoServiceAccountIsRefused(t *testing.T) {
	api := newCluster(t)
	for _, user := range []string{"ada@example.com", "studio:web", "system:serviceaccount:studio:web:extra"} {
		api.answer = func(_ string, audiences []string) (authenticationv1.TokenReviewStatus, error) {
			return authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: audiences, User: authenticationv1.UserInfo{Username: user}}, nil
		}
		if caller, err := api.authenticator(clock.RealClock{}).authenticate(bearer(t, api.tokenOf(t, "studio:web", nil))); err == nil {
			t.Errorf("%s: got %q", user, caller)
		}
	}
}

// An API server that knows nothing of audiences accepts the token and names none.
func TestATokenThatWasNotCheckedForTheAudienceIsRefused(t *testing.T) {
	api := newCluster(t)
	api.answer = func(string, []string) (authenticationv1.TokenReviewStatus, error) {
		return authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "system:serviceaccount:studio:web"}}, nil
	}
	if caller, err := api.authenticator(clock.RealClock{}).authenticate(bearer(t, api.tokenOf(t, "studio:web", nil))); err == nil {
		t.Errorf("got %q", caller)
	}
}

func TestTheClustersWordIsBelievedForAMinute(t *testing.T) {
	now := clocktesting.NewFakePassiveClock(time.Now())
	api := newCluster(t)
	who, token := api.authenticator(now), api.tokenOf(t, "studio:web", nil)
	for range 5 {
		if _, err := who.authenticate(bearer(t, token)); err != nil {
			t.Fatal(err)
		}
	}
	api.wantAsked(t, 1)
	api.answer = func(string, []string) (authenticationv1.TokenReviewStatus, error) { // the pod was deleted
		return authenticationv1.TokenReviewStatus{Error: "the pod is gone"}, nil
	}
	now.SetTime(now.Now().Add(reviewedFor + time.Second))
	for range 5 { // a refusal is believed too
		if caller, err := who.authenticate(bearer(t, token)); err == nil {
			t.Errorf("got %q", caller)
		}
	}
	api.wantAsked(t, 2)
	api.answer = func(string, []string) (authenticationv1.TokenReviewStatus, error) {
		return authenticationv1.TokenReviewStatus{}, errors.New("the API server is away")
	}
	if _, err := who.authenticate(bearer(t, api.tokenOf(t, "media:bot", nil))); !isCannotTell(err) {
		t.Errorf("got %v", err)
	}
}
