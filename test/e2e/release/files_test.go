package release

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(shared.folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// glob returns the names of the files that match.
func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(shared.folder, pattern))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range paths {
		names = append(names, filepath.Base(path))
	}
	return names
}

func TestEveryFileHasItsChecksum(t *testing.T) {
	const list = "SHA256SUMS"
	want := map[string]bool{}
	for _, name := range glob(t, "*") {
		if name != list {
			want[fmt.Sprintf("%x  %s", sha256.Sum256(readFile(t, name)), name)] = true
		}
	}
	for line := range strings.Lines(string(readFile(t, list))) {
		line = strings.TrimSuffix(line, "\n")
		if !want[line] {
			t.Errorf("%s has a line that no file matches: %s", list, line)
		}
		delete(want, line)
	}
	for line := range want {
		t.Errorf("%s lacks %s", list, line)
	}
}

func TestAReleaseHoldsAllItsFiles(t *testing.T) {
	for _, pattern := range []string{"install.yaml", "try.yaml", "SHA256SUMS", operatorName + "-*.tgz"} {
		if found := glob(t, pattern); len(found) != 1 {
			t.Errorf("%d files match %s, want 1", len(found), pattern)
		}
	}
	for _, image := range images {
		if found := glob(t, image+".tar"); len(found) != 1 {
			t.Errorf("there is no archive of %s", image)
		}
		if len(glob(t, image+"-linux-*.cdx.json")) == 0 {
			t.Errorf("there is no SBOM of %s", image)
		}
	}
}

func TestEachSBOMListsTheModulesOfItsProgram(t *testing.T) {
	for _, name := range glob(t, "*.cdx.json") {
		var sbom struct {
			Format   string `json:"bomFormat"`
			Metadata struct {
				Component struct{ Name, Version string }
			}
			Components []struct{ Name, Version string }
		}
		if err := json.Unmarshal(readFile(t, name), &sbom); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		title, _, _ := strings.Cut(name, "-linux-")
		if sbom.Format != "CycloneDX" || sbom.Metadata.Component.Name != title || sbom.Metadata.Component.Version == "" {
			t.Errorf("%s is a %q about %+v, want CycloneDX about %s", name, sbom.Format, sbom.Metadata.Component, title)
		}
		for _, component := range sbom.Components {
			if component.Name == "" || component.Version == "" {
				t.Errorf("%s has a component without a name or a version: %+v", name, component)
			}
		}
		if !slices.ContainsFunc(sbom.Components, func(c struct{ Name, Version string }) bool { return c.Name == "stdlib" }) {
			t.Errorf("%s does not list the standard library", name)
		}
	}
}
