package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

var (
	expirationDesc = prometheus.NewDesc("reactor_token_expiration_timestamp_seconds",
		"When the token in the Secret expires, by Reactor's clock, in Unix seconds.", objectLabels, nil)
	renewalDesc = prometheus.NewDesc("reactor_token_renewal_timestamp_seconds",
		"When the next token is due, by Reactor's clock, in Unix seconds.", objectLabels, nil)
	readyDesc = prometheus.NewDesc("reactor_token_ready",
		"1 while the Secret holds a valid token, else 0.", objectLabels, nil)
	failuresDesc = prometheus.NewDesc("reactor_token_consecutive_failures",
		"Failed attempts to obtain a token since the last success.", objectLabels, nil)

	tokensDesc = prometheus.NewDesc("reactor_tokens",
		"How many ReactorTokens there are, by status and reason of their condition Ready.", []string{"ready", "reason"}, nil)
	earliestDesc = prometheus.NewDesc("reactor_token_earliest_expiration_timestamp_seconds",
		"When the first of all tokens expires, by Reactor's clock, in Unix seconds; suspended ones do not count.", nil, nil)
)

// NewTokenCollector returns a collector that reads the ReactorTokens from reader, a cache, at each scrape once elected is
// closed. Without perObject it exports totals only.
func NewTokenCollector(reader client.Reader, elected <-chan struct{}, perObject bool) prometheus.Collector {
	return &collector[*v1alpha1.ReactorTokenList]{
		reader: reader, elected: elected, kind: "ReactorTokens",
		descs:   []*prometheus.Desc{tokensDesc, earliestDesc, expirationDesc, renewalDesc, readyDesc, failuresDesc},
		newList: func() *v1alpha1.ReactorTokenList { return &v1alpha1.ReactorTokenList{} },
		export: func(metrics chan<- prometheus.Metric, list *v1alpha1.ReactorTokenList) {
			exportTokenTotals(metrics, list.Items)
			if perObject {
				for i := range list.Items {
					exportToken(metrics, &list.Items[i])
				}
			}
		},
	}
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

func exportTokenTotals(metrics chan<- prometheus.Metric, tokens []v1alpha1.ReactorToken) {
	counts := standings{}
	var earliest *metav1.Time
	for i := range tokens {
		token := &tokens[i]
		counts.add(token.Status.Conditions)
		if !token.Spec.Suspended() && token.Status.ExpirationTime != nil &&
			(earliest == nil || token.Status.ExpirationTime.Before(earliest)) {
			earliest = token.Status.ExpirationTime
		}
	}
	counts.export(metrics, tokensDesc)
	if earliest != nil {
		metrics <- prometheus.MustNewConstMetric(earliestDesc, prometheus.GaugeValue, float64(earliest.Unix()))
	}
}
