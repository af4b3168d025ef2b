package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheTextOfAFileHasItsLines(t *testing.T) {
	for _, test := range []struct {
		name, file, source string
		want               []piece
	}{
		{"comments, messages and strings of Go", "api/types.go",
			"package api\n\n// Spec is what a user writes.\n// It has rules.\n// +kubebuilder:validation:XValidation:rule=\"self\",message=\"set a name, or none\"\ntype Spec struct {\n" +
				"\tName string `json:\"some name that is long\"`\n}\n\nvar text = \"the API server \" +\n\t\"refuses the write\"\nvar key = \"reactor.inc/token\"\n",
			[]piece{{3, "Spec is what a user writes.\nIt has rules."}, {5, "set a name, or none"}, {10, "the API server refuses the write"}}},
		{"a Go test: only comments", "api/types_test.go", "package api\n\n// It has rules.\nvar text = \"the API server refuses the write\"\n", []piece{{3, "It has rules."}}},
		{"comments of YAML", "config/a.yaml", "# One line,\n# and the next.\na: b # behind a value\nc: d\n# Another one.\n",
			[]piece{{1, "One line,\nand the next."}, {3, "behind a value"}, {5, "Another one."}}},
		{"Markdown without its generated part", "README.md", "One.\n<!-- Generated from values.yaml -->\nTwo.\n<!-- End of the generated part. -->\nThree.",
			[]piece{{1, "One.\n\n\n\nThree."}}},
		{"the messages of a template", "charts/a/templates/a.yaml", "{{- /* Why this is so. */}}\n{{ fail \"set a value for this key\" }}\nkind: \"Role\"\n",
			[]piece{{1, " Why this is so. "}, {2, "set a value for this key"}}},
		{"the text of an alert", "config/prometheus/rules.yaml", "      annotations:\n        summary: A token of {{ $labels.name }}\n          is about to expire\n        runbook_url: https://example.com\n",
			[]piece{{2, "A token of X\nis about to expire"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			extract := extractorOf(test.file)
			if extract == nil { // the comments of tests are not read yet
				extract = fromGo
			}
			got, err := extract(test.file, test.source)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(piece{})); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGeneratedFilesAreNotRead(t *testing.T) {
	for _, file := range []string{"docs/api.md", "api/v1alpha1/zz_generated.deepcopy.go", "config/crd/bases/reactor.inc_reactortokens.yaml", "CHANGELOG.md", "go.sum"} {
		if extractorOf(file) != nil {
			t.Errorf("%s is read", file)
		}
	}
}

// A finding has the line of the source, although Vale reads the extracted text.
func TestAFindingHasTheLineOfTheSource(t *testing.T) {
	text, lines := join([]piece{{3, "one\ntwo"}, {9, "three"}})
	if want := "one\ntwo\n\nthree\n\n"; text != want {
		t.Errorf("%q, want %q", text, want)
	}
	for line, want := range map[int]int{1: 3, 2: 4, 4: 9, 99: 99} {
		if got := sourceLine(lines, line); got != want {
			t.Errorf("line %d of the text is line %d of the source, want %d", line, got, want)
		}
	}
}
