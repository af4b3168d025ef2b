// Package authntest has an OpenID Connect issuer and a cluster for tests of authentication. Both answer in memory, so that they work inside
// testing/synctest; the issuer is an http.Handler too.
package authntest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// Audience is the audience of the tokens.
	Audience = "web-app"

	serviceAccountPrefix = "system:serviceaccount:"
)

// Issuer is an OpenID Connect issuer.
type Issuer struct {
	URL         string
	Key         *ecdsa.PrivateKey
	Unavailable atomic.Bool  // every request fails
	KeyRequests atomic.Int32 // how often the keys were requested
}

// NewIssuer returns an issuer that answers by Respond only, until its URL is set to that of a server.
func NewIssuer(tb testing.TB) *Issuer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return &Issuer{URL: "https://issuer.test", Key: key}
}

// ServeHTTP implements http.Handler.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case i.Unavailable.Load():
		w.WriteHeader(http.StatusBadGateway)
	case r.URL.Path == "/.well-known/openid-configuration":
		_, _ = w.Write(encode(map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
		}))
	case r.URL.Path == "/keys" || r.URL.Path == "/openid/v1/jwks":
		i.KeyRequests.Add(1)
		_, _ = w.Write(encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.Key.Public(), KeyID: "one", Algorithm: "ES256", Use: "sig"}}}))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// Respond answers a request without a connection.
func (i *Issuer) Respond(request *http.Request) *http.Response {
	recorder := httptest.NewRecorder()
	i.ServeHTTP(recorder, request)
	return recorder.Result()
}

// Sign returns an ID token with valid claims, after the changes.
func (i *Issuer) Sign(tb testing.TB, method jwt.SigningMethod, key any, changes jwt.MapClaims) string {
	tb.Helper()
	claims := jwt.MapClaims{
		"iss": i.URL, "sub": "ada", "aud": Audience, "exp": time.Now().Add(time.Hour).Unix(),
		"groups": []string{"staff", "web"}, "email_verified": true, "org": int64(9007199254740993),
	}
	maps.Copy(claims, changes)
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = "one"
	text, err := token.SignedString(key)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// encode returns the JSON of a value that always encodes.
func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text
}

// ReviewFunc decides about a token, in place of a cluster.
type ReviewFunc func(token string, audiences []string) (authenticationv1.TokenReviewStatus, error)

// Cluster signs tokens of service accounts, publishes its keys, and reviews tokens. It implements http.RoundTripper, as the transport of a
// rest.Config, and the client of TokenReviews.
type Cluster struct {
	*Issuer
	KeysForbidden bool          // no client can read the keys
	ReviewLatency time.Duration // of each review
	Review        ReviewFunc

	mu      sync.Mutex
	reviews int
}

// NewCluster returns a cluster that accepts all tokens that it has signed, for the audience of the review.
func NewCluster(tb testing.TB) *Cluster {
	tb.Helper()
	c := &Cluster{Issuer: NewIssuer(tb)}
	c.Review = c.accept
	return c
}

func (c *Cluster) accept(token string, audiences []string) (authenticationv1.TokenReviewStatus, error) {
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return c.Key.Public(), nil })
	user, _ := claims.GetSubject()
	return authenticationv1.TokenReviewStatus{Authenticated: err == nil, Audiences: audiences, User: authenticationv1.UserInfo{Username: user}}, nil
}

// Create implements the client of TokenReviews.
func (c *Cluster) Create(ctx context.Context, review *authenticationv1.TokenReview, _ metav1.CreateOptions) (*authenticationv1.TokenReview, error) {
	c.mu.Lock()
	c.reviews++
	decide := c.Review
	c.mu.Unlock()
	if c.ReviewLatency > 0 {
		select {
		case <-time.After(c.ReviewLatency):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	status, err := decide(review.Spec.Token, review.Spec.Audiences)
	return &authenticationv1.TokenReview{Status: status}, err
}

// Reviews returns the number of TokenReviews.
func (c *Cluster) Reviews() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reviews
}

// RoundTrip implements http.RoundTripper: it serves the keys and TokenReviews.
func (c *Cluster) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodPost {
		if c.KeysForbidden {
			return &http.Response{StatusCode: http.StatusForbidden, Body: http.NoBody}, nil
		}
		return c.Respond(request), nil
	}
	var review authenticationv1.TokenReview
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil {
		return nil, err
	}
	result, err := c.Create(request.Context(), &review, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	result.APIVersion, result.Kind = authenticationv1.SchemeGroupVersion.String(), "TokenReview"
	recorder := httptest.NewRecorder()
	recorder.Header().Set("Content-Type", "application/json")
	recorder.WriteHeader(http.StatusCreated)
	_, _ = recorder.Write(encode(result))
	return recorder.Result(), nil
}

// Token returns a token of a service account, which is given as namespace:name, in the form of this cluster.
func (c *Cluster) Token(tb testing.TB, account string, changes jwt.MapClaims) string {
	tb.Helper()
	claims := jwt.MapClaims{"sub": serviceAccountPrefix + account, "aud": []string{Audience}}
	maps.Copy(claims, changes)
	return c.Sign(tb, jwt.SigningMethodES256, c.Key, claims)
}

// MadeUpToken returns a token with the claims and the key id of a valid one, and with a made-up signature. Each number gives another token.
func (c *Cluster) MadeUpToken(number int) string {
	part := func(content any) string { return base64.RawURLEncoding.EncodeToString(encode(content)) }
	claims := map[string]any{"iss": c.URL, "sub": serviceAccountPrefix + "studio:web", "aud": Audience, "exp": time.Now().Add(time.Hour).Unix(), "jti": number}
	signature := fmt.Appendf(nil, "%064d", number)
	return part(map[string]string{"alg": "ES256", "kid": "one"}) + "." + part(claims) + "." + base64.RawURLEncoding.EncodeToString(signature)
}
