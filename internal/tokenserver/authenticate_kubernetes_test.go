package tokenserver

import (
	"context"
	"errors"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/reactor-operator/reactor-operator/internal/config"
)

// cluster reviews tokens.
type cluster struct {
	answer func(token string, audiences []string) (authenticationv1.TokenReviewStatus, error)
	asked  int
}

func (c *cluster) Create(_ context.Context, review *authenticationv1.TokenReview, _ metav1.CreateOptions) (*authenticationv1.TokenReview, error) {
	c.asked++
	status, err := c.answer(review.Spec.Token, review.Spec.Audiences)
	return &authenticationv1.TokenReview{Status: status}, err
}

// knows is a cluster that knows users by their tokens, for one audience.
func knows(users map[string]string) func(string, []string) (authenticationv1.TokenReviewStatus, error) {
	return func(token string, audiences []string) (authenticationv1.TokenReviewStatus, error) {
		user, ok := users[token]
		return authenticationv1.TokenReviewStatus{Authenticated: ok, Audiences: audiences, User: authenticationv1.UserInfo{Username: user}}, nil
	}
}

func TestServiceAccountsThatAreNamedMayAsk(t *testing.T) {
	users := map[string]string{
		"web": "system:serviceaccount:studio:web", "bot": "system:serviceaccount:media:bot", "other": "system:serviceaccount:studio:other",
		"human": "ada@example.com", "pretender": "studio:web", "nested": "system:serviceaccount:studio:web:extra",
	}
	now := clocktesting.NewFakePassiveClock(time.Now())
	who := newServiceAccounts(config.TokenServer{ServiceAccounts: []string{"studio/web", "media/*"}, ServiceAccountAudience: audience},
		&cluster{answer: knows(users)}, now)
	for token, want := range map[string]string{"web": "studio/web", "bot": "media/bot", "other": "", "human": "", "pretender": "", "nested": "", "unknown": ""} {
		for range 2 { // the second time from memory
			caller, err := who.authenticate(bearer(t, token))
			if _, refused := errors.AsType[*refusedError](err); caller != want || refused != (want == "") {
				t.Errorf("%s: %q, %v", token, caller, err)
			}
		}
	}
}

// An API server that knows nothing of audiences accepts the token and names none.
func TestATokenThatWasNotCheckedForTheAudienceIsRefused(t *testing.T) {
	who := newServiceAccounts(config.TokenServer{ServiceAccounts: []string{"studio/web"}, ServiceAccountAudience: audience},
		&cluster{answer: func(string, []string) (authenticationv1.TokenReviewStatus, error) {
			return authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "system:serviceaccount:studio:web"}}, nil
		}}, clocktesting.NewFakePassiveClock(time.Now()))
	if caller, err := who.authenticate(bearer(t, "web")); err == nil {
		t.Errorf("got %q", caller)
	}
}

func TestTheClustersWordIsBelievedForAMinute(t *testing.T) {
	now := clocktesting.NewFakePassiveClock(time.Now())
	api := &cluster{answer: knows(map[string]string{"web": "system:serviceaccount:studio:web"})}
	who := newServiceAccounts(config.TokenServer{ServiceAccounts: []string{"studio/web"}, ServiceAccountAudience: audience}, api, now)
	for range 5 {
		if _, err := who.authenticate(bearer(t, "web")); err != nil {
			t.Fatal(err)
		}
	}
	if api.asked != 1 {
		t.Errorf("the cluster was asked %d times", api.asked)
	}
	api.answer = knows(nil) // the pod was deleted
	now.SetTime(now.Now().Add(reviewedFor + time.Second))
	if caller, err := who.authenticate(bearer(t, "web")); err == nil {
		t.Errorf("got %q", caller)
	}
	api.answer = func(string, []string) (authenticationv1.TokenReviewStatus, error) {
		return authenticationv1.TokenReviewStatus{}, errors.New("the API server is away")
	}
	if _, err := who.authenticate(bearer(t, "another")); !isCannotTell(err) {
		t.Errorf("got %v", err)
	}
}
