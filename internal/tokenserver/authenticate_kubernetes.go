package tokenserver

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
	"golang.org/x/sync/singleflight"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
)

const (
	// reviewedFor is how long the cluster's word about a token is believed: a deleted pod's token works for so long.
	reviewedFor = time.Minute
	// mostReviews is how many words of each kind are kept.
	mostReviews = 10_000
	// reviewTimeout bounds one question to the cluster.
	reviewTimeout = 10 * time.Second

	serviceAccountPrefix = "system:serviceaccount:"
	// clusterKeysPath is where the API server serves the keys with which it signs the tokens of service accounts.
	clusterKeysPath = "/openid/v1/jwks"
)

// tokenReviews is the part of Kubernetes' API that knows tokens.
type tokenReviews interface {
	Create(ctx context.Context, review *authenticationv1.TokenReview, options metav1.CreateOptions) (*authenticationv1.TokenReview, error)
}

// serviceAccounts accepts the tokens of named service accounts of the cluster that are meant for one audience.
//
// The cluster decides about a token, in a TokenReview. A client can make up any number of tokens, and must not make the cluster work, or keep
// genuine callers waiting. In this order:
//
//  1. A token about which the cluster decided less than a minute ago is not reviewed again. Accepted tokens have a memory of their own: made-up
//     tokens cannot push them out of it.
//  2. A token that does not claim to be of a named service account and for the audience, or that has expired, is refused without a question.
//  3. A token that was accepted before, or that is signed with a key of the cluster, is genuine. Nobody can make one up. Reviews of genuine
//     tokens and of others have separate budgets.
//
// The signature only chooses the budget: the cluster may accept keys that it does not publish, or keep this server from reading its keys. A
// token of such a cluster still works while few tokens are made up.
type serviceAccounts struct {
	audience string
	named    []string // namespace/name, and namespace/* for all of a namespace
	reviews  tokenReviews
	keys     oidc.KeySet // the cluster's
	clock    clock.PassiveClock

	calls             singleflight.Group // one review of a token at a time
	accepted, refused *lru.Cache         // *reviewed, by the hash of the token
	genuine, others   *reviewBudget
}

// reviewed is what the cluster said about a token.
type reviewed struct {
	account string // as namespace:name; empty for a token that it refused
	at      time.Time
}

// tokenHash stands for a token, which is not kept.
type tokenHash [sha256.Size]byte

// inspect implements authenticator.
func (s *serviceAccounts) inspect(request *http.Request) (bool, error) {
	raw, err := bearerOf(request)
	if err != nil {
		return false, err
	}
	hash := tokenHash(sha256.Sum256([]byte(raw)))
	if account, ok := s.decided(hash); ok {
		_, err := s.judge(account)
		return err == nil, err
	}
	if err := s.checkClaims(raw); err != nil {
		return false, err
	}
	return s.isGenuine(withoutWaiting(request.Context()), raw, hash), nil
}

// authenticate implements authenticator. A caller is a service account.
func (s *serviceAccounts) authenticate(request *http.Request) (string, error) {
	raw, err := bearerOf(request)
	if err != nil {
		return "", err
	}
	hash := tokenHash(sha256.Sum256([]byte(raw)))
	if account, ok := s.decided(hash); ok {
		return s.judge(account)
	}
	if err := s.checkClaims(raw); err != nil {
		return "", err
	}
	//nolint:contextcheck // the review is for all who ask with this token, and outlives the first request
	account, err := share(request.Context(), &s.calls, string(hash[:]), func() (string, error) {
		if account, ok := s.decided(hash); ok { // a review that ended since the check above
			return account, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(request.Context()), reviewTimeout)
		defer cancel()
		return s.review(ctx, raw, hash)
	})
	if err != nil {
		return "", &cannotTellError{err}
	}
	return s.judge(account)
}

// decided returns what the cluster said about a token less than a minute ago.
func (s *serviceAccounts) decided(hash tokenHash) (account string, ok bool) {
	for _, memory := range []*lru.Cache{s.accepted, s.refused} {
		found, _ := memory.Get(hash)
		if known, ok := found.(*reviewed); ok && s.clock.Since(known.at) < reviewedFor {
			return known.account, true
		}
	}
	return "", false
}

// checkClaims refuses a token that the cluster would refuse, or whose service account is not named, by what it says of itself.
func (s *serviceAccounts) checkClaims(raw string) error {
	claims, err := unverifiedClaims(raw)
	if err != nil {
		return &refusedError{err}
	}
	if err := claims.check(s.audience, s.clock.Now()); err != nil {
		return &refusedError{err}
	}
	_, err = s.judge(strings.TrimPrefix(claims.Subject, serviceAccountPrefix))
	return err
}

// isGenuine reports whether a token is one that a client cannot make up.
func (s *serviceAccounts) isGenuine(ctx context.Context, raw string, hash tokenHash) bool {
	if _, ok := s.accepted.Get(hash); ok {
		return true
	}
	_, err := s.keys.VerifySignature(ctx, raw)
	return err == nil
}

// review asks the cluster about a token, if the budget allows it.
func (s *serviceAccounts) review(ctx context.Context, raw string, hash tokenHash) (string, error) {
	budget := s.genuine
	if !s.isGenuine(ctx, raw, hash) {
		budget = s.others
	}
	if !budget.take(s.clock.Now()) {
		return "", errManyReviews
	}
	defer budget.giveBack()
	review, err := s.reviews.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: raw, Audiences: []string{s.audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("asking the cluster about a token: %w", err)
	}
	account := accountIn(&review.Status, s.audience)
	s.remember(hash, account)
	return account, nil
}

// remember keeps what the cluster said. A token that is refused is no longer known as genuine.
func (s *serviceAccounts) remember(hash tokenHash, account string) {
	word := &reviewed{account, s.clock.Now()}
	if account == "" {
		s.accepted.Remove(hash)
		s.refused.Add(hash, word)
		return
	}
	s.accepted.Add(hash, word)
}

// accountIn is the service account that the cluster names, as namespace:name; empty for any other user, whatever he is called.
func accountIn(status *authenticationv1.TokenReviewStatus, audience string) string {
	account, ok := strings.CutPrefix(status.User.Username, serviceAccountPrefix)
	if !ok || !status.Authenticated || !slices.Contains(status.Audiences, audience) {
		return ""
	}
	return account
}

// judge says whether a service account, given as namespace:name, is one of those that are named.
func (s *serviceAccounts) judge(account string) (string, error) {
	namespace, name, ok := strings.Cut(account, ":")
	if !ok {
		return "", &refusedError{errors.New("the cluster knows no service account with this token and audience")}
	}
	if slices.Contains(s.named, namespace+"/*") || slices.Contains(s.named, namespace+"/"+name) {
		return namespace + "/" + name, nil
	}
	return "", &refusedError{fmt.Errorf("the service account %s/%s is not among those that may ask", namespace, name)}
}
