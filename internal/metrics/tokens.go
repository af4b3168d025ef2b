package metrics

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// listTimeout bounds a scrape's look into the cache, which only ever waits while the cache is being filled.
const listTimeout = 5 * time.Second

var (
	tokenLabels = []string{"namespace", "name"}

	expirationDesc = prometheus.NewDesc("reactor_token_expiration_timestamp_seconds",
		"When the token in the Secret expires, by Reactor's clock, in Unix seconds.", tokenLabels, nil)
	renewalDesc = prometheus.NewDesc("reactor_token_renewal_timestamp_seconds",
		"When the next token is due, by Reactor's clock, in Unix seconds.", tokenLabels, nil)
	readyDesc = prometheus.NewDesc("reactor_token_ready",
		"1 while the Secret holds a valid token, else 0.", tokenLabels, nil)
	failuresDesc = prometheus.NewDesc("reactor_token_consecutive_failures",
		"Failed attempts to obtain a token since the last success.", tokenLabels, nil)

	countDesc = prometheus.NewDesc("reactor_tokens",
		"How many ReactorTokens there are, by status and reason of their condition Ready.", []string{"ready", "reason"}, nil)
	earliestDesc = prometheus.NewDesc("reactor_token_earliest_expiration_timestamp_seconds",
		"When the first of all tokens expires, by Reactor's clock, in Unix seconds; suspended ones do not count.", nil, nil)
)

// tokenCollector exports the state of all ReactorTokens. It keeps nothing: each scrape reads the cache, so that no series
// outlives its object, and that a replica which does not lead has none to contradict the leader's.
type tokenCollector struct {
	reader   client.Reader
	elected  <-chan struct{}
	perToken bool
}

// NewTokenCollector returns a collector that reads the ReactorTokens from reader, a cache, at each scrape once elected is
// closed. Without perToken it exports totals only.
func NewTokenCollector(reader client.Reader, elected <-chan struct{}, perToken bool) prometheus.Collector {
	return &tokenCollector{reader: reader, elected: elected, perToken: perToken}
}

// Describe implements prometheus.Collector.
func (c *tokenCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{expirationDesc, renewalDesc, readyDesc, failuresDesc, countDesc, earliestDesc} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *tokenCollector) Collect(metrics chan<- prometheus.Metric) {
	select {
	case <-c.elected:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), listTimeout)
	defer cancel()
	var tokens v1alpha1.ReactorTokenList
	if err := c.reader.List(ctx, &tokens, client.UnsafeDisableDeepCopy); err != nil {
		// The whole scrape fails. That is better than a scrape that looks as if there were no tokens.
		metrics <- prometheus.NewInvalidMetric(countDesc, fmt.Errorf("listing ReactorTokens: %w", err))
		return
	}
	if c.perToken {
		for i := range tokens.Items {
			exportToken(metrics, &tokens.Items[i])
		}
	}
	exportTotals(metrics, tokens.Items)
}

// exportToken exports what status says about one token. What status does not say has no series.
func exportToken(metrics chan<- prometheus.Metric, token *v1alpha1.ReactorToken) {
	gauge := func(desc *prometheus.Desc, value float64) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, token.Namespace, token.Name)
	}
	status := &token.Status
	if status.ExpirationTime != nil {
		gauge(expirationDesc, float64(status.ExpirationTime.Unix()))
	}
	if status.RenewalTime != nil {
		gauge(renewalDesc, float64(status.RenewalTime.Unix()))
	}
	gauge(readyDesc, truth(meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady)))
	gauge(failuresDesc, float64(status.ConsecutiveFailures))
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// standing is the condition Ready, as labels.
type standing struct{ ready, reason string }

// standingOf takes a token without a status for one whose first token is on its way: the operator has not seen it yet.
func standingOf(token *v1alpha1.ReactorToken) standing {
	ready := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return standing{"unknown", v1alpha1.ReasonPending}
	}
	return standing{strings.ToLower(string(ready.Status)), ready.Reason}
}

func exportTotals(metrics chan<- prometheus.Metric, tokens []v1alpha1.ReactorToken) {
	counts := map[standing]int{}
	var earliest *metav1.Time
	for i := range tokens {
		token := &tokens[i]
		counts[standingOf(token)]++
		if !token.Spec.Suspended() && token.Status.ExpirationTime != nil &&
			(earliest == nil || token.Status.ExpirationTime.Before(earliest)) {
			earliest = token.Status.ExpirationTime
		}
	}
	for key, count := range counts {
		metrics <- prometheus.MustNewConstMetric(countDesc, prometheus.GaugeValue, float64(count), key.ready, key.reason)
	}
	if earliest != nil {
		metrics <- prometheus.MustNewConstMetric(earliestDesc, prometheus.GaugeValue, float64(earliest.Unix()))
	}
}
