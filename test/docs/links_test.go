package docs

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// repository is the root of the repository, seen from this package.
const repository = "../.."

func TestNoLinkInAMarkdownFileIsBroken(t *testing.T) {
	files := markdownFiles(t, repository)
	if len(files) < 40 {
		t.Fatalf("only %d Markdown files were found", len(files))
	}
	for _, finding := range brokenLinks(t, repository, files) {
		t.Error(finding)
	}
}

// markdownFiles returns the Markdown files below a folder, without those of others and those that were built.
func markdownFiles(t *testing.T, folder string) []string {
	t.Helper()
	notOurs := []string{".git", "node_modules", "bin", "dist"}
	var files []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains(notOurs, entry.Name()):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// brokenLinks reports each link of these files that leads to nothing in the repository.
func brokenLinks(t *testing.T, root string, files []string) []string {
	t.Helper()
	pages := map[string]*Page{}
	for _, file := range files {
		page, err := Read(file)
		if err != nil {
			t.Fatal(err)
		}
		pages[filepath.Clean(file)] = page
	}
	var broken []string
	for _, file := range files {
		for _, link := range pages[filepath.Clean(file)].Links {
			if err := follow(root, pages, file, link.Target); err != nil {
				broken = append(broken, fmt.Sprintf("%s: the link %q to %s: %v", file, link.Text, link.Target, err))
			}
		}
	}
	return broken
}

// follow fails if a target, seen from a file, does not exist.
func follow(root string, pages map[string]*Page, from, target string) error {
	if elsewhere(target) {
		return nil
	}
	path, anchor, hasAnchor := strings.Cut(target, "#")
	path, err := url.PathUnescape(path)
	switch {
	case err != nil:
		return err
	case strings.HasPrefix(path, "/"):
		return errors.New("it is not relative")
	case path == "":
		path = filepath.Clean(from)
	default:
		path = filepath.Join(filepath.Dir(from), path)
	}
	if inside, err := filepath.Rel(root, path); err != nil || !filepath.IsLocal(inside) {
		return errors.New("it leaves the repository")
	}
	if _, err := os.Stat(path); err != nil {
		return errors.New("there is no such file")
	}
	if !hasAnchor {
		return nil
	}
	page, ok := pages[path]
	if !ok {
		return errors.New("an anchor needs a Markdown file")
	}
	if _, ok := page.Section(anchor); !ok {
		return errors.New("there is no such heading")
	}
	return nil
}

func TestBrokenLinksAreFound(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"from.md": "# From\n\n[good](to.md) [good](to.md#once) [good](#from) [good](https://example.com/#x) [good](sub) ![good](<a picture.svg>)\n" +
			"`[code](missing.md)`\n\n```\n[code](missing.md)\n```\n\n" +
			"[file](missing.md) [anchor](to.md#missing) [own](#missing) [outside](../other.md) [root](/to.md) [code](a%20picture.svg#x)\n" +
			"[by name][name]\n\n[name]: sub/missing.md\n",
		"to.md": "# Once\n", "a picture.svg": "", "sub/x": "",
	} {
		path := filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, finding := range brokenLinks(t, folder, markdownFiles(t, folder)) {
		got = append(got, strings.TrimPrefix(finding, folder+"/"))
	}
	want := []string{
		`from.md: the link "file" to missing.md: there is no such file`,
		`from.md: the link "anchor" to to.md#missing: there is no such heading`,
		`from.md: the link "own" to #missing: there is no such heading`,
		`from.md: the link "outside" to ../other.md: it leaves the repository`,
		`from.md: the link "root" to /to.md: it is not relative`,
		`from.md: the link "code" to a%20picture.svg#x: an anchor needs a Markdown file`,
		`from.md: the link "by name" to sub/missing.md: there is no such file`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the findings differ (-want +got):\n%s", diff)
	}
}

// GitHub's own examples, and headings of this repository.
func TestAnchorsAreThoseOfGitHub(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"small letters and hyphens":          {"# Sample Section\n", []string{"sample-section"}},
		"signs are left out":                 {"# Reactor's limits, and `--mint-qps=20`!\n", []string{"reactors-limits-and---mint-qps20"}},
		"underscores and other letters stay": {"# status_x Übergröße\n", []string{"status_x-übergröße"}},
		"links and emphasis are their text":  {"# This'll be a [Helpful](x.md) *Section* About\n", []string{"thisll-be-a-helpful-section-about"}},
		"duplicates are counted":             {"# A\n# A\n# A\n", []string{"a", "a-1", "a-2"}},
		"a counted name can be taken":        {"# A-1\n# A\n# A\n", []string{"a-1", "a", "a-2"}},
		"a line below makes a heading":       {"Some words\n===\n", []string{"some-words"}},
		"code is no heading":                 {"```\n# A\n```\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := parse([]byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, heading := range page.Headings {
				got = append(got, heading.Anchor)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("the anchors differ (-want +got):\n%s", diff)
			}
		})
	}
}
