package tokenserver

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

const audience = "web-app"

// issuer is an OpenID Connect issuer.
type issuer struct {
	URL  string
	key  *ecdsa.PrivateKey
	away atomic.Bool
	told atomic.Int32 // how often it has told its keys
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := newIssuerWithoutServer(t)
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.URL = server.URL
	return i
}

// newIssuerWithoutServer is one that answers by respond only.
func newIssuerWithoutServer(tb testing.TB) *issuer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return &issuer{URL: "https://issuer.test", key: key}
}

// ServeHTTP implements http.Handler.
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case i.away.Load():
		w.WriteHeader(http.StatusBadGateway)
	case r.URL.Path == "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
		})
	case r.URL.Path == "/keys" || r.URL.Path == clusterKeysPath:
		i.told.Add(1)
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// respond is its answer without a connection.
func (i *issuer) respond(request *http.Request) *http.Response {
	recorder := httptest.NewRecorder()
	i.ServeHTTP(recorder, request)
	return recorder.Result()
}

// sign makes an ID token of good claims, with changes.
func (i *issuer) sign(tb testing.TB, method jwt.SigningMethod, key any, changes jwt.MapClaims) string {
	tb.Helper()
	claims := jwt.MapClaims{"iss": i.URL, "sub": "ada", "aud": audience, "exp": time.Now().Add(time.Hour).Unix(), "groups": []string{"staff", "web"}, "email_verified": true, "org": int64(9007199254740993)}
	maps.Copy(claims, changes)
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = "one"
	text, err := token.SignedString(key)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func (i *issuer) authenticator(now clock.PassiveClock) *oidcTokens {
	return &oidcTokens{
		issuer: i.URL, audience: audience, required: requiredClaims([]string{"groups=web", "groups=staff", "email_verified=true", "org=9007199254740993"}),
		client: &http.Client{Transport: newSeldom(http.DefaultTransport, now), Timeout: issuerTimeout}, clock: now,
	}
}

func bearer(tb testing.TB, token string) *http.Request {
	tb.Helper()
	request := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, "/api/token", http.NoBody)
	request.Header.Set("Authorization", "Bearer "+token)
	return request
}

func TestAnIDTokenSaysWhoAsks(t *testing.T) {
	i := newIssuer(t)
	who := i.authenticator(clock.RealClock{})
	for subject, audiences := range map[string]any{"ada": audience, "grace": []string{"other", audience}} {
		caller, err := who.authenticate(bearer(t, i.sign(t, jwt.SigningMethodES256, i.key, jwt.MapClaims{"sub": subject, "aud": audiences})))
		if err != nil || caller != i.URL+"#"+subject {
			t.Errorf("%q, %v", caller, err)
		}
	}
}

func TestIDTokensThatAreNotGoodAreRefused(t *testing.T) {
	i := newIssuer(t)
	who := i.authenticator(clock.RealClock{})
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := i.sign(t, jwt.SigningMethodES256, i.key, nil)
	for name, token := range map[string]string{
		"of another audience":            i.sign(t, jwt.SigningMethodES256, i.key, jwt.MapClaims{"aud": "other-app"}),
		"expired":                        i.sign(t, jwt.SigningMethodES256, i.key, jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}),
		"not valid yet":                  i.sign(t, jwt.SigningMethodES256, i.key, jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}),
		"of another issuer":              i.sign(t, jwt.SigningMethodES256, i.key, jwt.MapClaims{"iss": "https://evil.example"}),
		"without a subject":              i.sign(t, jwt.SigningMethodES256, i.key, jwt.MapClaims{"sub": ""}),
		"without a required claim":       i.sign(t, jwt.SigningMethodES256, i.key, jwt.MapClaims{"groups": []string{"staff"}}),
		"without one of two values":      i.sign(t, jwt.SigningMethodES256, i.key, jwt.MapClaims{"groups": []string{"web"}}),
		"with a number beside it":        i.sign(t, jwt.SigningMethodES256, i.key, jwt.MapClaims{"org": int64(9007199254740992)}),
		"with another value of it":       i.sign(t, jwt.SigningMethodES256, i.key, jwt.MapClaims{"email_verified": false}),
		"signed by somebody else":        i.sign(t, jwt.SigningMethodES256, foreign, nil),
		"alg: none":                      i.sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"HS256 with the public key":      i.sign(t, jwt.SigningMethodHS256, i.key.X.Bytes(), nil),
		"with a signature that was cut":  good[:len(good)-4],
		"with a signature that was lost": good[:strings.LastIndex(good, ".")+1],
		"no token":                       "hello",
		"endless":                        strings.Repeat("a", longestBearer+1),
	} {
		t.Run(name, func(t *testing.T) {
			caller, err := who.authenticate(bearer(t, token))
			if _, refused := errors.AsType[*refusedError](err); !refused || caller != "" {
				t.Errorf("%q, %v", caller, err)
			}
			if err != nil && len(token) > 20 && strings.Contains(err.Error(), token) {
				t.Errorf("the error tells the token: %v", err)
			}
		})
	}
}

// By a symmetric algorithm, whoever can check could sign.
func TestOnlyAlgorithmsWithAPublicKeyAreTaken(t *testing.T) {
	got := asymmetric([]string{"none", "HS256", "ES256", "HS512", "RS256", "made-up"})
	if diff := cmp.Diff([]string{"RS256", "ES256"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestOneOfTwoAuthorizationHeadersIsNotChosen(t *testing.T) {
	i := newIssuer(t)
	request := bearer(t, i.sign(t, jwt.SigningMethodES256, i.key, nil))
	request.Header.Add("Authorization", "Bearer other")
	if caller, err := i.authenticator(clock.RealClock{}).authenticate(request); err == nil {
		t.Errorf("got %q", caller)
	}
}

// Nobody is refused because the issuer is away, and nobody gets in.
func TestAnIssuerThatIsAwayIsToldAndAskedAgain(t *testing.T) {
	i := newIssuer(t)
	i.away.Store(true)
	now := clocktesting.NewFakePassiveClock(time.Now())
	who := i.authenticator(now)
	token := i.sign(t, jwt.SigningMethodES256, i.key, nil)
	for range 2 {
		if _, err := who.authenticate(bearer(t, token)); !isCannotTell(err) {
			t.Errorf("got %v", err)
		}
	}
	i.away.Store(false)
	if _, err := who.authenticate(bearer(t, token)); !isCannotTell(err) {
		t.Errorf("it was asked again at once: %v", err)
	}
	now.SetTime(now.Now().Add(issuerTimeout))
	if _, err := who.authenticate(bearer(t, token)); err != nil {
		t.Error(err)
	}
	i.away.Store(true) // its keys are known by now
	if _, err := who.authenticate(bearer(t, token)); err != nil {
		t.Error(err)
	}
	unknown := strings.Replace(token, ".", "x.", 1)
	if _, err := who.authenticate(bearer(t, unknown)); err == nil {
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
	who := i.authenticator(now)
	good, bad := i.sign(t, jwt.SigningMethodES256, i.key, nil), i.sign(t, jwt.SigningMethodES256, foreign, nil)
	for range 100 {
		if _, err := who.authenticate(bearer(t, bad)); err == nil {
			t.Fatal("it is accepted")
		}
	}
	if told := i.told.Load(); told > issuerBurst {
		t.Errorf("the issuer was asked %d times for its keys", told)
	}
	if _, err := who.authenticate(bearer(t, bad)); !isCannotTell(err) || !errors.Is(err, errAskedLately) {
		t.Errorf("got %v", err)
	}
	if _, err := who.authenticate(bearer(t, good)); err != nil {
		t.Errorf("a good token beside them: %v", err)
	}
	before := i.told.Load()
	now.SetTime(now.Now().Add(issuerEvery))
	_, err = who.authenticate(bearer(t, bad))
	for range 1000 { // the library shares the answer before with who comes before it has put that away
		if !errors.Is(err, errAskedLately) {
			break
		}
		runtime.Gosched()
		_, err = who.authenticate(bearer(t, bad))
	}
	if isCannotTell(err) || i.told.Load() != before+1 {
		t.Errorf("the issuer was not asked again when it was time: %v", err)
	}
}

func TestNoBearerTokenStandsInTheLog(t *testing.T) {
	i := newIssuer(t)
	tokens := map[string]string{
		"good": i.sign(t, jwt.SigningMethodES256, i.key, nil), "expired": i.sign(t, jwt.SigningMethodES256, i.key, jwt.MapClaims{"exp": 1}),
		"none": i.sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), "cut": i.sign(t, jwt.SigningMethodES256, i.key, nil)[:100],
	}
	now := clocktesting.NewFakePassiveClock(time.Now())
	cluster := newCluster(t)
	tokens["the cluster's, which it refuses"] = cluster.tokenOf(t, "studio:web", nil)
	cluster.answer = func(string, []string) (authenticationv1.TokenReviewStatus, error) {
		return authenticationv1.TokenReviewStatus{}, nil
	}
	away := i.authenticator(now)
	away.issuer = "http://127.0.0.1:1"
	for kind, who := range map[string]authenticator{"OIDC": i.authenticator(now), "an issuer that is away": away, "the cluster": cluster.authenticator(now)} {
		var logged bytes.Buffer
		route := &handler{
			origins: &origins{http.NewCrossOriginProtection()}, inAll: rate.NewLimiter(rate.Inf, 1), strangers: rate.NewLimiter(rate.Inf, 1), callers: newCallerLimits(1000, 1000), who: who,
			source: &mounted{folder: t.TempDir(), clock: now}, clock: now, log: slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
			counted: func(string) {},
		}
		for name, token := range tokens {
			askOf(t, route.routes("/api/token"), http.MethodPost, "", header("Authorization", "Bearer "+token))
			for part := range strings.SplitSeq(token, ".") {
				if len(part) > 8 && strings.Contains(logged.String(), part) {
					t.Errorf("%s: a part of the token that is %s stands in the log: %s", kind, name, &logged)
				}
			}
		}
		if logged.Len() == 0 {
			t.Errorf("%s: nothing was logged", kind)
		}
	}
}

// Whoever comes with a key that is not known may come with a new one of the issuer.
func TestAnIssuerThatTellsNoKeysIsToldAndAskedAgain(t *testing.T) {
	i := newIssuer(t)
	now := clocktesting.NewFakePassiveClock(time.Now())
	who := i.authenticator(now)
	if _, err := who.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	i.away.Store(true)
	token := i.sign(t, jwt.SigningMethodES256, i.key, nil)
	if _, err := who.authenticate(bearer(t, token)); !isCannotTell(err) {
		t.Errorf("got %v", err)
	}
	i.away.Store(false)
	// The library gives its answer to those who ask while it forgets the question, so a caller may be told of it once more.
	for {
		now.SetTime(now.Now().Add(issuerEvery))
		_, err := who.authenticate(bearer(t, token))
		if err == nil {
			break
		}
		if !isCannotTell(err) {
			t.Fatal(err)
		}
	}
}

func isCannotTell(err error) bool {
	_, ok := errors.AsType[*cannotTellError](err)
	return ok
}
