package tokenserver

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/reactor-operator/reactor-operator/internal/metrics"
)

// newRegistry holds what every Go program tells of itself, and its version.
func newRegistry(version string) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), metrics.NewBuildCollector(version))
	return registry
}

// countRequests counts answers: token, or the code of the refusal.
func countRequests(registry *prometheus.Registry) func(outcome string) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "reactor_token_server_requests_total",
		Help: "Requests for a token, by what came of them: token, or the error of the answer.",
	}, []string{"outcome"})
	registry.MustRegister(requests)
	return func(outcome string) { requests.WithLabelValues(outcome).Inc() }
}

// exportExpiry tells when the one token of all callers expires.
func exportExpiry(registry *prometheus.Registry, one *mounted) error {
	return registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "reactor_token_server_expiration_timestamp_seconds",
		Help: "When the token of --shared-token-dir expires, in Unix seconds; 0 while there is none that will do.",
	}, func() float64 {
		token, err := one.current()
		if err != nil {
			return 0
		}
		return float64(token.ExpiresAt.Unix())
	}))
}
