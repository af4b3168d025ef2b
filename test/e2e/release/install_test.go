package release

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	// demoKey is the only key that the emulator accepts. It is public.
	demoKey = "rk_demo-key-of-the-emulator"
	token   = `
apiVersion: v1
kind: Secret
metadata: {name: reactor-api-key, namespace: default}
stringData: {api-key: ` + demoKey + `}
---
apiVersion: reactor.inc/v1alpha1
kind: ReactorToken
metadata: {name: web, namespace: default}
spec:
  apiKeySecretRef: {name: reactor-api-key}
`
)

// apply applies a file of the release, and removes what it installed after the test.
func apply(t *testing.T, name string) {
	t.Helper()
	path := filepath.Join(shared.folder, name)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(state(t))
		}
		kubectl(t, "delete", "--ignore-not-found", "--timeout=2m", "--filename="+path)
	})
	kubectl(t, "apply", "--filename="+path)
}

// createToken creates a token in the namespace default. It is gone before the operator is.
func createToken(t *testing.T) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token.yaml")
	if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kubectl(t, "delete", "--ignore-not-found", "--timeout=2m", "--filename="+path) })
	kubectl(t, "apply", "--filename="+path)
}

// available waits until a Deployment has all its pods, which run the images of the release.
func available(t *testing.T, namespace, name string) {
	t.Helper()
	kubectl(t, "rollout", "status", "--namespace="+namespace, "deployment/"+name, "--timeout="+patience.String())
}

// The node reaches no Reactor, and the operator reports that: then the CRDs, the permissions, the image and the operator's connections work.
func TestInstallYAMLInstallsAnOperatorThatWorks(t *testing.T) {
	apply(t, "install.yaml")
	available(t, systemNamespace, operatorName)
	createToken(t)
	eventually(t, "a token that reports that Reactor is unavailable", func(ctx context.Context) error {
		reason, err := tryKubectl(ctx, "get", "--namespace=default", "reactortoken/web", "--output=jsonpath={.status.conditions[?(@.type=='Ready')].reason}")
		if err == nil && reason != "ReactorUnavailable" {
			err = fmt.Errorf("the reason is %q", reason)
		}
		return err
	})
}

var tokenLine = regexp.MustCompile(`(?m)^\S+ token ("[^"]+") expires `)

func TestTryYAMLShowsARenewedTokenInARunningPod(t *testing.T) {
	apply(t, "try.yaml")
	available(t, systemNamespace, operatorName)
	available(t, systemNamespace, operatorName+"-emulator")
	available(t, trialNamespace, "viewer")
	eventually(t, "a renewed token in the pod", func(ctx context.Context) error {
		log, err := tryKubectl(ctx, "logs", "--namespace="+trialNamespace, "deployment/viewer")
		if err != nil {
			return err
		}
		ids := map[string]bool{}
		for _, found := range tokenLine.FindAllStringSubmatch(log, -1) {
			ids[found[1]] = true
		}
		if len(ids) < 2 {
			return fmt.Errorf("the pod shows %d tokens:\n%s", len(ids), log)
		}
		return nil
	})
	t.Logf("the pod shows\n%s", kubectl(t, "logs", "--namespace="+trialNamespace, "deployment/viewer"))
}

func TestTheChartInstallsAnOperatorThatWorks(t *testing.T) {
	charts := glob(t, operatorName+"-*.tgz")
	if len(charts) != 1 {
		t.Fatalf("the charts are %q", charts)
	}
	t.Cleanup(func() {
		kubectl(t, "delete", "--ignore-not-found", "crd", "reactortokens.reactor.inc", "reactorsessions.reactor.inc")
	})
	t.Cleanup(func() { runHelm(t, "uninstall", operatorName, "--ignore-not-found", "--wait", "--timeout=3m") })
	runHelm(t, "install", operatorName, filepath.Join(shared.folder, charts[0]), "--create-namespace", "--wait", "--timeout=3m",
		"--set=developmentEmulator.enabled=true")
	createToken(t)
	kubectl(t, "wait", "--namespace=default", "--for=condition=Ready", "reactortoken/web", "--timeout="+patience.String())
}

func runHelm(t *testing.T, args ...string) {
	t.Helper()
	command := exec.CommandContext(context.WithoutCancel(t.Context()), shared.helm, append(args, "--namespace="+systemNamespace)...)
	command.Env = append(os.Environ(), "KUBECONFIG="+shared.ControlPlane.KubeconfigPath(), "HOME="+t.TempDir())
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("helm %s: %v\n%s\n%s", strings.Join(args, " "), err, output, state(t))
	}
}
