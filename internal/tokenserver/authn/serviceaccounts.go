package authn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationv1client "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/tokenserver/flight"
)

const (
	// reviewTTL is how long the result of a review is used: the token of a deleted pod is accepted for at most this time.
	reviewTTL = time.Minute
	// maxCachedReviews is the maximum number of accepted tokens in memory, and of rejected ones.
	maxCachedReviews = 10_000
	// reviewTimeout limits one call to the cluster.
	reviewTimeout = 10 * time.Second

	// clusterKeysPath is where the API server serves the keys with which it signs the tokens of service accounts.
	clusterKeysPath = "/openid/v1/jwks"
)

// tokenReviews is the part of the Kubernetes API that checks tokens.
type tokenReviews interface {
	Create(ctx context.Context, review *authenticationv1.TokenReview, options metav1.CreateOptions) (*authenticationv1.TokenReview, error)
}

// serviceAccounts accepts tokens of the allowed service accounts of the cluster, for one audience.
//
// The cluster decides about each token, in a TokenReview. A client can make up any number of tokens. These must not load the cluster, and must
// not delay callers with valid tokens. In this order:
//
//  1. The result of a review is used for a minute. Accepted and rejected tokens have separate caches, so that made-up tokens cannot evict
//     accepted ones.
//  2. A token that does not claim to belong to an allowed service account and to the audience, or that has expired, is rejected without a review.
//  3. A token that was accepted before, or that is signed with a key of the cluster, is verified: a client cannot make it up. Reviews of
//     verified and of unverified tokens have separate budgets.
//
// The signature only chooses the budget, because the cluster may accept keys that it does not publish, or may not let this server read its keys.
// A token of such a cluster still works while few tokens are made up.
type serviceAccounts struct {
	audience string
	allowed  []string // namespace/name, or namespace/* for all of a namespace
	reviews  tokenReviews
	keys     oidc.KeySet // of the cluster
	clock    clock.PassiveClock

	calls                flight.Group[string] // the running reviews, by the hash of the token
	accepted, rejected   *lru.Cache           // cachedReview, by the hash of the token
	verified, unverified *reviewBudget
}

// cachedReview is the result of a review.
type cachedReview struct {
	account string // as namespace:name; empty for a token that the cluster rejected
	time    time.Time
}

// tokenHash identifies a token in memory, in place of the token itself.
type tokenHash [sha256.Size]byte

// NewServiceAccounts returns an authenticator for the service accounts of the cluster.
func NewServiceAccounts(settings config.TokenServer, kube *rest.Config) (Authenticator, error) {
	kube = rest.CopyConfig(kube)
	kube.QPS = -1 // reviewBudget limits the reviews. client-go would queue them: those of verified tokens behind those of made-up ones.
	client, err := authenticationv1client.NewForConfig(kube)
	if err != nil {
		return nil, fmt.Errorf("--service-accounts: %w", err)
	}
	keys, err := clusterKeys(kube)
	if err != nil {
		return nil, fmt.Errorf("--service-accounts: %w", err)
	}
	return newServiceAccounts(settings, client.TokenReviews(), keys, clock.RealClock{}), nil
}

// clusterKeys returns the keys with which the cluster signs the tokens of service accounts. By default, every service account can read them.
func clusterKeys(kube *rest.Config) (oidc.KeySet, error) {
	transport, err := rest.TransportFor(kube)
	if err != nil {
		return nil, err
	}
	server, _, err := rest.DefaultServerUrlFor(kube)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: newLimitedTransport(transport, clock.RealClock{}), Timeout: reviewTimeout}
	return oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), client), server.JoinPath(clusterKeysPath).String()), nil
}

func newServiceAccounts(settings config.TokenServer, reviews tokenReviews, keys oidc.KeySet, now clock.PassiveClock) *serviceAccounts {
	return &serviceAccounts{
		audience: settings.ServiceAccountAudience, allowed: settings.ServiceAccounts, reviews: reviews, keys: keys, clock: now,
		accepted: lru.New(maxCachedReviews), rejected: lru.New(maxCachedReviews),
		verified: newReviewBudget(maxVerifiedReviews), unverified: newReviewBudget(maxUnverifiedReviews),
	}
}

// Inspect implements Authenticator.
func (s *serviceAccounts) Inspect(request *http.Request) (bool, error) {
	raw, err := bearerToken(request)
	if err != nil {
		return false, err
	}
	hash := tokenHash(sha256.Sum256([]byte(raw)))
	if account, ok := s.cached(hash); ok {
		_, err := s.checkAllowed(account)
		return err == nil, err
	}
	if err := s.checkClaims(raw); err != nil {
		return false, err
	}
	return s.isVerified(withoutWaiting(request.Context()), raw, hash), nil
}

// Authenticate implements Authenticator. The caller is the service account, as namespace/name.
func (s *serviceAccounts) Authenticate(request *http.Request) (string, error) {
	raw, err := bearerToken(request)
	if err != nil {
		return "", err
	}
	hash := tokenHash(sha256.Sum256([]byte(raw)))
	if account, ok := s.cached(hash); ok {
		return s.checkAllowed(account)
	}
	if err := s.checkClaims(raw); err != nil {
		return "", err
	}
	//nolint:contextcheck // the review is for all requests with this token, and continues when the first one ends
	account, err := s.calls.Do(request.Context(), string(hash[:]), func() (string, error) {
		if account, ok := s.cached(hash); ok { // a review ended after the check above
			return account, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(request.Context()), reviewTimeout)
		defer cancel()
		return s.review(ctx, raw, hash)
	})
	if err != nil {
		return "", &UnavailableError{err}
	}
	return s.checkAllowed(account)
}

// cached returns the result of a review that is less than a minute old.
func (s *serviceAccounts) cached(hash tokenHash) (account string, ok bool) {
	for _, cache := range []*lru.Cache{s.accepted, s.rejected} {
		found, _ := cache.Get(hash)
		if review, ok := found.(cachedReview); ok && s.clock.Since(review.time) < reviewTTL {
			return review.account, true
		}
	}
	return "", false
}

// checkClaims rejects a token by its own claims, if the cluster would reject it, or if its service account is not allowed.
func (s *serviceAccounts) checkClaims(raw string) error {
	claims, err := parseUnverified(raw)
	if err != nil {
		return &RejectedError{err}
	}
	if err := claims.check(s.audience, s.clock.Now()); err != nil {
		return &RejectedError{err}
	}
	_, err = s.checkAllowed(strings.TrimPrefix(claims.Subject, serviceAccountPrefix))
	return err
}

// isVerified reports whether a client cannot have made up the token.
func (s *serviceAccounts) isVerified(ctx context.Context, raw string, hash tokenHash) bool {
	if _, ok := s.accepted.Get(hash); ok {
		return true
	}
	_, err := s.keys.VerifySignature(ctx, raw)
	return err == nil
}

// review sends a TokenReview for a token, if the budget allows it, and caches the result. A rejected token no longer counts as verified.
func (s *serviceAccounts) review(ctx context.Context, raw string, hash tokenHash) (string, error) {
	budget := s.verified
	if !s.isVerified(ctx, raw, hash) {
		budget = s.unverified
	}
	if !budget.acquire(s.clock.Now()) {
		return "", ErrLimited
	}
	defer budget.release()
	review, err := s.reviews.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: raw, Audiences: []string{s.audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("reviewing a token: %w", err)
	}
	account := reviewedAccount(&review.Status, s.audience)
	if account == "" {
		s.accepted.Remove(hash)
		s.rejected.Add(hash, cachedReview{time: s.clock.Now()})
	} else {
		s.accepted.Add(hash, cachedReview{account: account, time: s.clock.Now()})
	}
	return account, nil
}

// reviewedAccount returns the service account that the cluster names, as namespace:name. It is empty for any other user.
func reviewedAccount(status *authenticationv1.TokenReviewStatus, audience string) string {
	account, ok := strings.CutPrefix(status.User.Username, serviceAccountPrefix)
	if !ok || !status.Authenticated || !slices.Contains(status.Audiences, audience) {
		return ""
	}
	return account
}

// checkAllowed returns the caller for a service account, given as namespace:name, or an error if the account is not allowed.
func (s *serviceAccounts) checkAllowed(account string) (string, error) {
	namespace, name, ok := strings.Cut(account, ":")
	if !ok {
		return "", &RejectedError{errors.New("the cluster has no service account with this token and audience")}
	}
	if slices.Contains(s.allowed, namespace+"/*") || slices.Contains(s.allowed, namespace+"/"+name) {
		return namespace + "/" + name, nil
	}
	return "", &RejectedError{fmt.Errorf("--service-accounts does not allow the service account %s/%s", namespace, name)}
}
