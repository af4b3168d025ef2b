package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// Minter exchanges an API key for a token.
type Minter interface {
	Mint(ctx context.Context, request reactor.MintRequest) (reactor.Token, error)
}

// The values of the label code_class: who must act on an answer.
const (
	codeSuccess        = "success"
	codeKeyRefused     = "key_refused"
	codeRateLimited    = "rate_limited"
	codeRequestRefused = "request_refused"
	codeUnavailable    = "unavailable"
)

// mintBuckets are seconds; the last one is the client's timeout.
var mintBuckets = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 15}

// instrumentedMinter is a Minter that counts and times its calls.
type instrumentedMinter struct {
	next     Minter
	clock    clock.PassiveClock
	requests *prometheus.CounterVec
	duration prometheus.Histogram
	skew     *prometheus.GaugeVec
}

// InstrumentMinter returns a Minter that calls next and exports the results of the calls, their durations, and how far Reactor's clock is
// ahead. It registers these metrics, so it can be called once per registry.
func InstrumentMinter(next Minter, clock clock.PassiveClock, registry prometheus.Registerer) (Minter, error) {
	minter := &instrumentedMinter{
		next:  next,
		clock: clock,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reactor_mint_requests_total",
			Help: "Requests for a token, by whose matter the answer is: success; key_refused (401); rate_limited (429); " +
				"request_refused (another 4xx with an error of Reactor's); " +
				"unavailable (5xx, 408, a redirect, a 4xx that is not proven to be Reactor's, or no usable answer).",
		}, []string{"code_class"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "reactor_mint_duration_seconds",
			Help:    "How long requests for a token took, whatever the answer.",
			Buckets: mintBuckets,
		}),
		// A vector without labels has no value before the first token; a plain gauge would claim a skew of 0.
		skew: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "reactor_clock_skew_seconds",
			Help: "How far Reactor's clock was ahead of the operator's when the last token was issued; negative if behind.",
		}, nil),
	}
	// Without a first 0, rate() would not see the first failure of a class.
	for _, class := range []string{codeSuccess, codeKeyRefused, codeRateLimited, codeRequestRefused, codeUnavailable} {
		minter.requests.WithLabelValues(class)
	}
	return minter, registerAll(registry, minter.requests, minter.duration, minter.skew)
}

func registerAll(registry prometheus.Registerer, collectors ...prometheus.Collector) error {
	for _, collector := range collectors {
		if err := registry.Register(collector); err != nil {
			return err
		}
	}
	return nil
}

// Mint passes the call on and observes it.
func (m *instrumentedMinter) Mint(ctx context.Context, request reactor.MintRequest) (reactor.Token, error) {
	start := m.clock.Now()
	token, err := m.next.Mint(ctx, request)
	m.observe(m.clock.Since(start), token, err)
	return token, err
}

func (m *instrumentedMinter) observe(took time.Duration, token reactor.Token, err error) {
	m.duration.Observe(took.Seconds())
	m.requests.WithLabelValues(codeClass(err)).Inc()
	if err == nil {
		m.skew.WithLabelValues().Set(token.Skew.Seconds())
	}
}

// codeClass names the class of an answer the way Prometheus names things.
func codeClass(err error) string {
	switch reactor.ClassOf(err) {
	case reactor.ClassNone:
		return codeSuccess
	case reactor.ClassKeyRefused:
		return codeKeyRefused
	case reactor.ClassKeyLimited:
		return codeRateLimited
	case reactor.ClassRequestRefused:
		return codeRequestRefused
	default:
		return codeUnavailable
	}
}
