// Package release checks the files that make a release and cannot run in a test: the workflows and the Dockerfile.
package release

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const root = "../.."

// workflow holds the parts that these tests check.
type workflow struct {
	On          map[string]any
	Permissions map[string]string
	Jobs        map[string]struct {
		Uses        string
		Needs       any // a job, or several
		Permissions map[string]string
		Strategy    struct {
			Matrix struct {
				Step    []string
				Include []map[string]string
			}
		}
		Steps []struct {
			Uses string
			Run  string
			With map[string]any
		}
	}
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]workflow{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var w workflow
		// The key "on" is a boolean in YAML 1.1.
		if err := yaml.Unmarshal(bytes.Replace(content, []byte("\non:\n"), []byte("\n\"on\":\n"), 1), &w); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		found[filepath.Base(file)] = w
	}
	if len(found) == 0 {
		t.Fatal("there are no workflows")
	}
	return found
}

func TestEveryActionIsPinnedByADigestAndNamesItsVersion(t *testing.T) {
	pinned := regexp.MustCompile(`^\s*(- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	own := regexp.MustCompile(`^\s*uses: \./\.github/workflows/[\w.-]+$`)
	for name := range workflows(t) {
		for line := range strings.Lines(read(t, ".github", "workflows", name)) {
			line = strings.TrimSuffix(line, "\n")
			if strings.Contains(line, "uses:") && !pinned.MatchString(line) && !own.MatchString(line) {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

func TestNothingIsPermittedUnlessAJobAsksForIt(t *testing.T) {
	for name, w := range workflows(t) {
		if w.Permissions == nil || len(w.Permissions) != 0 {
			t.Errorf("%s: permissions are %v, want {}", name, w.Permissions)
		}
		for job, j := range w.Jobs {
			if len(j.Permissions) == 0 {
				t.Errorf("%s: the job %s does not say what it needs", name, job)
			}
		}
	}
}

func TestWhatRunsForAPullRequestOnlyReadsAndKnowsNoSecret(t *testing.T) {
	for name, w := range workflows(t) {
		if _, found := w.On["pull_request_target"]; found {
			t.Errorf("%s: code from forks would run with the permissions of the repository", name)
		}
		if _, found := w.On["pull_request"]; !found {
			continue
		}
		for job, j := range w.Jobs {
			if len(j.Permissions) != 1 || j.Permissions["contents"] != "read" {
				t.Errorf("%s: the job %s may %v", name, job, j.Permissions)
			}
		}
		if text := read(t, ".github", "workflows", name); strings.Contains(text, "secrets.") || strings.Contains(text, "github.token") {
			t.Errorf("%s: uses a secret", name)
		}
	}
}

func TestNoCheckoutLeavesTheTokenInTheTree(t *testing.T) {
	for name, w := range workflows(t) {
		for job, j := range w.Jobs {
			for _, step := range j.Steps {
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
					t.Errorf("%s: the job %s", name, job)
				}
			}
		}
	}
}

// Its init writes what its analyze reads, and only the same version of both understands it.
func TestOneVersionOfCodeQLReadsAllCode(t *testing.T) {
	w := workflows(t)["codeql.yml"]
	commits, languages := map[string]bool{}, []string{}
	var builds string
	for _, job := range w.Jobs {
		for _, included := range job.Strategy.Matrix.Include {
			languages = append(languages, included["language"])
		}
		for _, step := range job.Steps {
			if action, commit, _ := strings.Cut(step.Uses, "@"); strings.HasPrefix(action, "github/codeql-action/") {
				commits[commit] = true
			}
			builds += step.Run
		}
	}
	if len(commits) != 1 {
		t.Errorf("there are %d versions of CodeQL: %v", len(commits), commits)
	}
	if want := []string{"go", "javascript-typescript"}; !slices.Equal(languages, want) {
		t.Errorf("CodeQL reads %q, want %q", languages, want)
	}
	modules := submatch(t, read(t, "Makefile"), `(?m)^CODE_MODULES := (.*)$`)
	if want := "for module in " + modules + "; do"; !strings.Contains(builds, want) {
		t.Errorf("CodeQL reads the Go code that %q compiles, want %q", builds, want)
	}
}

func TestWhatIsFoundLaterIsLookedForOnASchedule(t *testing.T) {
	for _, name := range []string{"codeql.yml", "vulncheck.yml"} {
		if _, found := workflows(t)[name].On["schedule"]; !found {
			t.Errorf("%s runs only when the code changes", name)
		}
	}
}

// GitHub's runners have cgroups of version 2, on which the node was never tried. A release must not wait for that.
func TestNoReleaseDependsOnANode(t *testing.T) {
	jobs := workflows(t)["release.yml"].Jobs
	if len(jobs) == 0 {
		t.Fatal("there is no release")
	}
	for name, job := range jobs {
		if strings.Contains(fmt.Sprint(job.Needs), "e2e") {
			t.Errorf("the job %s needs e2e", name)
		}
	}
}

// What make release-dry-run checks is what a release publishes.
func TestAReleasePublishesWhatTheDryRunChecks(t *testing.T) {
	makefile, steps := read(t, "Makefile"), ""
	for _, job := range workflows(t)["release.yml"].Jobs {
		for _, step := range job.Steps {
			steps += step.Run
		}
	}
	if !strings.Contains(makefile, "\nrelease-dry-run: release-files ") {
		t.Error("make release-dry-run does not make the files that it checks")
	}
	images := submatch(t, makefile, `(?m)^RELEASED_IMAGES := (.*)$`)
	for _, want := range []string{"make image-push", "make release-files", "gh release create", " dist/* ", "for name in " + images + "; do"} {
		if !strings.Contains(steps, want) {
			t.Errorf("the release does not run %q", want)
		}
	}
}

func TestTheDockerfileBuildsAsTheMakefileDoes(t *testing.T) {
	makefile, dockerfile := read(t, "Makefile"), read(t, "Dockerfile")
	build := submatch(t, makefile, `(?m)^GO_BUILD := (.*)$`)
	settings := submatch(t, makefile, `GOOS=linux GOARCH=\$\$platform (.*) \\\n`)
	packages := submatch(t, makefile, `-o bin/linux-\$\$platform/ (.*); \\\n`)
	want := "RUN GOOS=$TARGETOS GOARCH=$TARGETARCH " + settings + " \\\n    " +
		strings.Replace(build, "$(VERSION)'", "'\"$VERSION\"", 1) + " -o / " + packages + "\n"
	if !strings.Contains(dockerfile, want) {
		t.Errorf("the Dockerfile has no\n%s", want)
	}
	for _, packed := range regexp.MustCompile(`call PACK_IMAGE,\S+,([\w-]+),([\w-]+)\)`).FindAllStringSubmatch(makefile, -1) {
		for _, want := range []string{"LABEL org.opencontainers.image.title=" + packed[1] + " ", "COPY --from=build /" + packed[2] + " /", `ENTRYPOINT ["/` + packed[2] + `"]`} {
			if !strings.Contains(dockerfile, want) {
				t.Errorf("the Dockerfile has no image %s with %s", packed[1], want)
			}
		}
	}
	user := submatch(t, read(t, "hack", "image", "pack.go"), `nonRoot = "(.*)"`)
	for _, got := range regexp.MustCompile(`(?m)^USER (.*)$`).FindAllStringSubmatch(dockerfile, -1) {
		if got[1] != user {
			t.Errorf("the Dockerfile has the user %s, make image %s", got[1], user)
		}
	}
	if stages, users := strings.Count(dockerfile, "FROM scratch"), strings.Count(dockerfile, "\nUSER "); stages != users {
		t.Errorf("%d images of the Dockerfile have a user, of %d", users, stages)
	}
}

func TestEverythingIsBuiltByOneGo(t *testing.T) {
	version := submatch(t, read(t, "Dockerfile"), `golang:(\S+)`)
	for name := range workflows(t) {
		for _, found := range regexp.MustCompile(`go-version: (.*)`).FindAllStringSubmatch(read(t, ".github", "workflows", name), -1) {
			if found[1] != version {
				t.Errorf("%s has Go %s, the Dockerfile %s", name, found[1], version)
			}
		}
	}
}

func TestDockerIsGivenEveryPackageOfTheOperator(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if .Main}}{{$.Dir}}{{end}}{{end}}", "./cmd/manager", "./cmd/token-server", "./cmd/reactor-emulator")
	cmd.Dir = root
	output, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	allowed := strings.Fields(read(t, ".dockerignore"))
	for folder := range strings.FieldsSeq(string(output)) {
		path, err := filepath.Rel(top, folder)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(filepath.ToSlash(path), "/")
		if !slices.Contains(allowed, "!"+first) || !strings.Contains(read(t, "Dockerfile"), "\nCOPY "+first+" ./"+first+"\n") {
			t.Errorf("%s is not copied", path)
		}
	}
}

func submatch(t *testing.T, text, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("nothing matches %s", pattern)
	}
	return found[1]
}
