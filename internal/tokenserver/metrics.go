package tokenserver

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/reactor-operator/reactor-operator/internal/metrics"
)

// newRegistry returns a registry with the metrics of every Go program, and the version.
func newRegistry(version string) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), metrics.NewBuildCollector(version))
	return registry
}

// newRequestCounter returns a function that counts a response by its outcome: token, or the code of the refusal.
func newRequestCounter(registry *prometheus.Registry) func(outcome string) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "reactor_token_server_requests_total",
		Help: "Requests for a token, by outcome: token, or the error code of the response.",
	}, []string{"outcome"})
	registry.MustRegister(requests)
	return func(outcome string) { requests.WithLabelValues(outcome).Inc() }
}

// registerExpiry adds a metric with the expiry of the token that all callers share.
func registerExpiry(registry *prometheus.Registry, shared *mounted) error {
	return registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "reactor_token_server_expiration_timestamp_seconds",
		Help: "When the token of --shared-token-dir expires, in Unix seconds; 0 if there is no token that is valid for --min-remaining-lifetime.",
	}, func() float64 {
		token, err := shared.current()
		if err != nil {
			return 0
		}
		return float64(token.ExpiresAt.Unix())
	}))
}
