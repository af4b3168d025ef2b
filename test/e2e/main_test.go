// Package e2e holds the tests that need pods: what only a kubelet shows of the operator. They run on a node of this machine, which
// make e2e starts; without it they are skipped.
//
// A test makes a world (newWorld): a namespace, a Reactor of its own, and an operator that works in that namespace alone, as a
// process of this machine under its service account and the permissions of config/watched-namespace. It can stop the operator
// and start it again, run pods, and read what they print.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
	"github.com/reactor-operator/reactor-operator/test/infra/helm"
	"github.com/reactor-operator/reactor-operator/test/infra/node"
	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

const (
	repository = "../.."
	module     = "github.com/reactor-operator/reactor-operator"

	// managerImage runs the operator.
	managerImage = "localhost/reactor-operator:test"
	// probeImage runs the program in probe/.
	probeImage = "localhost/probe:test"
	// workerImage runs examples/session-worker.
	workerImage = "localhost/session-worker:test"

	// atOnce is how many tests run at the same time unless -parallel says otherwise: they wait more than they compute.
	atOnce = "8"
)

// syncFrequency is that of the kubelet. Its default is the kubelet's own, so that the times which the tests print are those of most clusters.
var syncFrequency = flag.Duration("sync-frequency", time.Minute, "how often kubelet looks at a pod to which nothing has happened")

// cluster is what the tests share.
var cluster struct {
	*node.Node
	kube      client.WithWatch     // may do everything, and reads from no cache
	clientset kubernetes.Interface // for logs
	manager   string               // the operator's program
	helm      string               // Helm's
	folder    string               // for what tests write
	account   string               // kubeconfig of the operator's service account
}

func TestMain(m *testing.M) {
	if os.Getenv("E2E") == "" {
		fmt.Println("skipped: make e2e runs these tests")
		return
	}
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run runs the tests on a node, and fails if that leaves something on this machine.
func run(m *testing.M) (code int, err error) {
	log.SetLogger(logr.Discard())
	before, err := node.TakeInventory()
	if err != nil {
		return 1, err
	}
	code, err = runOnNode(context.Background(), m)
	if err != nil {
		return 1, err
	}
	after, err := node.TakeInventory()
	if err != nil {
		return 1, err
	}
	if come, gone := after.Since(before); len(come)+len(gone) > 0 {
		return 1, fmt.Errorf("the machine is not as it was before.\nNew: %q\nGone: %q", come, gone)
	}
	fmt.Printf("the machine is as it was before: %d mounts, links, routes, kernel settings and folders\n", len(before))
	return code, nil
}

func runOnNode(ctx context.Context, m *testing.M) (code int, err error) {
	started := time.Now()
	cluster.Node, err = node.Start(ctx, node.Options{
		ControlPlane:  controlplane.Options{CRDPaths: []string{repository + "/config/crd/bases"}},
		SyncFrequency: *syncFrequency,
	})
	if err != nil {
		return 1, err
	}
	fmt.Printf("the node was ready after %s\n", time.Since(started).Round(100*time.Millisecond))
	defer func() {
		stopped := time.Now()
		err = errors.Join(err, cluster.Stop())
		fmt.Printf("the node was stopped in %s\n", time.Since(stopped).Round(100*time.Millisecond))
	}()
	if err := errors.Join(build(ctx), connect(ctx)); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// build makes the programs of the tests, in a folder that goes with the node, also if that is killed.
func build(ctx context.Context) error {
	cluster.folder = filepath.Join(cluster.Dir, "e2e")
	if err := os.Mkdir(cluster.folder, 0o700); err != nil {
		return err
	}
	var err error
	if cluster.manager, err = process.BuildManager(ctx, cluster.folder); err != nil {
		return err
	}
	if cluster.helm, err = helm.Build(ctx, repository); err != nil {
		return err
	}
	for image, program := range map[string]string{
		managerImage: "cmd/manager", probeImage: "test/e2e/probe", workerImage: "examples/session-worker",
	} {
		archive := filepath.Join(cluster.folder, filepath.Base(program)+".tar")
		if err := errors.Join(node.BuildImage(ctx, image, module+"/"+program, archive), cluster.Import(ctx, archive)); err != nil {
			return err
		}
	}
	return nil
}

// connect makes the clients, and the service account of the operators.
func connect(ctx context.Context) error {
	var err error
	if cluster.kube, err = controlplane.NewClient(cluster.ControlPlane.Config); err != nil {
		return err
	}
	if cluster.clientset, err = kubernetes.NewForConfig(cluster.ControlPlane.Config); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"create", "namespace", systemNamespace},
		{"create", "serviceaccount", operatorName, "--namespace=" + systemNamespace},
	} {
		if _, err := cluster.ControlPlane.Kubectl(ctx, args...); err != nil {
			return err
		}
	}
	config, err := cluster.ControlPlane.ServiceAccountConfig(ctx, systemNamespace, operatorName)
	if err != nil {
		return err
	}
	cluster.account = filepath.Join(cluster.folder, "kubeconfig")
	return controlplane.WriteKubeconfig(cluster.account, config)
}
