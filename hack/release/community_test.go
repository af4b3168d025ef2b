package release

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// dependabot is what these tests read of .github/dependabot.yml.
type dependabot struct {
	Version int
	Updates []struct {
		Ecosystem   string `json:"package-ecosystem"`
		Directory   string
		Directories []string
		Groups      map[string]struct{ Patterns []string }
	}
}

func TestDependabotUpdatesEveryModuleFolderAndImageOfTheTree(t *testing.T) {
	var config dependabot
	if err := yaml.UnmarshalStrict([]byte(withoutSchedules(read(t, ".github", "dependabot.yml"))), &config); err != nil {
		t.Fatal(err)
	}
	if config.Version != 2 {
		t.Errorf("the version is %d, want 2", config.Version)
	}
	got := map[string][]string{}
	for _, update := range config.Updates {
		got[update.Ecosystem] = append(got[update.Ecosystem], update.Directories...)
		if update.Directory != "" {
			got[update.Ecosystem] = append(got[update.Ecosystem], update.Directory)
		}
		if !slices.ContainsFunc(valuesOf(update.Groups), func(patterns []string) bool { return slices.Contains(patterns, "*") }) {
			t.Errorf("%s: some updates are in no group, and have a pull request each", update.Ecosystem)
		}
	}
	want := map[string][]string{"github-actions": {"/"}}
	for ecosystem, file := range map[string]string{"gomod": "go.mod", "npm": "package.json", "docker": "Dockerfile"} {
		want[ecosystem] = foldersWith(t, file)
	}
	for _, folders := range got {
		slices.Sort(folders)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf(".github/dependabot.yml has other folders than the tree (-tree +dependabot.yml):\n%s", diff)
	}
}

// withoutSchedules omits what GitHub checks itself.
func withoutSchedules(text string) string {
	return regexp.MustCompile(`(?m)^  schedule: .*\n`).ReplaceAllString(text, "")
}

func valuesOf(groups map[string]struct{ Patterns []string }) [][]string {
	var all [][]string
	for _, group := range groups {
		all = append(all, group.Patterns)
	}
	return all
}

// foldersWith returns the folders of the tree that have this file, as Dependabot names them.
func foldersWith(t *testing.T, file string) []string {
	t.Helper()
	var folders []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git" || entry.Name() == "bin") {
			return fs.SkipDir
		}
		if entry.Name() == file {
			folders = append(folders, path.Join("/", path.Dir(name)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(folders)
	return folders
}

// issueForm is what GitHub requires of a form: https://docs.github.com/communities/using-templates-to-encourage-useful-issues-and-pull-requests/syntax-for-issue-forms.
type issueForm struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Labels      []string `json:"labels"`
	Body        []struct {
		Type       string `json:"type"`
		ID         string `json:"id"`
		Attributes struct {
			Label       string `json:"label"`
			Description string `json:"description"`
			Value       string `json:"value"`
			Render      string `json:"render"`
			Options     []any  `json:"options"`
		} `json:"attributes"`
		Validations struct {
			Required bool `json:"required"`
		} `json:"validations"`
	} `json:"body"`
}

func TestTheIssueFormsAreOnesThatGitHubShows(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, ".github", "ISSUE_TEMPLATE", "*_*.yml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("there are %d forms, %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			var form issueForm
			if err := yaml.UnmarshalStrict([]byte(read(t, ".github", "ISSUE_TEMPLATE", name)), &form); err != nil {
				t.Fatal(err)
			}
			if form.Name == "" || form.Description == "" || len(form.Labels) == 0 {
				t.Errorf("the form lacks a name, a description or a label: %+v", form)
			}
			ids, questions := map[string]bool{}, 0
			for _, part := range form.Body {
				switch part.Type {
				case "markdown":
					if part.Attributes.Value == "" {
						t.Error("a part with markdown is empty")
					}
					continue
				case "dropdown", "checkboxes":
					if len(part.Attributes.Options) == 0 {
						t.Errorf("%s has no options", part.ID)
					}
				case "input", "textarea":
				default:
					t.Errorf("%s has the type %q", part.ID, part.Type)
				}
				if part.ID == "" || part.Attributes.Label == "" || ids[part.ID] {
					t.Errorf("a part lacks a label or an id of its own: %+v", part)
				}
				ids[part.ID] = true
				questions++
			}
			if questions == 0 {
				t.Error("the form has no questions")
			}
		})
	}
}

// GitHub shows these files only at certain places, and only with these names.
func TestGitHubFindsTheFilesForContributors(t *testing.T) {
	for _, name := range []string{
		"CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", "SECURITY.md", "SUPPORT.md", ".github/CODEOWNERS", ".github/PULL_REQUEST_TEMPLATE.md",
		".github/ISSUE_TEMPLATE/config.yml",
	} {
		if strings.TrimSpace(read(t, name)) == "" {
			t.Errorf("%s is empty", name)
		}
	}
	if !regexp.MustCompile(`(?m)^\* @\S`).MatchString(read(t, ".github", "CODEOWNERS")) {
		t.Error(".github/CODEOWNERS has no owner for all files")
	}
}
