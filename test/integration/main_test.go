// Package integration holds the tests that need a real API server: what the rules of the CRD refuse and say, what an apply
// changes, and how the operator behaves over watches, restarts and refused writes.
package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	// repository is the root of the repository, seen from this package.
	repository = "../.."
	// crds is the folder of the generated CRDs.
	crds = repository + "/config/crd/bases"
)

// plane is the control plane that the tests of this package share. Each test works in namespaces of its own.
var plane struct {
	config     *rest.Config
	kubeconfig string
	kubectl    string
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	binaries := os.Getenv("KUBEBUILDER_ASSETS")
	if binaries == "" {
		fmt.Fprintln(os.Stderr, "these tests need a Kubernetes control plane, and KUBEBUILDER_ASSETS does not name the folder of its binaries: run make test, which builds them and sets it")
		return 1
	}
	env := &envtest.Environment{CRDDirectoryPaths: []string{crds}, ErrorIfCRDPathMissing: true}
	config, err := env.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the control plane:", err)
		return 1
	}
	code := 1
	defer func() {
		if err := env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the control plane:", err)
		}
	}()
	directory, err := os.MkdirTemp("", "reactor-operator-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { err = errors.Join(err, os.RemoveAll(directory)) }()
	plane.config = config
	plane.kubectl = filepath.Join(binaries, "kubectl")
	plane.kubeconfig = filepath.Join(directory, "kubeconfig")
	if err := os.WriteFile(plane.kubeconfig, env.KubeConfig, 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code = m.Run()
	return code
}
