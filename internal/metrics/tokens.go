package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

var (
	issuedDesc = prometheus.NewDesc("reactor_token_issued_timestamp_seconds",
		"When the token in the Secret was issued, by Reactor's clock, in Unix seconds.", objectLabels, nil)
	expirationDesc = prometheus.NewDesc("reactor_token_expiration_timestamp_seconds",
		"When the token in the Secret expires, by Reactor's clock, in Unix seconds.", objectLabels, nil)
	renewalDesc = prometheus.NewDesc("reactor_token_renewal_timestamp_seconds",
		"When the next token is due, by Reactor's clock, in Unix seconds.", objectLabels, nil)
	readyDesc = prometheus.NewDesc("reactor_token_ready",
		"1 while the Secret holds a valid token, else 0.", objectLabels, nil)
	failuresDesc = prometheus.NewDesc("reactor_token_consecutive_failures",
		"Failed attempts to obtain a token since the last success.", objectLabels, nil)
	suspendedDesc = prometheus.NewDesc("reactor_token_suspended",
		"1 while spec.suspend is true; without a series otherwise.", objectLabels, nil)
	notRenewedDesc = prometheus.NewDesc("reactor_token_not_renewed",
		"1 while the operator cannot renew the token, with the reason of the condition Renewed and the Secret of the API key; "+
			"without a series otherwise.", append(objectLabels[:2:2], "api_key_secret", "reason"), nil)

	tokensDesc = prometheus.NewDesc("reactor_tokens",
		"How many ReactorTokens there are, by status and reason of their condition Ready.", []string{"ready", "reason"}, nil)
	tokensNotRenewedDesc = prometheus.NewDesc("reactor_tokens_not_renewed",
		"How many ReactorTokens the operator cannot renew, by the reason of their condition Renewed; suspended ones do not count.",
		[]string{"reason"}, nil)
	earliestDesc = prometheus.NewDesc("reactor_token_earliest_expiration_timestamp_seconds",
		"When the first of all tokens expires, by Reactor's clock, in Unix seconds; suspended ones do not count.", nil, nil)
)

// NewTokenCollector returns a collector that reads the ReactorTokens from reader, a cache, at each scrape once elected is
// closed. Without perObject it exports totals only.
func NewTokenCollector(reader client.Reader, elected <-chan struct{}, perObject bool) prometheus.Collector {
	return &collector[*v1alpha1.ReactorTokenList]{
		reader: reader, elected: elected, kind: "ReactorTokens",
		descs: []*prometheus.Desc{
			tokensDesc, tokensNotRenewedDesc, earliestDesc,
			issuedDesc, expirationDesc, renewalDesc, readyDesc, failuresDesc, suspendedDesc, notRenewedDesc,
		},
		newList: func() *v1alpha1.ReactorTokenList { return &v1alpha1.ReactorTokenList{} },
		export: func(metrics chan<- prometheus.Metric, list *v1alpha1.ReactorTokenList) {
			totals := tokenTotals{counts: readyCounts{}, failing: map[string]int{}}
			for i := range list.Items {
				totals.add(&list.Items[i])
				if perObject {
					exportToken(metrics, &list.Items[i])
				}
			}
			totals.export(metrics)
		},
	}
}

// exportToken exports what status says about one token. What status does not say has no series.
func exportToken(metrics chan<- prometheus.Metric, token *v1alpha1.ReactorToken) {
	labels := prometheus.MakeLabelPairs(readyDesc, []string{token.Namespace, token.Name})
	export := func(desc *prometheus.Desc, value float64) {
		metrics <- &sample{desc: desc, labels: labels, value: value}
	}
	exportTime := func(desc *prometheus.Desc, at *metav1.Time) {
		if at != nil {
			export(desc, float64(at.Unix()))
		}
	}
	status := &token.Status
	exportTime(issuedDesc, status.IssuedTime)
	exportTime(expirationDesc, status.ExpirationTime)
	exportTime(renewalDesc, status.RenewalTime)
	export(readyDesc, boolToFloat(meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady)))
	export(failuresDesc, float64(status.ConsecutiveFailures))
	if token.Spec.Suspended() {
		export(suspendedDesc, 1)
	}
	if reason := notRenewed(token); reason != "" {
		metrics <- gauge(notRenewedDesc, 1, token.Namespace, token.Name, token.Spec.APIKeySecretRef.Name, reason)
	}
}

// notRenewed is why the operator cannot renew a token that it should renew; empty when it can.
func notRenewed(token *v1alpha1.ReactorToken) string {
	renewed := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionRenewed)
	if renewed == nil || renewed.Status != metav1.ConditionFalse || token.Spec.Suspended() {
		return ""
	}
	return renewed.Reason
}

// tokenTotals are what is exported about all tokens together.
type tokenTotals struct {
	counts   readyCounts
	failing  map[string]int
	earliest *metav1.Time
}

func (t *tokenTotals) add(token *v1alpha1.ReactorToken) {
	t.counts.add(token.Status.Conditions)
	if reason := notRenewed(token); reason != "" {
		t.failing[reason]++
	}
	if expires := token.Status.ExpirationTime; expires != nil && !token.Spec.Suspended() && (t.earliest == nil || expires.Before(t.earliest)) {
		t.earliest = expires
	}
}

func (t *tokenTotals) export(metrics chan<- prometheus.Metric) {
	t.counts.export(metrics, tokensDesc)
	for reason, count := range t.failing {
		metrics <- gauge(tokensNotRenewedDesc, float64(count), reason)
	}
	if t.earliest != nil {
		metrics <- gauge(earliestDesc, float64(t.earliest.Unix()))
	}
}
