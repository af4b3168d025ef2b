package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	packageHeading = regexp.MustCompile("^#+ `(internal/[a-z0-9/]+)`$")
	fileInTable    = regexp.MustCompile("`([a-z0-9_]+\\.go)`")
)

// TestTheArchitecturePageHasEveryFile keeps the tables of rules and files complete: a stranger looks up a rule there, so a file without a
// row, and a row without a file, are errors.
func TestTheArchitecturePageHasEveryFile(t *testing.T) {
	want := filesByPackage(t, filepath.Join(repository, "internal"))
	if len(want) < 10 {
		t.Fatalf("only %d packages were found", len(want))
	}
	page, err := os.ReadFile(filepath.Join(repository, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, filesInTables(string(page))); diff != "" {
		t.Errorf("docs/architecture.md does not list the files of these packages (-in the repository +on the page):\n%s", diff)
	}
}

func TestFilesAreReadFromTheTableBelowAPackagesHeading(t *testing.T) {
	const page = "## Rooms\n\n`outside.go`\n\n### `internal/one`\n\n| rule | file |\n|---|---|\n| a | `b.go`, `a.go` |\n\nSee `text.go`.\n\n## Next\n\n| x | `c.go` |\n"
	want := map[string][]string{"internal/one": {"a.go", "b.go"}}
	if diff := cmp.Diff(want, filesInTables(page)); diff != "" {
		t.Error(diff)
	}
}

// filesByPackage returns the Go files of each package below a folder, without tests, generated files and doc.go, which holds only the
// package comment.
func filesByPackage(t *testing.T, folder string) map[string][]string {
	t.Helper()
	packages := map[string][]string{}
	for _, path := range goFiles(t, folder) {
		name := filepath.Base(path)
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "zz_generated") || name == "doc.go" {
			continue
		}
		relative, err := filepath.Rel(repository, filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		packages[filepath.ToSlash(relative)] = append(packages[filepath.ToSlash(relative)], name)
	}
	return packages
}

// goFiles returns the paths of the Go files below a folder, in lexical order.
func goFiles(t *testing.T, folder string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == ".go" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// filesInTables returns the files that the tables below the headings of packages list.
func filesInTables(page string) map[string][]string {
	packages := map[string][]string{}
	current := ""
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			current = ""
			if heading := packageHeading.FindStringSubmatch(line); heading != nil {
				current = heading[1]
			}
		}
		if current == "" || !strings.HasPrefix(line, "|") {
			continue
		}
		for _, match := range fileInTable.FindAllStringSubmatch(line, -1) {
			if !slices.Contains(packages[current], match[1]) {
				packages[current] = append(packages[current], match[1])
			}
		}
	}
	for _, files := range packages {
		slices.Sort(files)
	}
	return packages
}
