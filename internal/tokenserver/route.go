package tokenserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	authenticationv1client "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/metrics"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// newRoute puts the route together as the settings say.
func newRoute(settings config.TokenServer, version string, registry *prometheus.Registry, log *slog.Logger) (http.Handler, error) {
	tokens, err := newSource(settings, version, registry, log)
	if err != nil {
		return nil, err
	}
	return routeTo(settings, tokens, registry, log)
}

// routeTo puts the checks before a source.
func routeTo(settings config.TokenServer, tokens source, registry *prometheus.Registry, log *slog.Logger) (http.Handler, error) {
	who, err := newAuthenticator(settings)
	if err != nil {
		return nil, err
	}
	allowed, err := newOrigins(settings.AllowedOrigins)
	if err != nil {
		return nil, fmt.Errorf("--allowed-origins: %w", err)
	}
	proxies, err := prefixes(settings.ProxyNetworks)
	if err != nil {
		return nil, err
	}
	perSecond := func() *rate.Limiter {
		return rate.NewLimiter(rate.Limit(settings.RequestsPerSecond), max(1, int(settings.RequestsPerSecond)))
	}
	route := &handler{
		origins: allowed,
		inAll:   perSecond(), strangers: perSecond(),
		callers: newCallerLimits(settings.CallerRequestsPerMinute, settings.MaxCallers),
		who:     who, proxies: proxies, source: tokens, clock: clock.RealClock{}, log: log, counted: countRequests(registry),
	}
	return shared(settings.AllowedOrigins, route.routes(settings.Path)), nil
}

func newSource(settings config.TokenServer, version string, registry *prometheus.Registry, log *slog.Logger) (source, error) {
	if settings.SharedTokenDir != "" {
		one := &mounted{folder: settings.SharedTokenDir, minRemainingLifetime: settings.MinRemainingLifetime, clock: clock.RealClock{}}
		return one, exportExpiry(registry, one)
	}
	options := reactor.Options{
		BaseURL:      settings.APIURL,
		UserAgent:    fmt.Sprintf("reactor-token-server/%s (%s/%s)", version, runtime.GOOS, runtime.GOARCH),
		CABundleFile: settings.CABundle,
		CABundleReloaded: func(err error) {
			if err != nil {
				log.Error("the file of --ca-bundle changed and cannot be used: the previous certificates stay in use until it is corrected", "file", settings.CABundle, "error", err)
				return
			}
			log.Info("the file of --ca-bundle changed: its certificates are in use", "file", settings.CABundle)
		},
	}
	api, err := reactor.NewClient(options)
	if err != nil {
		return nil, fmt.Errorf("--api-url or --ca-bundle: %w", err)
	}
	counted, err := metrics.InstrumentMinter(api, clock.RealClock{}, registry)
	if err != nil {
		return nil, fmt.Errorf("registering the metrics of mints: %w", err)
	}
	return newMinted(settings, counted, clock.RealClock{}, log), nil
}

func newMinted(settings config.TokenServer, api minter, now clock.PassiveClock, log *slog.Logger) *minted {
	return &minted{
		reactor: api, keyFile: settings.APIKeyFile, minRemainingLifetime: settings.MinRemainingLifetime, clock: now, log: log,
		request: reactor.MintRequest{Lifetime: settings.Lifetime, Scope: &reactor.Scope{
			Models: settings.Models, MaxSessions: settings.MaxSessions, MaxSessionDuration: settings.MaxSessionDuration,
		}},
		bucket: rate.NewLimiter(rate.Limit(settings.MintQPS), settings.MintBurst),
		tokens: lru.New(settings.MaxCallers),
	}
}

// newAuthenticator is the one that the settings choose; that there is just one has been checked.
func newAuthenticator(settings config.TokenServer) (authenticator, error) {
	switch {
	case settings.OIDCIssuer != "":
		return newOIDC(settings)
	case len(settings.ServiceAccounts) > 0:
		kube, err := ctrl.GetConfig()
		if err != nil {
			return nil, fmt.Errorf("--service-accounts: %w", err)
		}
		return newServiceAccountsOf(settings, kube)
	case settings.ProxyHeader != "":
		networks, err := prefixes(settings.ProxyNetworks)
		return &proxyHeader{header: settings.ProxyHeader, networks: networks}, err
	case settings.AllowAnonymous:
		return anybody{}, nil
	}
	return nil, errors.New("nobody may ask")
}

func newOIDC(settings config.TokenServer) (*oidcTokens, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // the standard library's own
	if settings.OIDCCABundle != "" {
		bundle, err := os.ReadFile(settings.OIDCCABundle)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-bundle: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-bundle: %w", err)
		}
		if !roots.AppendCertsFromPEM(bundle) {
			return nil, fmt.Errorf("--oidc-ca-bundle: %s holds no certificate", settings.OIDCCABundle)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	}
	return &oidcTokens{
		issuer: settings.OIDCIssuer, audience: settings.OIDCAudience, required: requiredClaims(settings.OIDCRequiredClaims),
		client: &http.Client{Transport: newSeldom(transport, clock.RealClock{}), Timeout: issuerTimeout}, clock: clock.RealClock{},
	}, nil
}

func requiredClaims(written []string) []requiredClaim {
	var required []requiredClaim
	for _, claim := range written {
		name, value, _ := strings.Cut(claim, "=")
		required = append(required, requiredClaim{name, value})
	}
	return required
}

func newServiceAccountsOf(settings config.TokenServer, kube *rest.Config) (*serviceAccounts, error) {
	kube = rest.CopyConfig(kube)
	kube.QPS = -1 // reviewBudget bounds the reviews. client-go would queue them, those of genuine tokens behind those of made-up ones.
	client, err := authenticationv1client.NewForConfig(kube)
	if err != nil {
		return nil, fmt.Errorf("--service-accounts: %w", err)
	}
	keys, err := newClusterKeys(kube)
	if err != nil {
		return nil, fmt.Errorf("--service-accounts: %w", err)
	}
	return newServiceAccounts(settings, client.TokenReviews(), keys, clock.RealClock{}), nil
}

// newClusterKeys are the keys with which the cluster signs the tokens of service accounts. By default, every service account may read them.
func newClusterKeys(kube *rest.Config) (oidc.KeySet, error) {
	client, err := rest.HTTPClientFor(kube)
	if err != nil {
		return nil, err
	}
	server, _, err := rest.DefaultServerUrlFor(kube)
	if err != nil {
		return nil, err
	}
	client.Transport, client.Timeout = newSeldom(client.Transport, clock.RealClock{}), reviewTimeout
	return oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), client), server.JoinPath(clusterKeysPath).String()), nil
}

func newServiceAccounts(settings config.TokenServer, reviews tokenReviews, keys oidc.KeySet, now clock.PassiveClock) *serviceAccounts {
	return &serviceAccounts{
		audience: settings.ServiceAccountAudience, named: settings.ServiceAccounts, reviews: reviews, keys: keys, clock: now,
		accepted: lru.New(mostReviews), refused: lru.New(mostReviews),
		genuine: newReviewBudget(genuinePerSecond, genuineAtATime), others: newReviewBudget(othersPerSecond, othersAtATime),
	}
}

func prefixes(networks []string) ([]netip.Prefix, error) {
	var parsed []netip.Prefix
	for _, network := range networks {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return nil, fmt.Errorf("--proxy-networks: %w", err)
		}
		parsed = append(parsed, prefix)
	}
	return parsed, nil
}
