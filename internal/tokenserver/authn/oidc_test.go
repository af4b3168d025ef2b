package authn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/test/infra/authntest"
)

// newIssuer returns an issuer that listens.
func newIssuer(t *testing.T) *authntest.Issuer {
	t.Helper()
	i := authntest.NewIssuer(t)
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.URL = server.URL
	return i
}

// oidcOf accepts the ID tokens of an issuer, with claims that its tokens have.
func oidcOf(i *authntest.Issuer, transport http.RoundTripper, now clock.PassiveClock) *oidcTokens {
	settings := config.TokenServer{
		OIDCIssuer: i.URL, OIDCAudience: authntest.Audience,
		OIDCRequiredClaims: []string{"groups=web", "groups=staff", "email_verified=true", "org=9007199254740993"},
	}
	return NewOIDC(settings, transport, now).(*oidcTokens)
}

func bearer(tb testing.TB, token string) *http.Request {
	tb.Helper()
	request := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, "/api/token", http.NoBody)
	request.Header.Set("Authorization", "Bearer "+token)
	return request
}

func TestAnIDTokenIdentifiesTheCaller(t *testing.T) {
	i := newIssuer(t)
	authenticator := oidcOf(i, http.DefaultTransport, clock.RealClock{})
	for subject, audiences := range map[string]any{"ada": authntest.Audience, "grace": []string{"other", authntest.Audience}} {
		caller, err := authenticator.Authenticate(bearer(t, i.Sign(t, jwt.SigningMethodES256, i.Key, jwt.MapClaims{"sub": subject, "aud": audiences})))
		if err != nil || caller != i.URL+"#"+subject {
			t.Errorf("%q, %v", caller, err)
		}
	}
}

func TestIDTokensThatAreNotGoodAreRefused(t *testing.T) {
	i := newIssuer(t)
	authenticator := oidcOf(i, http.DefaultTransport, clock.RealClock{})
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := i.Sign(t, jwt.SigningMethodES256, i.Key, nil)
	for name, token := range map[string]string{
		"of another audience":             i.Sign(t, jwt.SigningMethodES256, i.Key, jwt.MapClaims{"aud": "other-app"}),
		"expired":                         i.Sign(t, jwt.SigningMethodES256, i.Key, jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}),
		"not valid yet":                   i.Sign(t, jwt.SigningMethodES256, i.Key, jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}),
		"of another issuer":               i.Sign(t, jwt.SigningMethodES256, i.Key, jwt.MapClaims{"iss": "https://evil.example"}),
		"without a subject":               i.Sign(t, jwt.SigningMethodES256, i.Key, jwt.MapClaims{"sub": ""}),
		"without a required claim":        i.Sign(t, jwt.SigningMethodES256, i.Key, jwt.MapClaims{"groups": []string{"staff"}}),
		"without one of two values":       i.Sign(t, jwt.SigningMethodES256, i.Key, jwt.MapClaims{"groups": []string{"web"}}),
		"with a number in addition to it": i.Sign(t, jwt.SigningMethodES256, i.Key, jwt.MapClaims{"org": int64(9007199254740992)}),
		"with another value of it":        i.Sign(t, jwt.SigningMethodES256, i.Key, jwt.MapClaims{"email_verified": false}),
		"signed by another key":           i.Sign(t, jwt.SigningMethodES256, foreign, nil),
		"alg: none":                       i.Sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"HS256 with the public key":       i.Sign(t, jwt.SigningMethodHS256, i.Key.X.Bytes(), nil),
		"with a signature that was cut":   good[:len(good)-4],
		"with a signature that was lost":  good[:strings.LastIndex(good, ".")+1],
		"no token":                        "hello",
		"endless":                         strings.Repeat("a", maxBearerBytes+1),
	} {
		t.Run(name, func(t *testing.T) {
			caller, err := authenticator.Authenticate(bearer(t, token))
			if _, refused := errors.AsType[*RejectedError](err); !refused || caller != "" {
				t.Errorf("%q, %v", caller, err)
			}
			if err != nil && len(token) > 20 && strings.Contains(err.Error(), token) {
				t.Errorf("the error contains the token: %v", err)
			}
		})
	}
}

// With a symmetric algorithm, a server that can verify a token could also sign one.
func TestOnlyAlgorithmsWithAPublicKeyAreTaken(t *testing.T) {
	got := asymmetric([]string{"none", "HS256", "ES256", "HS512", "RS256", "made-up"})
	if diff := cmp.Diff([]string{"RS256", "ES256"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestOneOfTwoAuthorizationHeadersIsNotChosen(t *testing.T) {
	i := newIssuer(t)
	request := bearer(t, i.Sign(t, jwt.SigningMethodES256, i.Key, nil))
	request.Header.Add("Authorization", "Bearer other")
	if caller, err := oidcOf(i, http.DefaultTransport, clock.RealClock{}).Authenticate(request); err == nil {
		t.Errorf("got %q", caller)
	}
}

// While the issuer is unavailable, no caller is rejected and no caller is accepted.
func TestAnUnavailableIssuerIsReportedAndCalledAgain(t *testing.T) {
	i := newIssuer(t)
	i.Unavailable.Store(true)
	now := clocktesting.NewFakePassiveClock(time.Now())
	authenticator := oidcOf(i, http.DefaultTransport, now)
	token := i.Sign(t, jwt.SigningMethodES256, i.Key, nil)
	for range 2 {
		if _, err := authenticator.Authenticate(bearer(t, token)); !isUnavailable(err) {
			t.Errorf("got %v", err)
		}
	}
	i.Unavailable.Store(false)
	if _, err := authenticator.Authenticate(bearer(t, token)); !isUnavailable(err) {
		t.Errorf("it was called again immediately: %v", err)
	}
	now.SetTime(now.Now().Add(issuerTimeout))
	if _, err := authenticator.Authenticate(bearer(t, token)); err != nil {
		t.Error(err)
	}
	i.Unavailable.Store(true) // its keys are known by now
	if _, err := authenticator.Authenticate(bearer(t, token)); err != nil {
		t.Error(err)
	}
	unknown := strings.Replace(token, ".", "x.", 1)
	if _, err := authenticator.Authenticate(bearer(t, unknown)); err == nil {
		t.Error("a garbled token is accepted")
	}
}

// Who makes tokens up must not make the issuer work, nor keep others out, nor fill the log.
func TestTokensThatAreMadeUpDoNotMakeTheIssuerWork(t *testing.T) {
	i := newIssuer(t)
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := clocktesting.NewFakePassiveClock(time.Now())
	authenticator := oidcOf(i, http.DefaultTransport, now)
	good, bad := i.Sign(t, jwt.SigningMethodES256, i.Key, nil), i.Sign(t, jwt.SigningMethodES256, foreign, nil)
	for range 100 {
		if _, err := authenticator.Authenticate(bearer(t, bad)); err == nil {
			t.Fatal("it is accepted")
		}
	}
	if requests := i.KeyRequests.Load(); requests > issuerBurst {
		t.Errorf("the issuer was asked %d times for its keys", requests)
	}
	if _, err := authenticator.Authenticate(bearer(t, bad)); !isUnavailable(err) || !errors.Is(err, ErrLimited) {
		t.Errorf("got %v", err)
	}
	if _, err := authenticator.Authenticate(bearer(t, good)); err != nil {
		t.Errorf("a good token next to them: %v", err)
	}
	before := i.KeyRequests.Load()
	now.SetTime(now.Now().Add(issuerInterval))
	_, err = authenticator.Authenticate(bearer(t, bad))
	for range 1000 { // the library shares the answer before with who comes before it has put that away
		if !errors.Is(err, ErrLimited) {
			break
		}
		runtime.Gosched()
		_, err = authenticator.Authenticate(bearer(t, bad))
	}
	if isUnavailable(err) || i.KeyRequests.Load() != before+1 {
		t.Errorf("the issuer was not asked again when it was time: %v", err)
	}
}

// Whoever comes with a key that is not known may come with a new one of the issuer.
func TestAnIssuerWithoutKeysIsReportedAndCalledAgain(t *testing.T) {
	i := newIssuer(t)
	now := clocktesting.NewFakePassiveClock(time.Now())
	authenticator := oidcOf(i, http.DefaultTransport, now)
	if _, err := authenticator.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	i.Unavailable.Store(true)
	token := i.Sign(t, jwt.SigningMethodES256, i.Key, nil)
	if _, err := authenticator.Authenticate(bearer(t, token)); !isUnavailable(err) {
		t.Errorf("got %v", err)
	}
	i.Unavailable.Store(false)
	// The library gives its answer to those who ask while it forgets the question, so a caller may be told of it once more.
	for {
		now.SetTime(now.Now().Add(issuerInterval))
		_, err := authenticator.Authenticate(bearer(t, token))
		if err == nil {
			break
		}
		if !isUnavailable(err) {
			t.Fatal(err)
		}
	}
}

func isUnavailable(err error) bool {
	_, ok := errors.AsType[*UnavailableError](err)
	return ok
}
