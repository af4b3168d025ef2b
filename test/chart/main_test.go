package chart

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
	"github.com/reactor-operator/reactor-operator/test/infra/helm"
)

const (
	// repository is the root of the repository, seen from this package.
	repository = "../.."
	// chart is the folder of the chart.
	chart = repository + "/charts/reactor-operator"
	// manifests is the folder of what kustomize builds.
	manifests = repository + "/config"
	// systemNamespace is where config/default installs the operator.
	systemNamespace = "reactor-operator-system"
	// operatorName is the name of its objects, and of the release here.
	operatorName = "reactor-operator"
	// withImage names an image, as each installation of the chart of a checkout must.
	withImage = "--set=image.tag=latest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// shared is what the tests of this package share.
var shared struct {
	*controlplane.ControlPlane
	helm string
}

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := runWithControlPlane(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runWithControlPlane(m *testing.M) (code int, err error) {
	if shared.helm, err = helm.Build(context.Background(), repository); err != nil {
		return 1, err
	}
	// The kinds come with the chart, but for those of the Prometheus Operator.
	shared.ControlPlane, err = controlplane.Start(context.Background(), controlplane.Options{CRDPaths: []string{"testdata/monitoring_crds.yaml"}})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, shared.Stop()) }()
	return m.Run(), nil
}

// run runs a program on the cluster of the tests, and returns what it printed and whether it succeeded.
func run(t *testing.T, stdin, program string, args ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	home := t.TempDir()
	var out, errs bytes.Buffer
	command := exec.CommandContext(t.Context(), program, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+shared.KubeconfigPath(), "KUBECACHEDIR="+home, "HOME="+home, "HELM_CACHE_HOME="+home)
	command.Stdin = strings.NewReader(stdin)
	command.Stdout, command.Stderr = &out, &errs
	err := command.Run()
	if err != nil && errs.Len() == 0 {
		t.Fatalf("run %s %s: %v", program, strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), err == nil
}

func mustHelm(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, ok := run(t, "", shared.helm, args...)
	if !ok {
		t.Fatalf("helm %s: %s", strings.Join(args, " "), stderr)
	}
	return stdout
}

func kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	stdout, stderr, ok := run(t, stdin, filepath.Join(shared.BinDir, "kubectl"), args...)
	if !ok || stderr != "" {
		t.Fatalf("kubectl %s: %s", strings.Join(args, " "), stderr)
	}
	return stdout
}
