package authn

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"k8s.io/utils/clock"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/tokenserver/flight"
)

const (
	// issuerTimeout limits one call to the issuer, for its configuration or for its keys.
	issuerTimeout = 10 * time.Second
	// discoveryRetryDelay is the wait after a failed call for the issuer's configuration.
	discoveryRetryDelay = 10 * time.Second
)

// oidcTokens accepts the ID tokens of one OpenID Connect issuer, for one audience.
type oidcTokens struct {
	issuer, audience string
	required         []requiredClaim
	client           *http.Client
	clock            clock.PassiveClock

	discoveries flight.Group[*oidc.IDTokenVerifier] // one at a time

	mu       sync.Mutex            // not held during a call to the issuer
	verifier *oidc.IDTokenVerifier // nil until the issuer's configuration is known
	retry    time.Time
	failure  error
}

// requiredClaim is the value that a claim must have, or contain. One claim may have to contain several values.
type requiredClaim struct{ name, value string }

// NewOIDC returns an authenticator for ID tokens. It calls the issuer through the transport.
func NewOIDC(settings config.TokenServer, transport http.RoundTripper, now clock.PassiveClock) Authenticator {
	var required []requiredClaim
	for _, claim := range settings.OIDCRequiredClaims {
		name, value, _ := strings.Cut(claim, "=")
		required = append(required, requiredClaim{name, value})
	}
	return &oidcTokens{
		issuer: settings.OIDCIssuer, audience: settings.OIDCAudience, required: required,
		client: &http.Client{Transport: newLimitedTransport(transport, now), Timeout: issuerTimeout}, clock: now,
	}
}

// issuerTransport returns a transport that trusts the system certificates, and those of the file if there is one.
func issuerTransport(bundleFile string) (http.RoundTripper, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // the standard library's own
	if bundleFile == "" {
		return transport, nil
	}
	bundle, err := os.ReadFile(bundleFile) //nolint:gosec // the path is a flag
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, err
	}
	if !roots.AppendCertsFromPEM(bundle) {
		return nil, fmt.Errorf("%s has no certificate", bundleFile)
	}
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	return transport, nil
}

// Inspect implements Authenticator.
func (o *oidcTokens) Inspect(request *http.Request) (bool, error) {
	raw, err := bearerToken(request)
	if err != nil {
		return false, err
	}
	verifier, err := o.discovered()
	if verifier == nil || err != nil {
		return false, nil //nolint:nilerr // Authenticate returns it
	}
	result := &signatureResult{}
	_, err = verifier.Verify(context.WithValue(withoutWaiting(request.Context()), signatureResultKey{}, result), raw)
	switch {
	case result.unknownKey: // it may be signed with a new key
		return false, nil
	case err != nil:
		return false, &RejectedError{err}
	}
	return true, nil
}

// withoutWaiting returns a context in which go-oidc uses the keys in memory. If none fits, go-oidc starts to fetch the keys, and does not wait for
// them.
func withoutWaiting(ctx context.Context) context.Context {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	return ended
}

// Authenticate implements Authenticator. The caller is the issuer and the subject.
func (o *oidcTokens) Authenticate(request *http.Request) (string, error) {
	raw, err := bearerToken(request)
	if err != nil {
		return "", err
	}
	verifier, err := o.ready(request.Context())
	if err != nil {
		return "", &UnavailableError{err}
	}
	result := &signatureResult{}
	token, err := verifier.Verify(context.WithValue(request.Context(), signatureResultKey{}, result), raw)
	switch {
	case result.fetchError != nil:
		return "", &UnavailableError{result.fetchError}
	case err != nil:
		return "", &RejectedError{err}
	case token.Subject == "":
		return "", &RejectedError{errors.New("the token has no subject")}
	}
	claims, err := decodeClaims(token)
	if err != nil {
		return "", &RejectedError{err}
	}
	for _, want := range o.required {
		if !claimHas(claims[want.name], want.value) {
			return "", &RejectedError{fmt.Errorf("the claim %q is not %q", want.name, want.value)}
		}
	}
	return token.Issuer + "#" + token.Subject, nil
}

// decodeClaims returns all claims of the token, and numbers digit by digit: as floating-point numbers, two long ids may be equal.
func decodeClaims(token *oidc.IDToken) (map[string]any, error) {
	var text json.RawMessage
	if err := token.Claims(&text); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	claims := map[string]any{}
	return claims, decoder.Decode(&claims)
}

// claimHas reports whether a claim is the value, or a list that contains it.
func claimHas(claim any, want string) bool {
	if list, ok := claim.([]any); ok {
		return slices.ContainsFunc(list, func(element any) bool { return claimHas(element, want) })
	}
	return claim != nil && fmt.Sprint(claim) == want
}

// ready returns the verifier, and first gets the issuer's configuration if it is not known. This happens at the first request and not at the
// start, so that the server starts even when the issuer is unavailable.
func (o *oidcTokens) ready(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	if verifier, err := o.discovered(); verifier != nil || err != nil {
		return verifier, err
	}
	//nolint:contextcheck // the configuration is for all requests
	return o.discoveries.Do(ctx, "", func() (*oidc.IDTokenVerifier, error) {
		if verifier, err := o.discovered(); verifier != nil || err != nil { // a call ended after the check above
			return verifier, err
		}
		verifier, err := o.discover()
		o.mu.Lock()
		defer o.mu.Unlock()
		o.verifier, o.failure = verifier, err
		if err != nil { // the delay starts now and not with the call: a call that hangs takes as long as the delay
			o.retry = o.clock.Now().Add(discoveryRetryDelay)
		}
		return verifier, err
	})
}

// discovered returns the verifier, or the error of the last call until the next one is allowed. It returns neither if a call is due.
func (o *oidcTokens) discovered() (*oidc.IDTokenVerifier, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.verifier == nil && o.clock.Now().Before(o.retry) {
		return nil, o.failure
	}
	return o.verifier, nil
}

// discover gets the issuer's configuration.
func (o *oidcTokens) discover() (*oidc.IDTokenVerifier, error) {
	ctx := oidc.ClientContext(context.Background(), o.client)
	provider, err := oidc.NewProvider(ctx, o.issuer)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of the issuer %s: %w", o.issuer, err)
	}
	var metadata struct {
		KeysURL    string   `json:"jwks_uri"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := provider.Claims(&metadata); err != nil {
		return nil, fmt.Errorf("reading the configuration of the issuer %s: %w", o.issuer, err)
	}
	return oidc.NewVerifier(o.issuer, observedKeySet{oidc.NewRemoteKeySet(ctx, metadata.KeysURL)}, &oidc.Config{
		ClientID: o.audience, SupportedSigningAlgs: asymmetric(metadata.Algorithms), Now: o.clock.Now,
	}), nil
}

// asymmetric returns those of the issuer's algorithms that have a public key: with them, every server can check a signature and only the issuer
// can make one.
func asymmetric(algorithms []string) []string {
	known := []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}
	return slices.DeleteFunc(known, func(algorithm string) bool { return !slices.Contains(algorithms, algorithm) })
}

// signatureResult distinguishes an invalid token from keys that could not be fetched. go-oidc returns the same error for both, so observedKeySet
// records the cause in the context of the call.
type (
	signatureResult struct {
		unknownKey bool  // no key in memory fits the signature
		fetchError error // why newer keys could not be fetched
	}
	signatureResultKey struct{}
	observedKeySet     struct{ oidc.KeySet }
)

// VerifySignature implements oidc.KeySet.
func (k observedKeySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.KeySet.VerifySignature(ctx, jwt)
	if result, ok := ctx.Value(signatureResultKey{}).(*signatureResult); ok && err != nil {
		result.unknownKey = true
		if strings.HasPrefix(err.Error(), "fetching keys ") {
			result.fetchError = err
		}
	}
	return payload, err
}
