// Package integration holds the tests that need a real API server: what the rules of the CRD refuse and say, what an apply
// changes, and how the operator behaves over watches, restarts and refused writes.
package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/reactor-operator/reactor-operator/internal/logging"
	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
)

const (
	// repository is the root of the repository, seen from this package.
	repository = "../.."
	// crds is the folder of the generated CRDs.
	crds = repository + "/config/crd/bases"
)

// plane is the control plane that the tests of this package share. Each test works in namespaces of its own.
var plane struct {
	*controlplane.ControlPlane
	config     *rest.Config
	kubeconfig string
	kubectl    string
}

// atOnce is how many tests run at the same time unless -parallel says otherwise: they wait more than they compute.
const atOnce = "8"

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	code, err := runWithControlPlane(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runWithControlPlane(m *testing.M) (code int, err error) {
	logging.Install(logging.NewHandler(heard.listen("log of the tests' own process"), logging.LevelDebug, logging.FormatJSON))
	folder, err := os.MkdirTemp("", "reactor-operator-integration-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if err := buildManager(folder); err != nil {
		return 1, err
	}
	plane.ControlPlane, err = controlplane.Start(context.Background(), controlplane.Options{CRDPaths: []string{crds}})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	plane.config, plane.kubeconfig = plane.Config, plane.KubeconfigPath()
	plane.kubectl = plane.BinDir + "/kubectl"
	code = m.Run()
	if code == 0 && flag.Lookup("test.run").Value.String() == "" {
		err = rights.check()
	}
	return code, errors.Join(err, searchForLeaks())
}

// searchForLeaks fails the run when anything that the operators said holds a key or a token.
func searchForLeaks() error {
	kube, err := adminOnce()
	if err != nil {
		return err
	}
	stands, err := standing(context.Background(), kube)
	if err != nil {
		return err
	}
	var found []error
	for _, finding := range append(heard.search(stands), heard.races()...) {
		found = append(found, errors.New(finding))
	}
	return errors.Join(found...)
}
