package alerts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestEachAlertHasARunbookAndEachRunbookAnAlert(t *testing.T) {
	files, err := filepath.Glob(runbooks + "/Reactor*.md")
	if err != nil {
		t.Fatal(err)
	}
	var pages []string
	for _, file := range files {
		pages = append(pages, strings.TrimSuffix(filepath.Base(file), ".md"))
	}
	if diff := cmp.Diff(readRules(t).names(), pages); diff != "" {
		t.Errorf("alerts and pages (-alerts +pages):\n%s", diff)
	}
	index, err := os.ReadFile(runbooks + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range readRules(t).all() {
		page, err := os.ReadFile(filepath.Join(runbooks, rule.Alert+".md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"# " + rule.Alert + "\n", "**Impact:**", "\n## Diagnosis\n", "\n## Mitigation\n"} {
			if !strings.Contains(string(page), part) {
				t.Errorf("the page of %s has no %q", rule.Alert, part)
			}
		}
		if line := fmt.Sprintf("| [%s](%s.md) | %s |", rule.Alert, rule.Alert, rule.Labels["severity"]); !strings.Contains(string(index), line) {
			t.Errorf("the index of the runbooks has no line %s", line)
		}
	}
}

func TestEachAlertSaysHowBadItIsWhatItIsAndWhereToReadOn(t *testing.T) {
	const where = "https://github.com/reactor-operator/reactor-operator/blob/main/docs/runbooks/"
	for _, rule := range readRules(t).all() {
		if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s has the severity %q", rule.Alert, severity)
		}
		if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
			t.Errorf("%s has no summary or no description", rule.Alert)
		}
		if got, want := rule.Annotations["runbook_url"], where+rule.Alert+".md"; got != want {
			t.Errorf("%s has the runbook %q, want %q", rule.Alert, got, want)
		}
	}
}

func TestPromtoolTakesTheRules(t *testing.T) {
	promtool := program(t, "promtool")
	path := filepath.Join(t.TempDir(), "rules.yaml")
	readRules(t).write(t, path)
	if output, err := exec.CommandContext(t.Context(), promtool, "check", "rules", "--lint=all", "--lint-fatal", path).CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, output)
	}
}

// testRules runs the tests in testdata of one alert, against these rules.
func testRules(t *testing.T, promtool string, rules ruleGroups, alert string) (output string, passed bool) {
	t.Helper()
	folder := t.TempDir()
	rules.write(t, filepath.Join(folder, "rules.yaml")) // where the tests look for them
	content, err := os.ReadFile(filepath.Join("testdata", alert+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, alert+".yaml")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := exec.CommandContext(t.Context(), promtool, "test", "rules", path).CombinedOutput()
	return string(text), err == nil
}

func TestEachAlertFiresWhenItShouldAndOnlyThen(t *testing.T) {
	promtool := program(t, "promtool")
	for _, alert := range readRules(t).names() {
		t.Run(alert, func(t *testing.T) {
			t.Parallel()
			if output, passed := testRules(t, promtool, readRules(t), alert); !passed {
				t.Error(output)
			}
		})
	}
}

// An alert that always fires, one that never does, and one that fires immediately, are detected.
func TestTheTestsOfAnAlertCanFail(t *testing.T) {
	promtool := program(t, "promtool")
	for _, alert := range readRules(t).names() {
		t.Run(alert, func(t *testing.T) {
			t.Parallel()
			for name, spoil := range map[string]func(*rule){
				"always":  func(r *rule) { r.Expr = "vector(1)" },
				"never":   func(r *rule) { r.Expr = "vector(1) > 1" },
				"at once": func(r *rule) { r.For = "" },
			} {
				rules := readRules(t)
				all := rules.all()
				spoiled := all[slices.IndexFunc(all, func(r *rule) bool { return r.Alert == alert })]
				if name == "at once" && spoiled.For == "" {
					continue // as it is to
				}
				spoil(spoiled)
				if output, passed := testRules(t, promtool, rules, alert); passed {
					t.Errorf("the tests pass with an alert that fires %s:\n%s", name, output)
				}
			}
		})
	}
}

// A test of an alert names it, tries when it fires, and when it does not.
func TestEachAlertIsTriedBothWays(t *testing.T) {
	for _, alert := range readRules(t).names() {
		content, err := os.ReadFile(filepath.Join("testdata", alert+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Tests []struct {
				Cases []struct {
					Alert string `json:"alertname"`
					Want  []any  `json:"exp_alerts"`
				} `json:"alert_rule_test"`
			} `json:"tests"`
		}
		if err := yaml.Unmarshal(content, &file); err != nil {
			t.Fatalf("%s: %v", alert, err)
		}
		fires, silent := 0, 0
		for _, test := range file.Tests {
			for _, try := range test.Cases {
				switch {
				case try.Alert != alert:
					t.Errorf("the tests of %s try %s", alert, try.Alert)
				case len(try.Want) > 0:
					fires++
				default:
					silent++
				}
			}
		}
		if fires == 0 || silent == 0 {
			t.Errorf("%s fires in %d cases and does not in %d", alert, fires, silent)
		}
	}
}
