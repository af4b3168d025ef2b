package chart

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// imageName finds the names of images: the values of image, and all that looks like an image of a registry.
	imageName = regexp.MustCompile(`\bimage: +"?([-\w.]+[/:][-\w./:@]*)|\b(ghcr\.io/[-\w./:@]+)`)
	// published are images that everybody can pull.
	published = regexp.MustCompile(`^busybox:`)
	// imageNote is what a reader must find beside any other image: that it is not published, or is the reader's own.
	imageNote = regexp.MustCompile(`(?i)\bnot published\b|\byours\b`)
	// pullsOurImages are the commands and URLs that install an image of ours without naming it.
	pullsOurImages = regexp.MustCompile(`apply -k config/(default|examples)|/config/default\?ref=`)
)

// A pod whose image does not exist waits for ever, and says only ImagePullBackOff. Who copies a manifest must learn before that what to do. The
// default images of the chart are not here: the chart refuses them (TestAWrongValueIsRefusedAndTheMessageSaysWhy).
func TestNoManifestAndNoPageNamesAnImageThatDoesNotExistWithoutSayingSo(t *testing.T) {
	found := 0
	for _, path := range readable(t) {
		lines := readLines(t, path)
		for i, line := range lines {
			for _, match := range imageName.FindAllStringSubmatch(line, -1) {
				name := match[1] + match[2]
				found++
				if !published.MatchString(name) && !imageNote.MatchString(near(lines, i, filepath.Ext(path) == ".md")) {
					t.Errorf("%s:%d names the image %s, which does not exist: say so there, and what to do (see config/README.md#images)", path, i+1, name)
				}
			}
		}
	}
	if found < 15 {
		t.Errorf("only %d images were found", found)
	}
}

func TestEachPageThatInstallsOurImagesSaysThatTheyMustBeBuiltFirst(t *testing.T) {
	found := 0
	for _, path := range readable(t) {
		text := strings.Join(readLines(t, path), "\n")
		if pullsOurImages.MatchString(text) {
			found++
			if !strings.Contains(text, "README.md#images") && !strings.Contains(text, "\n## Images\n") {
				t.Errorf("%s tells how to install an image that does not exist: link to config/README.md#images", path)
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d pages were found", found)
	}
}

// readable are the manifests and the pages that people read and copy.
func readable(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, folder := range []string{"config", "charts", "docs", "examples", "CONTRIBUTING.md", "SECURITY.md"} {
		err := filepath.WalkDir(filepath.Join(repository, folder), func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case slices.Contains([]string{"crd", "crds", "node_modules"}, entry.Name()): // generated, or of others
				return filepath.SkipDir
			case slices.Contains([]string{".yaml", ".md"}, filepath.Ext(path)):
				paths = append(paths, path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

// near is what a reader sees with a line: the comments of it and above it, and on a page its whole section.
func near(lines []string, at int, page bool) string {
	first, last := at, at
	if page {
		isHeading := headings(lines)
		for first > 0 && !isHeading[first] {
			first--
		}
		for last+1 < len(lines) && !isHeading[last+1] {
			last++
		}
		return strings.Join(lines[first:last+1], "\n")
	}
	for first > 0 && strings.HasPrefix(strings.TrimSpace(lines[first-1]), "#") {
		first--
	}
	return strings.Join(lines[first:at], "\n") + "\n" + comment(lines[at])
}

func comment(line string) string {
	_, comment, _ := strings.Cut(line, " #")
	return comment
}

// headings says which lines of a page are headings, and not comments in a block of code.
func headings(lines []string) []bool {
	isHeading, inCode := make([]bool, len(lines)), false
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			inCode = !inCode
		}
		isHeading[i] = !inCode && strings.HasPrefix(line, "#")
	}
	return isHeading
}
