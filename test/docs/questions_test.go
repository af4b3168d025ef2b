package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// Each question is a link of README.md that leads straight to the heading of its answer, and the answer names what the reader needs.
func TestTheReadmeLeadsToTheAnswers(t *testing.T) {
	readme, err := Read(filepath.Join(repository, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for question, want := range map[string][]string{
		"How do I rotate my key?":                  {"kubectl", "--mint-qps", "old key valid"},
		"Why is my token not Ready?":               {"kubectl describe reactortoken", "`APIKeyNotFound`", "`APIKeyRefused`", "`ReactorUnavailable`", "`RateLimited`"},
		"What happens while the operator is down?": {"expire", "a third", "sessions", "kubelet", "billed"},
		"Which permissions does it need?":          {"Secrets", "pods", "Events", "Lease", "`system:auth-delegator`"},
		"How do I remove it?":                      {"make undeploy", "make try-down", "helm uninstall", "kubectl delete -k config/default", "drain", "CRDs"},
	} {
		t.Run(question, func(t *testing.T) {
			answer := answerTo(t, readme, question)
			for _, word := range want {
				if !strings.Contains(answer, word) {
					t.Errorf("the answer does not name %q", word)
				}
			}
		})
	}
}

// A reader must learn within a minute what this is.
func TestTheReadmeIsShort(t *testing.T) {
	readme, err := Read(filepath.Join(repository, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("README.md has %d words", readme.Words)
	if readme.Words < 100 || readme.Words > 750 {
		t.Errorf("README.md has %d words, and may have 750", readme.Words)
	}
}

// Each reason that a ReactorToken can have while it is not Ready is in the answer.
func TestTheAnswerWhyATokenIsNotReadyHasAllReasons(t *testing.T) {
	readme, err := Read(filepath.Join(repository, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(repository, "api/v1alpha1/conditions.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(source), "// Reasons of the conditions Ready and Renewed.\n")
	declared, _, ok := strings.Cut(rest, "// Reasons of the condition LifetimeClamped.\n")
	if !ok {
		t.Fatal("conditions.go lacks the comments between which the reasons are")
	}
	answer := answerTo(t, readme, "Why is my token not Ready?")
	for _, reason := range regexp.MustCompile(`= "(\w+)"`).FindAllStringSubmatch(declared, -1) {
		isGood := reason[1] == v1alpha1.ReasonTokenValid || reason[1] == v1alpha1.ReasonIssued
		if !isGood && !strings.Contains(answer, "`"+reason[1]+"`") {
			t.Errorf("the answer lacks the reason %s", reason[1])
		}
	}
}

// answerTo follows the link with this text.
func answerTo(t *testing.T, readme *Page, question string) string {
	t.Helper()
	for _, link := range readme.Links {
		if link.Text != question {
			continue
		}
		file, anchor, _ := strings.Cut(link.Target, "#")
		page, err := Read(filepath.Join(repository, file))
		if err != nil {
			t.Fatal(err)
		}
		heading, ok := page.Section(anchor)
		if !ok {
			t.Fatalf("%s has no such heading", link.Target)
		}
		return heading.Body
	}
	t.Fatal("README.md has no such link")
	return ""
}
