// Package node starts and stops a real Kubernetes cluster of one node for tests: the control plane of test/infra/controlplane, and in addition to
// it containerd and kubelet, so that pods run. It needs Linux, root and some programs; Supported returns what is missing.
//
// The node lives in mount, network and process namespaces of its own, with its own /run, /var/lib and /var/log. Its one way out is
// a link to the machine: pods reach what listens on HostAddress, each other and Services, and nothing else; the machine reaches
// pods at their addresses. What kubelet changes on the machine is put back: cgroups, kernel settings, the link. A shell does that
// even when the process that started the node is killed.
//
// Services and their names work in pods as in other clusters, as far as trials and tests need it: TCP to a cluster IP, and A records in
// cluster.local. The process that started the node serves both (services.go, dns.go).
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

const (
	// HostAddress is where the node and its pods reach programs of this machine. The networks of this package are of the range that
	// RFC 2544 sets aside for tests, which no other network has.
	HostAddress = "198.18.0.1"
	nodeAddress = "198.18.0.2"
	podNetwork  = "198.19.0.0/24"

	// Name is that of the Node object.
	Name = "node1"

	// mark is the name of all that is the node's on the machine: its folder, its cgroups, and its link.
	mark   = "reactor-node"
	folder = "/var/cache/" + mark
	data   = folder + "/data"

	cgroups = "/sys/fs/cgroup"
	socket  = "/run/containerd/containerd.sock"
)

// startTimeout is for each step of the start; the whole of it takes ten seconds on an idle machine.
const startTimeout = 90 * time.Second

// Options say what to start.
type Options struct {
	// BinDir is the folder of the node's binaries. Empty: what NODE_ASSETS names.
	BinDir string
	// ControlPlane are the options of the control plane. Its address, scheduler and folder are the node's to say.
	ControlPlane controlplane.Options
	// Images are archives to import, as BuildImage makes them.
	Images []string
	// SyncFrequency is how often kubelet checks a pod without changes, and so bounds how soon a changed Secret reaches
	// its files. 0: a minute, as in most clusters.
	SyncFrequency time.Duration
	// Dir is where the logs stay after Stop. Empty: they go.
	Dir string
	// Log gets a line for each step of the start. Nil: there is no log.
	Log io.Writer
}

// Node is a running cluster of one node. Its methods may be called from several goroutines, but for Stop.
type Node struct {
	// ControlPlane is what the node belongs to.
	ControlPlane *controlplane.ControlPlane
	// Dir holds the log of each program, called after it.
	Dir string

	binDir  string
	log     io.Writer
	janitor *janitor
	inside  *namespaces
	network *serviceNetwork

	mu        sync.Mutex
	processes []*process.Process
	starts    map[string][][]string // the arguments of each start of each program, by name
}

// Start starts a control plane and a node, and returns once the node is ready for pods. One node at a time runs on a machine: it
// waits for another to be stopped. The context bounds the start, not the life of what is started: Stop ends it, and so does the end
// of this process, whichever way that comes.
func Start(ctx context.Context, options Options) (*Node, error) {
	if reason := Supported(); reason != "" {
		return nil, errors.New(reason)
	}
	n := &Node{binDir: cmp.Or(options.BinDir, os.Getenv("NODE_ASSETS")), log: cmp.Or(options.Log, io.Discard)}
	for _, name := range []string{"kubelet", "containerd", "containerd-shim-runc-v2", "ctr"} {
		if _, err := os.Stat(filepath.Join(n.binDir, name)); err != nil {
			return nil, fmt.Errorf("no binaries of a node: %w. Set NODE_ASSETS to the folder that `make node-binaries` prints", err)
		}
	}
	if err := n.start(ctx, options); err != nil {
		return nil, errors.Join(err, n.Stop())
	}
	return n, nil
}

func (n *Node) start(ctx context.Context, options Options) (err error) {
	if err := n.prepare(ctx, options); err != nil {
		return err
	}
	if n.inside, err = startNamespaces(ctx); err != nil {
		return err
	}
	if err := n.inside.connect(ctx); err != nil {
		return err
	}
	var both sync.WaitGroup
	var planeErr, runtimeErr error
	both.Go(func() { planeErr = n.startControlPlane(ctx, options.ControlPlane) })
	both.Go(func() { runtimeErr = n.startContainerd(ctx, options.Images) })
	both.Wait()
	if err := errors.Join(planeErr, runtimeErr); err != nil {
		return err
	}
	if err := n.markKubeconfig(); err != nil {
		return err
	}
	if n.network, err = startServiceNetwork(ctx, n.ControlPlane.Config, n.inside); err != nil {
		return err
	}
	return n.startKubelet(ctx)
}

// prepare waits for its turn, cleans up after a node that was not cleaned up, and makes the node's folders.
func (n *Node) prepare(ctx context.Context, options Options) error {
	turn, err := waitForTurn(ctx, n.log)
	if err != nil {
		return err
	}
	defer func() { _ = turn.Close() }() // the janitor has it too, until it has cleaned up
	if err := cleanUpAfterAnother(ctx, n.log); err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	if n.janitor, err = startJanitor(turn); err != nil {
		return errors.Join(err, os.RemoveAll(folder))
	}
	if err := rememberKernel(); err != nil {
		return err
	}
	h, err := readHierarchy(os.ReadFile)
	if err != nil {
		return err
	}
	if err := h.makeGroups(); err != nil {
		return err
	}
	if n.Dir, err = filepath.Abs(cmp.Or(options.Dir, filepath.Join(folder, "logs"))); err != nil {
		return err
	}
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		return err
	}
	return writeConfiguration(cmp.Or(options.SyncFrequency, time.Minute))
}

func (n *Node) startControlPlane(ctx context.Context, options controlplane.Options) error {
	options.Scheduler, options.Address, options.Dir = true, HostAddress, n.Dir
	var err error
	n.ControlPlane, err = controlplane.Start(ctx, options)
	if err == nil {
		fmt.Fprintf(n.log, "the control plane serves at %s\n", n.ControlPlane.Config.Host)
	}
	return err
}

func (n *Node) startContainerd(ctx context.Context, images []string) error {
	if err := n.run("containerd", "--config", filepath.Join(data, "containerd.toml")); err != nil {
		return err
	}
	if err := n.await(ctx, "containerd to answer", func(ctx context.Context) (bool, error) {
		return n.ctr(ctx, "version") == nil, nil
	}); err != nil {
		return err
	}
	pause := filepath.Join(data, "pause.tar")
	if err := BuildImage(ctx, pauseImage, pausePackage, pause); err != nil {
		return err
	}
	for _, archive := range append([]string{pause}, images...) {
		if err := n.Import(ctx, archive); err != nil {
			return err
		}
	}
	fmt.Fprintf(n.log, "containerd has %d images\n", len(images)+1)
	return nil
}

// Import gives the node an image from an archive, as BuildImage makes them. Pods find it under its name.
func (n *Node) Import(ctx context.Context, archive string) error {
	return n.ctr(ctx, "--namespace", "k8s.io", "images", "import", archive)
}

// ImportDigest does so with an archive of this repository of a registry, such as ghcr.io/acme/web. Pods find the image under its digest, too,
// as if it had been pulled.
func (n *Node) ImportDigest(ctx context.Context, archive, repository string) error {
	// Without --local, ctr 2.4 leaves out the digest of an image that has a tag.
	return n.ctr(ctx, "--namespace", "k8s.io", "images", "import", "--local", "--digests", "--base-name", repository, archive)
}

func (n *Node) startKubelet(ctx context.Context) error {
	config, err := n.ControlPlane.UserConfig("system:node:"+Name, "system:nodes")
	if err != nil {
		return err
	}
	path := filepath.Join(data, "kubelet.kubeconfig")
	if err := controlplane.WriteKubeconfig(path, config); err != nil {
		return err
	}
	if err := n.run("kubelet", "--config", filepath.Join(data, "kubelet.yaml"), "--kubeconfig", path,
		"--hostname-override", Name, "--node-ip", nodeAddress, "--cert-dir", filepath.Join(data, "kubelet")); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(n.ControlPlane.Config)
	if err != nil {
		return err
	}
	if err := n.await(ctx, "the node to be ready", func(ctx context.Context) (bool, error) {
		object, err := client.CoreV1().Nodes().Get(ctx, Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil && canRunPods(object), err
	}); err != nil {
		return err
	}
	fmt.Fprintln(n.log, "kubelet is ready for pods")
	return nil
}

// canRunPods reports whether pods are scheduled to the node: it is ready, and the node controller has observed that.
func canRunPods(object *corev1.Node) bool {
	ready := false
	for _, condition := range object.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			ready = condition.Status == corev1.ConditionTrue
		}
	}
	return ready && len(object.Spec.Taints) == 0
}

// await asks until the answer is yes, or an error, or a program has died, or the time is up.
func (n *Node) await(ctx context.Context, what string, done wait.ConditionWithContextFunc) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		if err := n.failures(); err != nil {
			return false, err
		}
		return done(ctx)
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", what, err)
	}
	return nil
}

// Healthy returns nil if all of it still works, and otherwise what has died, or what the control plane reports of itself.
func (n *Node) Healthy(ctx context.Context) error {
	return errors.Join(n.failures(), n.ControlPlane.Healthy(ctx))
}

func (n *Node) failures() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []error
	for _, p := range n.processes {
		if err := p.Failure(); err != nil {
			all = append(all, fmt.Errorf("%w\nthe end of its log:\n%s", err, p.Tail(15)))
		}
	}
	if n.network != nil {
		all = append(all, n.network.failure())
	}
	return errors.Join(all...)
}

// Stop ends all programs and pods, and puts the machine back into the state that it was in. Its error reports what had died before,
// and what could not be ended or removed.
func (n *Node) Stop() error {
	errs := []error{n.failures()}
	if n.network != nil {
		n.network.stop()
		n.network = nil
	}
	// kubelet first, since kube-apiserver waits for its connections to end; the link last, since with it goes the address on which
	// even this machine's own programs speak to kube-apiserver.
	if n.inside != nil {
		n.inside.killAll()
		for _, p := range n.processes {
			<-p.Ended()
		}
		n.processes = nil
	}
	if n.ControlPlane != nil {
		errs = append(errs, n.ControlPlane.Stop())
		n.ControlPlane = nil
	}
	if n.inside != nil {
		n.inside.end()
		n.inside = nil
	}
	if n.janitor != nil {
		errs = append(errs, n.janitor.cleanUp())
		n.janitor = nil
	}
	return errors.Join(errs...)
}
