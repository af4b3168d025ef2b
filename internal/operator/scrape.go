package operator

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	typedauthenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	typedauthorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// ruledFor is how long the cluster's word about a scrape is believed.
	ruledFor = time.Minute
	// mostRulings is how many words are kept.
	mostRulings = 1000
	// rulingTimeout bounds the questions to the cluster about one scrape.
	rulingTimeout = 10 * time.Second
)

// scrapeGuard lets those scrape whom Kubernetes knows by their token, and who may get the path that they ask for.
//
// It does what the filter of controller-runtime does. That one brings k8s.io/apiserver, and with it gRPC, CEL and OpenTelemetry, and
// templates, for which the linker keeps every method of every type: 20 MB of a program of 54 MB, and nearly as much of its memory.
type scrapeGuard struct {
	tokens typedauthenticationv1.TokenReviewInterface
	access typedauthorizationv1.SubjectAccessReviewInterface
	known  *cache.LRUExpireCache // status codes, by the hash of what was asked
}

// guardScrapes is a provider of the metrics server's filter.
func guardScrapes(kube *rest.Config, client *http.Client) (metricsserver.Filter, error) {
	authentication, err := typedauthenticationv1.NewForConfigAndClient(kube, client)
	if err != nil {
		return nil, fmt.Errorf("making the client of TokenReviews: %w", err)
	}
	authorization, err := typedauthorizationv1.NewForConfigAndClient(kube, client)
	if err != nil {
		return nil, fmt.Errorf("making the client of SubjectAccessReviews: %w", err)
	}
	guard := &scrapeGuard{authentication.TokenReviews(), authorization.SubjectAccessReviews(), cache.NewLRUExpireCache(mostRulings)}
	return guard.filter, nil
}

// filter has next answer only those who may ask.
func (g *scrapeGuard) filter(logger logr.Logger, next http.Handler) (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, err := g.rule(r)
		switch {
		case err != nil:
			logger.Error(err, "whether somebody may scrape cannot be told")
			http.Error(w, "the cluster cannot be asked who you are, or what you may do", http.StatusInternalServerError)
		case status != http.StatusOK:
			http.Error(w, http.StatusText(status), status)
		default:
			next.ServeHTTP(w, r)
		}
	}), nil
}

// rule returns 200, 401 or 403. Its error is one of the Kubernetes API.
func (g *scrapeGuard) rule(r *http.Request) (int, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return http.StatusUnauthorized, nil
	}
	verb := strings.ToLower(r.Method)
	asked := sha256.Sum256([]byte(verb + " " + r.URL.Path + " " + token))
	if status, ok := g.known.Get(asked); ok {
		return status.(int), nil //nolint:forcetypeassert // nothing else is added
	}
	ctx, cancel := context.WithTimeout(r.Context(), rulingTimeout)
	defer cancel()
	status, err := g.ask(ctx, token, verb, r.URL.Path)
	if err == nil {
		g.known.Add(asked, status, ruledFor)
	}
	return status, err
}

// ask asks the cluster whose token it is, and whether that user may do what is asked for.
func (g *scrapeGuard) ask(ctx context.Context, token, verb, path string) (int, error) {
	who, err := g.tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return 0, fmt.Errorf("asking the cluster about a token: %w", err)
	}
	if !who.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := who.Status.User
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for name, values := range user.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	may, err := g.access.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: verb, Path: path},
	}}, metav1.CreateOptions{})
	if err != nil {
		return 0, fmt.Errorf("asking the cluster what user %q may do: %w", user.Username, err)
	}
	if !may.Status.Allowed {
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}
