package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/docs"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// tried is how a command block of README.md is tested: exactly one of its fields says so.
type tried struct {
	// here runs it in an interactive shell, whose context is the control plane and a namespace with an operator. The API key is typed if the
	// commands read one.
	here func(w *world)
	// onNode is the folder whose tests run it on a node.
	onNode string
	// step is the step of .ci/run that runs it.
	step string
}

// readmeCommands are the command blocks of README.md, by their first lines.
var readmeCommands = map[string]tried{
	"make try":      {onNode: "test/e2e/deploy"},
	"make try-down": {onNode: "test/e2e/deploy"},
	"make demo":     {step: "demo"},
	"make test":     {step: "test"},
	"make deploy":   {onNode: "test/e2e/deploy"},
	"printf 'API key: ' && read -rs KEY && echo &&": {here: func(w *world) {
		if got := string(w.secret(keySecret).Data["api-key"]); got != w.key {
			w.t.Error("the Secret does not hold the key that was typed")
		}
	}},
	"kubectl apply -f - <<EOF": {here: func(w *world) {
		if got := w.secret("web").Data["jwt"]; len(got) == 0 {
			w.t.Error("the Secret holds no token")
		}
		if w.mints() != 1 {
			w.t.Errorf("%d tokens were minted", w.mints())
		}
	}},
}

// The blocks are tried in their order, as a reader would. Manifests are applied with a dry run.
func TestWhatTheReadmeShowsWorks(t *testing.T) {
	readme, err := docs.Read(repository + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	if err := w.kube.Delete(t.Context(), w.secret(keySecret)); err != nil { // the reader stores the key
		t.Fatal(err)
	}
	w.start()
	shown := map[string]bool{}
	for _, block := range readme.Blocks {
		switch block.Language {
		case "sh":
			first, _, _ := strings.Cut(block.Code, "\n")
			shown[first] = true
			t.Run(first, func(t *testing.T) { w.with(t).try(block.Code, readmeCommands[first]) })
		case "yaml":
			t.Run(block.Code, func(t *testing.T) { w.with(t).dryRun(block.Code) })
		case "mermaid": // a picture
		default:
			t.Errorf("nothing says how this block is tested:\n%s", block.Code)
		}
	}
	for first := range readmeCommands {
		if !shown[first] {
			t.Errorf("README.md shows no block that begins with %q", first)
		}
	}
}

// with is the world for a part of a test.
func (w *world) with(t *testing.T) *world {
	part := *w
	part.t = t
	return &part
}

// try runs a block here, or checks that another test does.
func (w *world) try(commands string, how tried) {
	w.t.Helper()
	switch {
	case how.here != nil:
		w.typeIn(commands)
		how.here(w)
	case how.onNode != "":
		w.mustHave("its test", repository+"/"+how.onNode+"/*_test.go", `.mustMake("`+w.target(commands)+`"`)
	case how.step != "":
		w.target(commands)
		w.mustHave("the step of .ci/run", repository+"/.ci/run", " "+how.step+" ")
	default:
		w.t.Errorf("readmeCommands does not say how this block is tested:\n%s", commands)
	}
}

// mustHave looks for a text in files.
func (w *world) mustHave(what, pattern, text string) {
	w.t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.Contains(string(content), text) {
			return
		}
	}
	w.t.Errorf("%s does not exist: no %s has %q", what, pattern, text)
}

// target returns what a block gives to make. The block must have this call alone, and the target must exist.
func (w *world) target(commands string) string {
	w.t.Helper()
	target, ok := strings.CutPrefix(strings.TrimSpace(commands), "make ")
	if !ok || !regexp.MustCompile(`^[a-z-]+$`).MatchString(target) {
		w.t.Fatalf("it is no call of make alone:\n%s", commands)
	}
	w.mustHave("the target of make", repository+"/Makefile", "\n"+target+": ")
	return target
}

// dryRun has the API server check a manifest.
func (w *world) dryRun(manifest string) {
	w.t.Helper()
	expect.Eventually(w.t, "the service account of the namespace, without which no pod is admitted", func() error {
		if _, stderr, ok := kubectl(w.t, "", "--namespace="+w.namespace, "get", "serviceaccount", "default"); !ok {
			return fmt.Errorf("kubectl: %s", stderr)
		}
		return nil
	})
	_, stderr, ok := kubectl(w.t, manifest, "--namespace="+w.namespace, "apply", "--server-side", "--dry-run=server", "--filename=-")
	if !ok || stderr != "" {
		w.t.Errorf("kubectl said: %s", stderr)
	}
}

// typeIn types commands into an interactive shell, and the API key after them. The key must reach neither the screen, nor the shell's
// history, nor the arguments of kubectl.
func (w *world) typeIn(commands string) {
	w.t.Helper()
	folder := w.t.TempDir()
	kubeconfig, arguments, history := folder+"/kubeconfig", folder+"/arguments", folder+"/history"
	config, err := os.ReadFile(plane.kubeconfig)
	if err != nil {
		w.t.Fatal(err)
	}
	kubectl := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$*\" >>'%s'\nexec '%s' \"$@\"\n", arguments, plane.kubectl)
	for path, content := range map[string]string{kubeconfig: string(config), folder + "/kubectl": kubectl} {
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			w.t.Fatal(err)
		}
	}
	mustKubectl(w.t, "--kubeconfig="+kubeconfig, "config", "set-context", "--current", "--namespace="+w.namespace)

	// exit tells how the last command ended.
	typed := strings.TrimSuffix(commands, "\n") + "\n"
	if strings.Contains(commands, "read ") {
		typed += w.key + "\n"
	}
	shell := exec.CommandContext(w.t.Context(), "bash", "--norc", "-i")
	shell.Dir = repository
	shell.Env = append(os.Environ(), "PATH="+folder+":"+os.Getenv("PATH"), "KUBECONFIG="+kubeconfig, "HISTFILE="+history, "PS1=", "HOME="+folder)
	shell.Stdin = strings.NewReader(typed + "exit $?\n")
	screen, err := shell.CombinedOutput()
	if err != nil {
		w.t.Fatalf("%v\n%s", err, screen)
	}
	for place, text := range map[string]string{"the screen": string(screen), "the shell's history": w.read(history), "kubectl's arguments": w.read(arguments)} {
		if strings.Contains(text, w.key) {
			w.t.Errorf("the key is in %s", place)
		}
		if text == "" {
			w.t.Errorf("nothing is in %s", place)
		}
	}
}

func (w *world) read(file string) string {
	w.t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(content)
}

// The command that the documentation shows for a rotation.
func TestTheCommandThatRotatesAKeyWorks(t *testing.T) {
	page, err := docs.Read(repository + "/docs/reactortoken.md")
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(page.Blocks, func(block docs.Block) bool { return strings.HasPrefix(block.Code, "printf 'New API key: '") })
	if at < 0 {
		t.Fatal("the page shows no such command")
	}
	w := newWorld(t)
	w.start()
	w.create("web")
	before := w.waitUntilReady("web")
	w.key = newKey()
	w.reactor.AddKey(w.key)
	w.typeIn(page.Blocks[at].Code)
	w.waitForAnother("web", before.Annotations[v1alpha1.TokenIDAnnotation])
	if got := w.token("web").Status.LastFailure; got != nil {
		t.Errorf("an attempt failed: %s", got.Reason)
	}
}
