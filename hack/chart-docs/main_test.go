package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEachValueHasARowWithTheCommentAboveIt(t *testing.T) {
	got, err := tableOf([]byte(`# The head of the file.

# --- A heading ---

# How many: ` + "`1`" + ` or
# more.
replicas: 1 # beside it
group:
  # Off | on.
  on: false
  # What it is called.
  name: ""
# Both in one row.
resources:
  requests:
    cpu: 50m
# --- Another heading ---

outer:
  inner:
    # Far inside.
    deep: {}
# Some ports.
ports: [443, 6443]
# Nothing.
auth: null
`))
	if err != nil {
		t.Fatal(err)
	}
	want := `| value | default | what it does |
|---|---|---|
| ` + "`replicas` | `1` | How many: `1` or more." + ` |
| ` + "`group.on` | `false` | Off \\| on." + ` |
| ` + "`group.name` | `\"\"` | What it is called." + ` |
| ` + "`resources` | `{requests: {cpu: 50m}}` | Both in one row." + ` |
| ` + "`outer.inner.deep` | `{}` | Far inside." + ` |
| ` + "`ports` | `[443, 6443]` | Some ports." + ` |
| ` + "`auth` | `null` | Nothing." + ` |
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAValueWithoutADescriptionIsAnError(t *testing.T) {
	_, err := tableOf([]byte("# One.\na: 1\nb: 2\n"))
	if err == nil || !strings.Contains(err.Error(), "values.yaml:3: b has no comment") {
		t.Errorf("the error is %v", err)
	}
}

func TestTheTableReplacesTheFormerOneAndNothingElse(t *testing.T) {
	got, err := replaced("before\n"+start+"\nformer\n\n"+end+"after\n", "table\n")
	if want := "before\n" + start + "\ntable\n\n" + end + "after\n"; err != nil || got != want {
		t.Errorf("%v, and %q instead of %q", err, got, want)
	}
	if _, err := replaced("no place for it\n", "table\n"); err == nil {
		t.Error("a README without a place for the table is taken")
	}
}
