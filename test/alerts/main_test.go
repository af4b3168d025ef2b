// Package alerts tests what config/prometheus gives to Prometheus and Grafana: the alert rules, with promtool and in a rehearsed outage,
// and the dashboard. make test-alerts runs it all; without it, what needs the programs of Prometheus is skipped.
package alerts

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	repository = "../.."
	rulesFile  = repository + "/config/prometheus/rules.yaml"
	dashboard  = repository + "/config/prometheus/dashboard.json"
	runbooks   = repository + "/docs/runbooks"
	metricsDoc = repository + "/docs/metrics.md"
)

// program is the path of a program of Prometheus. make test-alerts builds them; they must be there then.
func program(t *testing.T, name string) string {
	t.Helper()
	folder := os.Getenv("PROMETHEUS_ASSETS")
	if folder == "" {
		t.Skip("skipped: make test-alerts runs this test")
	}
	path := filepath.Join(folder, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatal("PROMETHEUS_ASSETS:", err)
	}
	return path
}

// ruleGroups are what Prometheus calls a rule file, and PrometheusRule its spec.
type ruleGroups struct {
	Groups []ruleGroup `json:"groups"`
}

type ruleGroup struct {
	Name  string `json:"name"`
	Rules []rule `json:"rules"`
}

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// readRules reads the rules out of the PrometheusRule.
func readRules(t *testing.T) ruleGroups {
	t.Helper()
	object := struct {
		APIVersion string     `json:"apiVersion"`
		Kind       string     `json:"kind"`
		Metadata   any        `json:"metadata"`
		Spec       ruleGroups `json:"spec"`
	}{}
	content, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(content, &object); err != nil {
		t.Fatalf("%s: %v", rulesFile, err)
	}
	return object.Spec
}

// all are the rules of all groups.
func (g ruleGroups) all() []*rule {
	var rules []*rule
	for i := range g.Groups {
		for j := range g.Groups[i].Rules {
			rules = append(rules, &g.Groups[i].Rules[j])
		}
	}
	return rules
}

// write writes the rules as Prometheus reads them.
func (g ruleGroups) write(t *testing.T, path string) {
	t.Helper()
	content, err := yaml.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

var window = regexp.MustCompile(`\[(\d+[smh])\]`)

// hastened divides all durations of the rules: how long something must be so, and how far back it is looked. What is compared
// with, such as the quarter of a token's life, stays.
func (g ruleGroups) hastened(t *testing.T, by time.Duration) ruleGroups {
	t.Helper()
	divided := func(text string) string {
		duration, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%dms", (duration / by).Milliseconds())
	}
	for _, rule := range g.all() {
		if rule.For != "" {
			rule.For = divided(rule.For)
		}
		rule.Expr = window.ReplaceAllStringFunc(rule.Expr, func(found string) string {
			return "[" + divided(strings.Trim(found, "[]")) + "]"
		})
	}
	return g
}

// names are the alerts, in order.
func (g ruleGroups) names() []string {
	var names []string
	for _, rule := range g.all() {
		names = append(names, rule.Alert)
	}
	slices.Sort(names)
	return names
}
