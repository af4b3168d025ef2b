package alerts

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	_ "sigs.k8s.io/controller-runtime/pkg/controller" // registers its metrics
	runtimemetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/reactor-operator/reactor-operator/internal/metrics"
)

// panel is a panel of the dashboard, as far as it asks Prometheus for something.
type panel struct {
	Title   string
	Type    string
	Targets []struct{ Expr string }
}

func readPanels(t *testing.T) []panel {
	t.Helper()
	content, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	var board struct{ Panels []panel }
	if err := json.Unmarshal(content, &board); err != nil {
		t.Fatalf("%s: %v", dashboard, err)
	}
	return slices.DeleteFunc(board.Panels, func(p panel) bool { return p.Type == "row" })
}

// exported are the names of the metrics of an operator's registry.
func exported(t *testing.T) (own, others []string) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewBuildCollector("test"), metrics.NewLeaderCollector(nil),
		metrics.NewTokenCollector(nil, nil, true), metrics.NewSessionCollector(nil, nil, true))
	if _, err := metrics.InstrumentMinter(nil, clock.RealClock{}, registry); err != nil {
		t.Fatal(err)
	}
	if _, err := metrics.NewAttempts(registry); err != nil {
		t.Fatal(err)
	}
	return describe(registry), describe(runtimemetrics.Registry.(prometheus.Collector))
}

var describedName = regexp.MustCompile(`fqName: "([^"]+)"`)

// describe asks a registry what it may export, whether it has a value or not.
func describe(registry prometheus.Collector) []string {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		registry.Describe(descs)
	}()
	var names []string
	for desc := range descs {
		names = append(names, describedName.FindStringSubmatch(desc.String())[1])
	}
	return names
}

var metricName = regexp.MustCompile(`\b(reactor|controller_runtime|workqueue|leader_election|process|rest_client)_[a-z0-9_]+\b`)

// A name that is misspelt gives an alert that never fires and a panel that is always empty.
func TestEveryMetricThatIsAskedForIsExported(t *testing.T) {
	own, others := exported(t)
	known := slices.Concat(own, others)
	asked := map[string][]string{}
	for _, rule := range readRules(t).all() {
		asked[rule.Alert] = metricName.FindAllString(rule.Expr, -1)
	}
	for _, panel := range readPanels(t) {
		for _, target := range panel.Targets {
			asked["the panel "+panel.Title] = append(asked["the panel "+panel.Title], metricName.FindAllString(target.Expr, -1)...)
		}
	}
	for who, names := range asked {
		if len(names) == 0 {
			t.Errorf("%s asks for no metric that is known here", who)
		}
		for _, name := range names {
			if !slices.Contains(known, name) && !slices.Contains(known, strings.TrimSuffix(name, "_bucket")) {
				t.Errorf("%s asks for %s, which the operator does not export", who, name)
			}
		}
	}
}

func TestTheDocumentationTellsOfEveryMetric(t *testing.T) {
	content, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	own, others := exported(t)
	for _, name := range own {
		if !strings.Contains(string(content), "| `"+name+"` |") {
			t.Errorf("docs/metrics.md does not tell of %s", name)
		}
	}
	for _, name := range metricName.FindAllString(string(content), -1) {
		if !slices.Contains(own, name) && !slices.Contains(others, name) {
			t.Errorf("docs/metrics.md tells of %s, which the operator does not export", name)
		}
	}
}
