package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	kinds        = "customresourcedefinitions.apiextensions.k8s.io"
	tokensKind   = "reactortokens.reactor.inc"
	sessionsKind = "reactorsessions.reactor.inc"
)

// There is no node here: what needs a pod is left out (--no-hooks) but where it is the question.
func TestTheKindsAreUpgradedWithTheChartAndOutliveIt(t *testing.T) {
	const namespace = "lifecycle"
	withoutKinds(t)
	ensureNamespace(t, namespace)

	mustHelm(t, "install", operatorName, olderChart(t), withImage, "--namespace", namespace)
	if got := shortNames(t); got != "former" {
		t.Fatalf("after the installation of the older chart, the short name of the kind is %q", got)
	}
	mustHelm(t, "upgrade", operatorName, chart, withImage, "--namespace", namespace)
	if got := shortNames(t); got != "rtok" {
		t.Errorf("after the upgrade, the short name of the kind is %q, so the kind is the old one", got)
	}
	mustHelm(t, "rollback", operatorName, "1", "--namespace", namespace)
	if got := shortNames(t); got != "former" {
		t.Errorf("after the rollback, the short name of the kind is %q, so the kind is the new one", got)
	}

	// The way back of docs/upgrading.md, which keeps the newer kinds, and on from there.
	mustHelm(t, "upgrade", operatorName, chart, withImage, "--namespace", namespace)
	mustHelm(t, "upgrade", operatorName, olderChart(t), withImage, "--namespace", namespace, "--reset-then-reuse-values", "--set", "crds.install=false")
	if got := shortNames(t); got != "rtok" {
		t.Errorf("after the way back that keeps the kinds, the short name of the kind is %q, so the kind is the old one", got)
	}
	mustHelm(t, "upgrade", operatorName, chart, withImage, "--namespace", namespace, "--reset-then-reuse-values", "--set", "crds.install=true")

	kubectl(t, tokenOf(namespace), "apply", "--server-side", "--filename=-")
	mustHelm(t, "uninstall", operatorName, "--namespace", namespace, "--no-hooks")
	kubectl(t, "", "get", kinds, tokensKind, sessionsKind)
	kubectl(t, "", "get", "reactortoken", "web", "--namespace", namespace)
	if left := kubectl(t, "", "get", "all,serviceaccounts,roles,rolebindings", "--namespace", namespace, "--selector=app.kubernetes.io/name=reactor-operator", "--output=name", "--ignore-not-found"); left != "" {
		t.Errorf("the uninstallation leaves %s", left)
	}

	mustHelm(t, "install", operatorName, chart, withImage, "--namespace", namespace)
	mustHelm(t, "upgrade", operatorName, chart, withImage, "--namespace", namespace, "--set", "controllers.sessions=false", "--no-hooks")
	kubectl(t, "", "get", kinds, sessionsKind)
	mustHelm(t, "upgrade", operatorName, chart, withImage, "--namespace", namespace, "--set", "crds.keep=false")
	mustHelm(t, "uninstall", operatorName, "--namespace", namespace, "--no-hooks")
	kubectl(t, "", "wait", "--for=delete", kinds, tokensKind, sessionsKind)
}

// So README.md says. The kinds that kubectl has installed are older than those of the chart.
func TestTheChartTakesOverTheKindsThatKubectlHasInstalled(t *testing.T) {
	const namespace = "takeover"
	withoutKinds(t)
	ensureNamespace(t, namespace)
	for _, name := range []string{"reactor.inc_reactortokens.yaml", "reactor.inc_reactorsessions.yaml"} {
		kubectl(t, "", "apply", "--filename", filepath.Join(olderChart(t), "files", "crds", name))
	}
	args := []string{"install", operatorName, chart, withImage, "--namespace", namespace}
	if _, stderr, ok := run(t, "", shared.helm, args...); ok || !strings.Contains(stderr, "cannot be imported into the current release") {
		t.Fatalf("Helm takes over what is not its own unasked, or says: %s", stderr)
	}
	mustHelm(t, append(args, "--take-ownership", "--force-conflicts")...)
	if got := shortNames(t); got != "rtok" {
		t.Errorf("the short name of the kind is %q, so the kind is the old one", got)
	}
	mustHelm(t, "uninstall", operatorName, "--namespace", namespace, "--no-hooks")
}

// What is said in README.md of a drain that cannot run.
func TestAfterADrainThatCannotRunNothingIsDeletedAndTheReleaseCanBeKeptOrUninstalled(t *testing.T) {
	const namespace = "undrained"
	withoutKinds(t)
	ensureNamespace(t, namespace)
	mustHelm(t, "install", operatorName, chart, withImage, "--namespace", namespace)
	_, stderr, ok := run(t, "", shared.helm, "uninstall", operatorName, "--namespace", namespace, "--timeout=1s")
	if ok || !strings.Contains(stderr, operatorName+"-drain not ready") {
		t.Fatalf("nothing can run the drain, and Helm says: %s", stderr)
	}
	kubectl(t, "", "get", "deployment", operatorName, "--namespace", namespace)
	mustHelm(t, "rollback", operatorName, "1", "--namespace", namespace)
	mustHelm(t, "upgrade", operatorName, chart, withImage, "--namespace", namespace)
	kubectl(t, "", "get", "deployment", operatorName, "--namespace", namespace)
	mustHelm(t, "uninstall", operatorName, "--namespace", namespace, "--no-hooks")
}

// The scenario: sessions run, and an upgrade says controllers.sessions=false. If the rights went first, nobody could end the sessions, and
// the finalizers on their pods would stay.
func TestAnUpgradeThatTakesTheSessionsAwayDrainsThemFirst(t *testing.T) {
	const namespace, sessionsRole = "switched", operatorName + "-sessions"
	withoutKinds(t)
	ensureNamespace(t, namespace)
	upgrade := []string{"upgrade", operatorName, chart, withImage, "--namespace", namespace, "--set", "controllers.sessions=false"}
	mustHelm(t, "install", operatorName, chart, withImage, "--namespace", namespace)

	_, stderr, ok := run(t, "", shared.helm, append(upgrade, "--timeout=1s")...)
	if ok || !strings.Contains(stderr, operatorName+"-drain not ready") {
		t.Fatalf("nothing can run the drain, and Helm says: %s", stderr)
	}
	kubectl(t, "", "get", "clusterrole,clusterrolebinding", sessionsRole)
	if args := kubectl(t, "", "get", "deployment", operatorName, "--namespace", namespace, "--output=jsonpath={.spec.template.spec.containers[0].args}"); !strings.Contains(args, "--controllers=tokens,sessions") {
		t.Errorf("the operator is told something else before the drain: %s", args)
	}
	if args := kubectl(t, "", "get", "job", operatorName+"-drain", "--namespace", namespace, "--output=jsonpath={.spec.template.spec.containers[0].args}"); !strings.Contains(args, `"drain"`) {
		t.Errorf("the Job runs %s", args)
	}

	// The drain is finished by hand, as no node runs it.
	kubectl(t, "", "delete", "job", operatorName+"-drain", "--namespace", namespace, "--cascade=foreground")
	upgraded := make(chan string)
	go func() {
		_, stderr, _ := run(t, "", shared.helm, append(upgrade, "--timeout=1m")...)
		upgraded <- stderr
	}()
	pod := ""
	for pod == "" { // until the Job has its pod; the test's own deadline ends this
		pod = kubectl(t, "", "get", "pods", "--namespace", namespace, "--selector=batch.kubernetes.io/job-name="+operatorName+"-drain", "--output=jsonpath={.items[*].metadata.name}")
	}
	kubectl(t, "", "get", "clusterrole,clusterrolebinding", sessionsRole)
	kubectl(t, "", "patch", "pod", pod, "--namespace", namespace, "--subresource=status", "--type=merge", `--patch={"status": {"phase": "Succeeded"}}`)
	if stderr := <-upgraded; stderr != "" {
		t.Fatalf("after the drain, Helm says: %s", stderr)
	}
	if left := kubectl(t, "", "get", "clusterrole,clusterrolebinding", "--selector=app.kubernetes.io/name=reactor-operator", "--output=name"); strings.Contains(left, sessionsRole) {
		t.Errorf("the rights on sessions are still there: %s", left)
	}
	mustHelm(t, append(upgrade, "--timeout=1s")...) // there is nothing to drain any more, and nothing waits for it
	mustHelm(t, "uninstall", operatorName, "--namespace", namespace)
}

// withoutKinds removes what another test has left, which Helm would not take over.
func withoutKinds(t *testing.T) {
	t.Helper()
	kubectl(t, "", "delete", kinds, tokensKind, sessionsKind, "--ignore-not-found")
}

// olderChart returns a chart whose kind of tokens has another short name.
func olderChart(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "files", "crds", "reactor.inc_reactortokens.yaml")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	older := strings.Replace(string(content), "- rtok\n", "- former\n", 1)
	if err := os.WriteFile(path, []byte(older), 0o644); err != nil {
		t.Fatal(err)
	}
	return folder
}

func shortNames(t *testing.T) string {
	t.Helper()
	return kubectl(t, "", "get", kinds, tokensKind, "--output=jsonpath={.spec.names.shortNames[*]}")
}

func tokenOf(namespace string) string {
	return `{"apiVersion": "reactor.inc/v1alpha1", "kind": "ReactorToken", "metadata": {"name": "web", "namespace": "` + namespace + `"},
		"spec": {"apiKeySecretRef": {"name": "reactor-api-key"}}}`
}
