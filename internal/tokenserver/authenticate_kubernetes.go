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

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
)

const (
	// reviewedFor is how long the cluster's word about a token is believed: a deleted pod's token works for so long.
	reviewedFor = time.Minute
	// mostReviews is how many words are kept.
	mostReviews = 10_000
	// reviewTimeout bounds one question to the cluster.
	reviewTimeout = 10 * time.Second

	serviceAccountPrefix = "system:serviceaccount:"
)

// tokenReviews is the part of Kubernetes' API that knows tokens.
type tokenReviews interface {
	Create(ctx context.Context, review *authenticationv1.TokenReview, options metav1.CreateOptions) (*authenticationv1.TokenReview, error)
}

// serviceAccounts accepts the tokens of named service accounts of the cluster that are meant for one audience.
type serviceAccounts struct {
	audience string
	named    []string // namespace/name, and namespace/* for all of a namespace
	reviews  tokenReviews
	known    *cache.LRUExpireCache // service account, by the hash of its token; empty for one that is refused
}

// authenticate implements authenticator. A caller is a service account.
func (s *serviceAccounts) authenticate(request *http.Request) (string, error) {
	raw, err := bearerOf(request)
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256([]byte(raw))
	if word, ok := s.known.Get(hash); ok {
		return s.judge(word)
	}
	ctx, cancel := context.WithTimeout(request.Context(), reviewTimeout)
	defer cancel()
	reviewed, err := s.reviews.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: raw, Audiences: []string{s.audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", &cannotTellError{fmt.Errorf("asking the cluster about a token: %w", err)}
	}
	account := accountIn(&reviewed.Status, s.audience)
	s.known.Add(hash, account, reviewedFor)
	return s.judge(account)
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
func (s *serviceAccounts) judge(word any) (string, error) {
	account, _ := word.(string)
	namespace, name, ok := strings.Cut(account, ":")
	if !ok {
		return "", &refusedError{errors.New("the cluster knows no service account with this token and audience")}
	}
	if slices.Contains(s.named, namespace+"/*") || slices.Contains(s.named, namespace+"/"+name) {
		return namespace + "/" + name, nil
	}
	return "", &refusedError{fmt.Errorf("the service account %s/%s is not among those that may ask", namespace, name)}
}
