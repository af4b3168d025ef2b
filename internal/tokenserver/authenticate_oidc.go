package tokenserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

const (
	// issuerTimeout bounds a question to the issuer, for its keys or for where they are.
	issuerTimeout = 10 * time.Second
	// issuerPause is how long the issuer is not asked where its keys are, after a call that failed.
	issuerPause = 10 * time.Second
	// issuerBurst and issuerEvery bound how often the issuer is asked.
	issuerBurst = 5
	issuerEvery = time.Second
)

// oidcTokens accepts the ID tokens of one OpenID Connect issuer that are meant for one audience.
type oidcTokens struct {
	issuer, audience string
	required         []requiredClaim
	client           *http.Client
	clock            clock.PassiveClock

	discoveries singleflight.Group // one at a time

	mu       sync.Mutex            // never held during a call to the issuer
	verifier *oidc.IDTokenVerifier // nil until the issuer has told where its keys are
	retry    time.Time
	failure  error
}

// requiredClaim is what a claim must be, or have in it. One claim may have to hold several.
type requiredClaim struct{ name, value string }

// inspect implements authenticator.
func (o *oidcTokens) inspect(request *http.Request) (bool, error) {
	raw, err := bearerOf(request)
	if err != nil {
		return false, err
	}
	verifier, err := o.discovered()
	if verifier == nil || err != nil {
		return false, nil //nolint:nilerr // authenticate tells it
	}
	keys := &keysFetched{}
	_, err = verifier.Verify(context.WithValue(withoutWaiting(request.Context()), keysFetchedKey{}, keys), raw)
	switch {
	case keys.unknown: // it may be signed with a new key
		return false, nil
	case err != nil:
		return false, &refusedError{err}
	}
	return true, nil
}

// withoutWaiting is a context in which go-oidc uses the keys that it has. If none fits, it starts to fetch the keys, and does not wait for them.
func withoutWaiting(ctx context.Context) context.Context {
	ended, end := context.WithCancel(ctx)
	end()
	return ended
}

// authenticate implements authenticator. A caller is an issuer's subject.
func (o *oidcTokens) authenticate(request *http.Request) (string, error) {
	raw, err := bearerOf(request)
	if err != nil {
		return "", err
	}
	verifier, err := o.ready(request.Context())
	if err != nil {
		return "", &cannotTellError{err}
	}
	keys := &keysFetched{}
	token, err := verifier.Verify(context.WithValue(request.Context(), keysFetchedKey{}, keys), raw)
	switch {
	case keys.failure != nil:
		return "", &cannotTellError{keys.failure}
	case err != nil:
		return "", &refusedError{err}
	case token.Subject == "":
		return "", &refusedError{errors.New("the token names no subject")}
	}
	claims, err := claimsOf(token)
	if err != nil {
		return "", &refusedError{err}
	}
	for _, want := range o.required {
		if !claimHolds(claims[want.name], want.value) {
			return "", &refusedError{fmt.Errorf("the claim %q is not %q", want.name, want.value)}
		}
	}
	return token.Issuer + "#" + token.Subject, nil
}

// claimsOf are all that the token says, numbers digit by digit: as floating-point numbers, two long ids may be the same.
func claimsOf(token *oidc.IDToken) (map[string]any, error) {
	var text json.RawMessage
	if err := token.Claims(&text); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	claims := map[string]any{}
	return claims, decoder.Decode(&claims)
}

// claimHolds reports whether a claim is the wanted text, or a list with it.
func claimHolds(claim any, want string) bool {
	if list, ok := claim.([]any); ok {
		return slices.ContainsFunc(list, func(one any) bool { return claimHolds(one, want) })
	}
	return claim != nil && fmt.Sprint(claim) == want
}

// ready asks the issuer where its keys are, once. An issuer that is away when the server starts must not keep it from starting.
func (o *oidcTokens) ready(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	if verifier, err := o.discovered(); verifier != nil || err != nil {
		return verifier, err
	}
	//nolint:contextcheck // what the issuer tells outlives the request
	return share(ctx, &o.discoveries, "", func() (*oidc.IDTokenVerifier, error) {
		// A call that ended since the check above has the answer.
		if verifier, err := o.discovered(); verifier != nil || err != nil {
			return verifier, err
		}
		verifier, err := o.discover()
		o.mu.Lock()
		defer o.mu.Unlock()
		o.verifier, o.failure = verifier, err
		if err != nil { // counted from now: a call that hangs takes as long as the pause
			o.retry = o.clock.Now().Add(issuerPause)
		}
		return verifier, err
	})
}

// discovered is what the last call has found, or why there must be no other yet. With neither, it is time to ask.
func (o *oidcTokens) discovered() (*oidc.IDTokenVerifier, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.verifier == nil && o.clock.Now().Before(o.retry) {
		return nil, o.failure
	}
	return o.verifier, nil
}

// discover asks the issuer where its keys are.
func (o *oidcTokens) discover() (*oidc.IDTokenVerifier, error) {
	ctx := oidc.ClientContext(context.Background(), o.client)
	provider, err := oidc.NewProvider(ctx, o.issuer)
	if err != nil {
		return nil, fmt.Errorf("asking the issuer %s: %w", o.issuer, err)
	}
	var told struct {
		KeysURL    string   `json:"jwks_uri"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := provider.Claims(&told); err != nil {
		return nil, fmt.Errorf("asking the issuer %s: %w", o.issuer, err)
	}
	return oidc.NewVerifier(o.issuer, fetchedKeys{oidc.NewRemoteKeySet(ctx, told.KeysURL)}, &oidc.Config{
		ClientID: o.audience, SupportedSigningAlgs: asymmetric(told.Algorithms), Now: o.clock.Now,
	}), nil
}

// asymmetric are the algorithms of those that the issuer names by which anybody can check and only the issuer can sign.
func asymmetric(named []string) []string {
	known := []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}
	return slices.DeleteFunc(known, func(algorithm string) bool { return !slices.Contains(named, algorithm) })
}

// keysFetched tells a token that is wrong from keys that could not be had: the library makes one error of both.
type (
	keysFetched struct {
		unknown bool  // no key that is known fits the signature
		failure error // why newer keys could not be had
	}
	keysFetchedKey struct{}
	fetchedKeys    struct{ oidc.KeySet }
)

// VerifySignature implements oidc.KeySet.
func (k fetchedKeys) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.KeySet.VerifySignature(ctx, jwt)
	if keys, ok := ctx.Value(keysFetchedKey{}).(*keysFetched); ok && err != nil {
		keys.unknown = true
		if strings.HasPrefix(err.Error(), "fetching keys ") {
			keys.failure = err
		}
	}
	return payload, err
}

// errAskedLately is why keys are not fetched once more.
var errAskedLately = errors.New("the issuer was asked a moment ago")

// seldom bounds what it costs the issuer when somebody makes tokens up: the library asks for the keys anew whenever a signature fits none
// of those that it has. Who has a token by a key that is known is not held up; one by a new key works as soon as anybody has had it fetched.
type seldom struct {
	next    http.RoundTripper
	limiter *rate.Limiter
	clock   clock.PassiveClock
}

func newSeldom(next http.RoundTripper, now clock.PassiveClock) *seldom {
	return &seldom{next: next, limiter: rate.NewLimiter(rate.Every(issuerEvery), issuerBurst), clock: now}
}

// RoundTrip implements http.RoundTripper.
func (s *seldom) RoundTrip(request *http.Request) (*http.Response, error) {
	if !s.limiter.AllowN(s.clock.Now(), 1) {
		return nil, errAskedLately
	}
	return s.next.RoundTrip(request)
}
