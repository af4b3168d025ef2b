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
	code, err := runWithControlPlane(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runWithControlPlane(m *testing.M) (code int, err error) {
	binaries := os.Getenv("KUBEBUILDER_ASSETS")
	if binaries == "" {
		return 1, errors.New("these tests need a Kubernetes control plane, and KUBEBUILDER_ASSETS does not name the folder of its binaries: run make test, which builds them and sets it")
	}
	folder, err := os.MkdirTemp("", "reactor-operator-integration-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	env := &envtest.Environment{CRDDirectoryPaths: []string{crds}, ErrorIfCRDPathMissing: true}
	if plane.config, err = env.Start(); err != nil {
		return 1, fmt.Errorf("start the control plane: %w", err)
	}
	defer func() { err = errors.Join(err, env.Stop()) }()
	plane.kubectl = filepath.Join(binaries, "kubectl")
	plane.kubeconfig = filepath.Join(folder, "kubeconfig")
	if err := os.WriteFile(plane.kubeconfig, env.KubeConfig, 0o600); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
