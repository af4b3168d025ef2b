package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEachReleaseRendersAsItsGoldenFileSays(t *testing.T) {
	for name := range releases {
		t.Run(name, func(t *testing.T) {
			got := withoutCopies(render(t, name)) + "---\n# What the user is told.\n" + commented(notes(t, name))
			path := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("after a wanted change, run go test ./test/chart -update, and read what it changed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRenderedTwiceAReleaseIsTheSame(t *testing.T) {
	for name := range releases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(renderAnew(t, name), renderAnew(t, name)); diff != "" {
				t.Errorf("the second differs from the first:\n%s", diff)
			}
		})
	}
}

func TestHelmLintFindsNothingInAnyRelease(t *testing.T) {
	for name, namespace := range releases {
		t.Run(name, func(t *testing.T) {
			said := mustHelm(t, "lint", "--strict", chart, "--namespace", namespace, "--values", filepath.Join("testdata", name+".values.yaml"))
			if strings.Contains(said, "[WARNING]") || strings.Contains(said, "[ERROR]") {
				t.Error(said)
			}
		})
	}
}

// copied are the parts of objects that the chart has from config/, which other tests compare.
var copied = map[string]string{"CustomResourceDefinition": "spec", "PrometheusRule": "spec", "ConfigMap": "data"}

// withoutCopies cuts these parts.
func withoutCopies(stream string) string {
	documents := strings.Split(stream, "---\n")
	for i, document := range documents {
		for kind, part := range copied {
			head, _, has := strings.Cut(document, "\n"+part+":\n")
			if has && strings.Contains(head, "\nkind: "+kind+"\n") {
				documents[i] = head + "\n" + part + ": {} # as in config/\n"
			}
		}
	}
	return strings.Join(documents, "---\n")
}

// notes returns what Helm tells after the installation.
func notes(t *testing.T, name string) string {
	t.Helper()
	args := append([]string{"install", "--dry-run=client", "--output=json"}, told(name)...)
	release := struct{ Info struct{ Notes string } }{}
	if err := json.Unmarshal([]byte(mustHelm(t, args...)), &release); err != nil {
		t.Fatal(err)
	}
	return release.Info.Notes
}

func commented(text string) string {
	var comment strings.Builder
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		comment.WriteString(strings.TrimRight("# "+line, " \n") + "\n")
	}
	return comment.String()
}
