package operator

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	typedauthenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	typedauthorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
)

// cluster knows who has the tokens "scraper" and "stranger", and lets the scraper get /metrics.
type cluster struct {
	typedauthenticationv1.TokenReviewInterface
	asked []authorizationv1.SubjectAccessReviewSpec
	calls int
	fails error
}

func (c *cluster) Create(_ context.Context, review *authenticationv1.TokenReview, _ metav1.CreateOptions) (*authenticationv1.TokenReview, error) {
	c.calls++
	if slices.Contains([]string{"scraper", "stranger"}, review.Spec.Token) {
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{
			Username: review.Spec.Token, UID: "u", Groups: []string{"g"}, Extra: map[string]authenticationv1.ExtraValue{"pod": {"p"}},
		}}
	}
	return review, c.fails
}

// rights is the part of the cluster that knows who may what.
type rights struct {
	typedauthorizationv1.SubjectAccessReviewInterface
	*cluster
}

func (r rights) Create(_ context.Context, review *authorizationv1.SubjectAccessReview, _ metav1.CreateOptions) (*authorizationv1.SubjectAccessReview, error) {
	r.calls++
	r.asked = append(r.asked, review.Spec)
	review.Status.Allowed = review.Spec.User == "scraper" && *review.Spec.NonResourceAttributes == authorizationv1.NonResourceAttributes{Verb: "get", Path: "/metrics"}
	return review, r.fails
}

// scraped asks for a path with this header, and returns the answer's status and body.
func (c *cluster) scraped(t *testing.T, guard *scrapeGuard, method, path, header string) (int, string) {
	t.Helper()
	handler, err := guard.filter(logr.Discard(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("the metrics")) }))
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	if header != "" {
		request.Header.Set("Authorization", header)
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	return answer.Code, answer.Body.String()
}

func (c *cluster) guard() *scrapeGuard {
	return &scrapeGuard{c, rights{cluster: c}, cache.NewLRUExpireCache(mostRulings)}
}

func TestWhoMayScrape(t *testing.T) {
	for name, test := range map[string]struct {
		method, path, header string
		want, wantCalls      int
	}{
		"who may":                    {"GET", "/metrics", "Bearer scraper", http.StatusOK, 2},
		"who may, in other letters":  {"GET", "/metrics", "bearer scraper", http.StatusOK, 2},
		"who may not":                {"GET", "/metrics", "Bearer stranger", http.StatusForbidden, 2},
		"who may, but not write":     {"POST", "/metrics", "Bearer scraper", http.StatusForbidden, 2},
		"who may, but not elsewhere": {"GET", "/debug", "Bearer scraper", http.StatusForbidden, 2},
		"a token of nobody":          {"GET", "/metrics", "Bearer none", http.StatusUnauthorized, 1},
		"nobody":                     {"GET", "/metrics", "", http.StatusUnauthorized, 0},
		"an empty token":             {"GET", "/metrics", "Bearer ", http.StatusUnauthorized, 0},
		"another scheme":             {"GET", "/metrics", "Basic scraper", http.StatusUnauthorized, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cluster{}
			guard := c.guard()
			for range 2 { // the second is answered from memory
				status, body := c.scraped(t, guard, test.method, test.path, test.header)
				if status != test.want || (body == "the metrics") != (test.want == http.StatusOK) || c.calls != test.wantCalls {
					t.Errorf("status %d, %q, after %d calls; want %d after %d", status, body, c.calls, test.want, test.wantCalls)
				}
			}
		})
	}
}

func TestTheClusterIsAskedAboutTheUserAsItKnowsThem(t *testing.T) {
	c := &cluster{}
	c.scraped(t, c.guard(), "GET", "/metrics", "Bearer scraper")
	want := []authorizationv1.SubjectAccessReviewSpec{{
		User: "scraper", UID: "u", Groups: []string{"g"}, Extra: map[string]authorizationv1.ExtraValue{"pod": {"p"}},
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "get", Path: "/metrics"},
	}}
	if diff := cmp.Diff(want, c.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestTheClustersWordIsBelievedForAMinuteAndItsFailureNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{fails: errors.New("the API server is away, and was told rk_secret")}
		guard := c.guard()
		status, body := c.scraped(t, guard, "GET", "/metrics", "Bearer scraper")
		if status != http.StatusInternalServerError || strings.Contains(body, "rk_secret") {
			t.Errorf("a cluster that fails: %d, %q", status, body)
		}
		c.fails = nil
		for range 2 {
			if status, _ := c.scraped(t, guard, "GET", "/metrics", "Bearer scraper"); status != http.StatusOK {
				t.Errorf("a cluster that is back: %d", status)
			}
		}
		before := c.calls
		time.Sleep(ruledFor + time.Second)
		c.scraped(t, guard, "GET", "/metrics", "Bearer scraper")
		if before != 3 || c.calls != 5 {
			t.Errorf("%d questions at first, and %d after a minute", before, c.calls)
		}
	})
}
