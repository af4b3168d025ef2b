package metrics

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// listTimeout bounds a scrape's look into the cache, which only ever waits while the cache is being filled.
const listTimeout = 5 * time.Second

// objectLabels name the object that a series is of.
var objectLabels = []string{"namespace", "name"}

// collector exports the state of all objects of one kind. It keeps no state: each scrape reads the cache, so that no series outlives its
// object. Only the leader exports series, because those of other replicas could contradict them.
type collector[List client.ObjectList] struct {
	reader  client.Reader
	elected <-chan struct{}
	kind    string // in the plural
	descs   []*prometheus.Desc
	newList func() List
	export  func(metrics chan<- prometheus.Metric, list List)
}

// Describe implements prometheus.Collector.
func (c *collector[List]) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range c.descs {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector[List]) Collect(metrics chan<- prometheus.Metric) {
	select {
	case <-c.elected:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), listTimeout)
	defer cancel()
	list := c.newList()
	if err := c.reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		// The whole scrape fails. That is better than a scrape that looks as if there were no objects.
		metrics <- prometheus.NewInvalidMetric(c.descs[0], fmt.Errorf("listing %s: %w", c.kind, err))
		return
	}
	c.export(metrics, list)
}

// gauge returns a sample with its own labels.
func gauge(desc *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

// sample is a value of a gauge. The samples of one object share its labels. The constant metric of client_golang allocates new labels for each sample,
// and a scrape holds all samples at the same time. At 10,000 tokens, the peak of the RSS during scrapes is 10 to 12 MB smaller with this type.
type sample struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	value  float64
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric.
func (s *sample) Write(out *dto.Metric) error {
	out.Label, out.Gauge = s.labels, &dto.Gauge{Value: &s.value}
	return nil
}

// readyLabels is the condition Ready, as labels.
type readyLabels struct{ ready, reason string }

// readyCounts counts objects by their condition Ready.
type readyCounts map[readyLabels]int

// add counts an object. An object without the condition counts as Pending: the operator has not observed it yet.
func (s readyCounts) add(conditions []metav1.Condition) {
	if ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); ready != nil {
		s[readyLabels{strings.ToLower(string(ready.Status)), ready.Reason}]++
	} else {
		s[readyLabels{"unknown", v1alpha1.ReasonPending}]++
	}
}

// export exports the counts, with the labels ready and reason.
func (s readyCounts) export(metrics chan<- prometheus.Metric, desc *prometheus.Desc) {
	for key, count := range s {
		metrics <- gauge(desc, float64(count), key.ready, key.reason)
	}
}

func boolToFloat(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
