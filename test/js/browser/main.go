// Command browser runs browser.test.js: the page of examples/web in a real browser, on a real Kubernetes with a node. It makes the images, starts
// node, emulator and operator, says in the environment where they are, and ends with the exit code of the tests. See make browser-test.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
	"github.com/reactor-operator/reactor-operator/test/infra/node"
	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

const (
	module = "github.com/reactor-operator/reactor-operator"
	tests  = "test/js/browser"

	// patience is how long a program of ours may take to serve.
	patience = 30 * time.Second
	glance   = 100 * time.Millisecond
)

// images are the names under which browser.test.js has its pods find them.
var images = map[string]string{"localhost/reactor-token-server:test": "cmd/token-server", "localhost/web:test": "examples/web/server"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "browser test:", err)
		os.Exit(1)
	}
}

// run starts everything, runs the tests, and stops everything.
func run(ctx context.Context) (err error) {
	started := time.Now()
	cluster, err := node.Start(ctx, node.Options{
		ControlPlane: controlplane.Options{CRDPaths: []string{"config/crd/bases"}},
		// A renewed Secret is in its pods soon, so that this test waits only a short time.
		SyncFrequency: time.Second,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	folder := filepath.Join(cluster.Dir, "browser")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	for image, program := range images {
		archive := filepath.Join(folder, filepath.Base(program)+".tar")
		if err := errors.Join(node.BuildImage(ctx, image, module+"/"+program, archive), cluster.Import(ctx, archive)); err != nil {
			return err
		}
	}
	reactor, api, err := startReactor(ctx, folder)
	if err != nil {
		return err
	}
	defer reactor.Stop()
	kubeconfig := cluster.ControlPlane.KubeconfigPath()
	operator, err := startOperator(ctx, folder, kubeconfig, api)
	if err != nil {
		return err
	}
	defer operator.Stop()
	fmt.Printf("cluster, images, emulator and operator: %s\n", time.Since(started).Round(100*time.Millisecond))

	cmd := exec.CommandContext(ctx, "npm", "--prefix", tests, "test")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "KUBECTL="+filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), "REACTOR_API_URL="+api)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\nthe end of the operator's log:\n%s", err, operator.Tail(30))
	}
	return nil
}

// startReactor starts the emulator that carries media, where pods and browsers reach it.
func startReactor(ctx context.Context, folder string) (reactor *process.Process, api string, err error) {
	reactor, err = process.Start("the emulator", filepath.Join(folder, "reactor.log"), os.Environ(), "bin/reactor-emulator-media",
		"--listen="+net.JoinHostPort(node.HostAddress, "0"), "--session-starts-per-minute=0")
	if err != nil {
		return nil, "", err
	}
	err = await(ctx, reactor, func() bool {
		address := reactor.ListeningAddress()
		api = "http://" + address
		return address != ""
	})
	return reactor, api, err
}

// startOperator starts the operator, and waits until it is ready.
func startOperator(ctx context.Context, folder, kubeconfig, api string) (*process.Process, error) {
	probes, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	operator, err := process.Start("the operator", filepath.Join(folder, "operator.log"), append(os.Environ(), "KUBECONFIG="+kubeconfig), "bin/manager",
		"--api-url="+api, "--leader-elect=false", "--metrics-bind-address=0", "--health-probe-bind-address="+probes)
	if err != nil {
		return nil, err
	}
	return operator, await(ctx, operator, func() bool {
		response, err := http.Get("http://" + probes + "/readyz")
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	})
}

// await waits until a program serves, or has ended.
func await(ctx context.Context, p *process.Process, serves func() bool) error {
	err := wait.PollUntilContextTimeout(ctx, glance, patience, true, func(context.Context) (bool, error) { return serves(), p.Failure() })
	if err != nil {
		p.Stop()
		return fmt.Errorf("waiting for %s to serve: %w\n%s", p.Name, err, p.Tail(5))
	}
	return nil
}
