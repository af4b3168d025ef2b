package tokenserver

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"k8s.io/utils/clock"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/metrics"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/tokenserver/authn"
)

// newRoute builds the route from the flags.
func newRoute(settings config.TokenServer, version string, registry *prometheus.Registry, log *slog.Logger) (http.Handler, error) {
	tokens, err := newSource(settings, version, registry, log)
	if err != nil {
		return nil, err
	}
	return newRouteWith(settings, tokens, registry, log)
}

// newRouteWith builds the route with a source.
func newRouteWith(settings config.TokenServer, tokens source, registry *prometheus.Registry, log *slog.Logger) (http.Handler, error) {
	authenticator, err := authn.Choose(settings)
	if err != nil {
		return nil, err
	}
	allowed, err := newOrigins(settings.AllowedOrigins)
	if err != nil {
		return nil, fmt.Errorf("--allowed-origins: %w", err)
	}
	proxies, err := authn.ParseNetworks(settings.ProxyNetworks)
	if err != nil {
		return nil, err
	}
	perSecond := func() *rate.Limiter {
		return rate.NewLimiter(rate.Limit(settings.RequestsPerSecond), max(1, int(settings.RequestsPerSecond)))
	}
	route := &handler{
		origins: allowed, verified: perSecond(), unverified: perSecond(),
		callers:       newCallerLimits(settings.CallerRequestsPerMinute, settings.MaxCallers),
		authenticator: authenticator, proxies: proxies, source: tokens, clock: clock.RealClock{}, log: log, count: newRequestCounter(registry),
	}
	return withCORS(settings.AllowedOrigins, route.routes(settings.Path)), nil
}

// newSource returns the source of tokens that the flags choose.
func newSource(settings config.TokenServer, version string, registry *prometheus.Registry, log *slog.Logger) (source, error) {
	if settings.SharedTokenDir != "" {
		shared := &mounted{directory: settings.SharedTokenDir, minRemaining: settings.MinRemainingLifetime, clock: clock.RealClock{}}
		return shared, registerExpiry(registry, shared)
	}
	api, err := reactor.NewClient(reactor.Options{
		BaseURL:      settings.APIURL,
		UserAgent:    fmt.Sprintf("reactor-token-server/%s (%s/%s)", version, runtime.GOOS, runtime.GOARCH),
		CABundleFile: settings.CABundle,
		CABundleReloaded: func(err error) {
			if err != nil {
				log.Error("could not load the changed file of --ca-bundle: the previous certificates stay in use until the file is corrected", "file", settings.CABundle, "error", err)
				return
			}
			log.Info("loaded the changed file of --ca-bundle", "file", settings.CABundle)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("--api-url or --ca-bundle: %w", err)
	}
	instrumented, err := metrics.InstrumentMinter(api, clock.RealClock{}, registry)
	if err != nil {
		return nil, fmt.Errorf("registering the metrics of mints: %w", err)
	}
	return newMinted(settings, instrumented, clock.RealClock{}, log), nil
}
