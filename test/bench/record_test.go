package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// records are of a run whose plot and table are easy to check.
func records() []Record {
	return []Record{
		{Part: partFresh, Command: "make bench", Commit: "abc", Date: "2026-01-31", Rows: []Row{
			{Figure: "from 0 to 10 Ready tokens", Operator: "2 s", Floor: "1 s", Ratio: "2.00", Goal: "≤ 1.25", Verdict: NotMet},
		}, Series: []Series{{Name: "operator", Unit: "s", Values: []float64{1, 2.5}}, {Name: "nothing", Unit: "s", Values: []float64{}}}},
		{Part: partGrowth, Series: []Series{
			{Name: "tokens", Values: []float64{10, 100, 1000}}, {Name: "time a token, operator", Values: []float64{1, 2, 4}},
		}},
	}
}

func TestARecordIsReadBackAsItWasSaved(t *testing.T) {
	folder := t.TempDir()
	want := records()
	for i := range want {
		if _, err := want[i].save(filepath.Join(folder, "deeper")); err != nil {
			t.Fatal(err)
		}
	}
	got, err := load(filepath.Join(folder, "deeper"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-saved +read):\n%s", diff)
	}
	text, err := os.ReadFile(filepath.Join(folder, "deeper", "fresh.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "[1,2.5]") {
		t.Errorf("numbers do not stand on one line:\n%s", text)
	}
}

func TestAFolderWithoutResultsHasNone(t *testing.T) {
	if got, err := load(t.TempDir()); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestTheTableStandsBetweenItsLines(t *testing.T) {
	folder := t.TempDir()
	document := filepath.Join(folder, "performance.md")
	if err := os.WriteFile(document, []byte("above\n"+tableBegin+"old\n"+tableEnd+"below\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	results := filepath.Join(folder, "performance")
	for range 2 { // the second time changes nothing
		if err := render(results, document); err != nil {
			t.Fatal(err)
		}
		if got := read(t, document); got != "above\n"+tableBegin+"\nNo run that is large enough has been recorded.\n\n"+tableEnd+"below\n" {
			t.Errorf("without results:\n%s", got)
		}
	}
	for _, record := range records() {
		if _, err := record.save(results); err != nil {
			t.Fatal(err)
		}
	}
	if err := render(results, document); err != nil {
		t.Fatal(err)
	}
	got := read(t, document)
	for _, want := range []string{
		"above\n" + tableBegin, tableEnd + "below\n", "`make bench`, commit abc, 2026-01-31", "(performance/fresh.json)", "(performance/growth.svg)",
		"| from 0 to 10 Ready tokens | 2 s | 1 s | 2.00 | ≤ 1.25 | not met |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the document lacks %q:\n%s", want, got)
		}
	}
	if plot := read(t, filepath.Join(results, plotFile)); strings.Count(plot, "<circle") != 3 || !strings.HasSuffix(plot, "</svg>\n") {
		t.Errorf("the plot:\n%s", plot)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestADocumentWithoutItsLinesIsLeftAlone(t *testing.T) {
	document := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(document, []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := render(t.TempDir(), document); err == nil || read(t, document) != "text\n" {
		t.Errorf("%v; now it is %q", err, read(t, document))
	}
}

func TestTheCommitSaysWhetherWhatIsMeasuredWasCommitted(t *testing.T) {
	t.Chdir(t.TempDir())
	git := func(args ...string) {
		t.Helper()
		args = append([]string{"-c", "user.name=test", "-c", "user.email=test@example.com"}, args...)
		if output, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, output)
		}
	}
	change := func(file, content string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "--quiet")
	change("main.go", "package main")
	git("add", ".")
	git("commit", "--quiet", "--message=first")
	clean := commit(t.Context())
	if clean == "unknown" || strings.HasSuffix(clean, dirty) {
		t.Errorf("without changes: %s", clean)
	}
	change("docs/performance/fresh.json", "{}")
	if got := commit(t.Context()); got != clean {
		t.Errorf("with the result of an earlier part: %s, want %s", got, clean)
	}
	change("main.go", "package changed")
	if got := commit(t.Context()); got != clean+dirty {
		t.Errorf("with a changed program: %s, want %s", got, clean+dirty)
	}
}

// The ratio of fresh is shown with those of its pairs, as its samples have them.
func TestTheRatioOfFreshShowsItsPairs(t *testing.T) {
	results, err := load("../../docs/performance")
	if err != nil {
		t.Fatal(err)
	}
	fresh := results[0]
	took, least := fresh.one("operator, each run"), fresh.one("floor, each run")
	if len(took) < 2 || len(took) != len(least) {
		t.Fatalf("the part %s has %d and %d runs", fresh.Part, len(took), len(least))
	}
	want := fmt.Sprintf("%.2f, of the pairs %s", mean(took)/mean(least), pairs(took, least))
	if got := fresh.Rows[0].Ratio; got != want {
		t.Errorf("it shows %q, want %q", got, want)
	}
}

// What docs/performance.md shows is what docs/performance holds: nobody mends a figure by hand.
func TestTheDocumentShowsWhatWasMeasured(t *testing.T) {
	const root = "../../docs/"
	results, err := load(root + "performance")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(read(t, root+"performance.md"), tableBegin)
	shown, _, found := strings.Cut(rest, tableEnd)
	if !found {
		t.Fatal("the document lacks the lines between which the table stands")
	}
	if diff := cmp.Diff(tableOf(results, "performance"), shown); diff != "" {
		t.Errorf("run make bench-docs (-measured +shown):\n%s", diff)
	}
	for i := range results {
		if err := results[i].wrongCounts(); err != nil {
			t.Error(err)
		}
		if results[i].Part == partGrowth && read(t, root+"performance/"+plotFile) != plotOf(&results[i]) {
			t.Error("the plot is not of these results: run make bench-docs")
		}
	}
}

func TestACountThatIsWrongFailsARun(t *testing.T) {
	record := &Record{Part: partRestart, Rows: []Row{
		{Figure: "time", Verdict: NotMet}, {Figure: "mints", Operator: "1", Goal: "0", Verdict: Wrong}, {Figure: "writes", Verdict: Met},
	}}
	if err := record.wrongCounts(); err == nil || err.Error() != "restart: mints: got 1, want 0" {
		t.Errorf("got %v", err)
	}
	record.Rows[1].Verdict = count(true)
	if err := record.wrongCounts(); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestAPlotHasRoundAxes(t *testing.T) {
	for value, want := range map[float64]float64{0: 1, 0.3: 0.5, 1: 1, 1.1: 2, 4: 5, 7: 10, 70: 100} {
		if got := niceAbove(value); got != want {
			t.Errorf("above %v is %v, want %v", value, got, want)
		}
	}
}

func TestWhatAnObjectCostsIsFlatWhenAllGrowsAlike(t *testing.T) {
	_, took, least, cpu, memory := columns([]point{
		{tokens: 1000, operator: 2, floor: 1, cpu: 0.5, resident: 60, withoutTokens: 50},
		{tokens: 10_000, operator: 20, floor: 10, cpu: 5, resident: 150, withoutTokens: 50},
	})
	for name, values := range map[string][]float64{"2": took, "1": least, "0.5": cpu, "10": memory} {
		if values[0] != values[1] {
			t.Errorf("a token costs %v, want %s in both sizes", values, name)
		}
	}
}

func TestOnlyTheLessUrgentThatWentFirstCount(t *testing.T) {
	changed := []float64{1, 2, 3, 4, 5, 6}
	if got := overtaken(changed, []float64{4.5}, 2.5); got != 2 {
		t.Errorf("%d went before, want those at 3 and 4", got)
	}
	if got := overtaken(changed, []float64{2}, 2.5); got != 0 {
		t.Errorf("%d went before one that did not wait", got)
	}
}

func TestChangedVersionsAreThoseOfObjectsThatWereThere(t *testing.T) {
	before := map[string]string{"a": "1", "b": "1", "c": "1"}
	after := map[string]string{"a": "1", "b": "2", "d": "9"}
	if got := changedVersions(before, after); got != 2 {
		t.Errorf("%d, want the one that was written and the one that is gone", got)
	}
}

func TestASecondReactorSessionOfATokenIsSeen(t *testing.T) {
	seen := ledger{Sessions: []reactorSession{{JTI: "a"}, {JTI: "b"}, {JTI: "a"}}}
	if got := seen.twice(); got != 1 {
		t.Errorf("%d, want 1", got)
	}
}
