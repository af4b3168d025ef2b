package authn

import (
	"errors"
	"net/http"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

const (
	// maxVerifiedReviews and maxUnverifiedReviews are the maximum numbers of TokenReviews, per second and at the same time. A verified token is
	// reviewed at most once a minute.
	maxVerifiedReviews   = 100
	maxUnverifiedReviews = 5

	// issuerBurst and issuerInterval limit the requests for the keys of an issuer or of the cluster.
	issuerBurst    = 5
	issuerInterval = time.Second
)

// ErrLimited reports credentials that were not checked, because the limit of calls to the issuer or to the cluster was reached. Every client can
// cause it, with made-up tokens.
var ErrLimited = errors.New("the limit of requests to the issuer or the cluster is reached")

// reviewBudget limits the TokenReviews. A request that exceeds it fails immediately and can be repeated. If it waited, a flood would fill the
// server with waiting requests.
type reviewBudget struct {
	perSecond *rate.Limiter
	running   chan struct{}
}

func newReviewBudget(maximum int) *reviewBudget {
	return &reviewBudget{perSecond: rate.NewLimiter(rate.Limit(maximum), maximum), running: make(chan struct{}, maximum)}
}

// acquire reports whether a review is allowed now. The caller then calls release when the review has ended.
func (b *reviewBudget) acquire(now time.Time) bool {
	select {
	case b.running <- struct{}{}:
	default:
		return false
	}
	if !b.perSecond.AllowN(now, 1) {
		b.release()
		return false
	}
	return true
}

func (b *reviewBudget) release() { <-b.running }

// limitedTransport limits the requests to an issuer. Without it, a flood could make the server send as many:
//
//  1. A client sends a token with a made-up signature.
//  2. No key in memory fits, so go-oidc fetches the keys again, because the issuer may have a new one.
//  3. This repeats for each token of the flood.
//
// Tokens with a known key need no request. A token with a new key works as soon as one request has fetched that key.
type limitedTransport struct {
	next    http.RoundTripper
	limiter *rate.Limiter
	clock   clock.PassiveClock
}

func newLimitedTransport(next http.RoundTripper, now clock.PassiveClock) *limitedTransport {
	return &limitedTransport{next: next, limiter: rate.NewLimiter(rate.Every(issuerInterval), issuerBurst), clock: now}
}

// RoundTrip implements http.RoundTripper.
func (l *limitedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if !l.limiter.AllowN(l.clock.Now(), 1) {
		return nil, ErrLimited
	}
	return l.next.RoundTrip(request)
}
