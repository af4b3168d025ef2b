package metrics

import (
	"context"
	"fmt"
	"hash/fnv"
	"strconv"
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
	// start returns add, which exports the objects of a list and is called for each list, and end, which then exports the totals.
	start func(metrics chan<- prometheus.Metric) (add func(list List), end func())
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
	add, end := c.start(metrics)
	for part := range parts {
		list := c.newList()
		if err := c.reader.List(ctx, list, client.MatchingFields{indexPart: strconv.Itoa(part)}, client.UnsafeDisableDeepCopy); err != nil {
			// The whole scrape fails. That is better than a scrape that looks as if there were no objects.
			metrics <- prometheus.NewInvalidMetric(c.descs[0], fmt.Errorf("listing %s: %w", c.kind, err))
			return
		}
		add(list)
	}
	end()
}

// The objects are read in parts. A list has a copy of each object, however shallow, and the registry holds all series until the scrape is
// answered: of 10,000 tokens, a whole list in addition makes the operator larger by a sixth.
const (
	parts     = 32
	indexPart = "part"
)

// Index makes the cache find the parts of a kind. A collector needs it.
func Index(ctx context.Context, indexer client.FieldIndexer, kind client.Object) error {
	if err := indexer.IndexField(ctx, kind, indexPart, partOf); err != nil {
		return fmt.Errorf("indexing %T for the metrics: %w", kind, err)
	}
	return nil
}

// partOf is the part that an object is in, by its name.
func partOf(object client.Object) []string {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(object.GetName())) // never fails, says hash.Hash
	return []string{strconv.Itoa(int(hash.Sum32() % parts))}
}

// gauge returns a sample with its own labels.
func gauge(desc *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

// sample is a value of a gauge. The samples of one object share its labels. client_golang's constant metric allocates new labels for each
// sample. A scrape keeps all its samples in memory at the same time: for 10,000 objects, they would need more memory than the objects.
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
