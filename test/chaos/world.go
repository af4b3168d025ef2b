package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
	"github.com/reactor-operator/reactor-operator/test/infra/node"
	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

const (
	// operatorNamespace and operatorAccount are those of config/.
	operatorNamespace = "reactor-operator-system"
	operatorAccount   = "reactor-operator"

	managerBinary  = "bin/manager"
	emulatorBinary = "bin/reactor-emulator"

	namespace = "chaos" // of all that is made

	// keys is how many API keys there are. The operator admits five sessions with each by default.
	keys = 10

	workerImage = "localhost/session-worker:chaos"
	workerMain  = "github.com/reactor-operator/reactor-operator/examples/session-worker"
)

// world is all that runs.
type world struct {
	settings settings
	out      io.Writer
	logs     string // folder
	began    time.Time
	recorder *recorder

	circumstances chronicle

	node      *node.Node // nil where the machine runs none
	whyNoNode string
	plane     *controlplane.ControlPlane
	kube      client.WithWatch // the administrator's
	account   string           // the path of the operator's kubeconfig
	emulator  *process.Process
	reactor   controlEndpoint
	proxy     *proxy // between the operators and the emulator
	proxyURL  string
	proxyCA   string // path
	crew      *crew
	pods      *hostKubelet // nil with a node
	fleet     *fleet
	stop      context.CancelFunc // ends what runs in the background
	done      chan struct{}      // is closed when that has ended
}

func (w *world) say(format string, args ...any) {
	fmt.Fprintf(w.out, "%6.0f s  %s\n", time.Since(w.began).Seconds(), fmt.Sprintf(format, args...))
}

// build starts all of it, and returns once every token is Ready and the sessions run.
func (w *world) build(ctx context.Context) error {
	for _, file := range []string{managerBinary, emulatorBinary} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%w: run make chaos, in the folder of the repository", err)
		}
	}
	// Those of the last run with this seed go.
	w.logs = filepath.Join(w.settings.logs, fmt.Sprintf("seed-%d", w.settings.seed))
	if err := os.RemoveAll(w.logs); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{w.startCluster, w.connect, w.grant, w.startReactor, w.startProxy, w.makeKeys} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	w.crew = newCrew(w)
	w.startBackground(ctx)
	if err := w.crew.start(ctx); err != nil {
		return err
	}
	w.say("two operators run")
	if err := w.makeTokens(ctx); err != nil {
		return err
	}
	if _, err := w.awaitRecovery(ctx); err != nil {
		return err
	}
	w.say("%d ReactorTokens are Ready", w.settings.tokens)
	return w.fleet.awaitRunning(ctx)
}

// startCluster starts a control plane, with a node where the machine can run one.
func (w *world) startCluster(ctx context.Context) error {
	options := controlplane.Options{CRDPaths: []string{"config/crd/bases"}}
	var err error
	switch w.whyNoNode = node.Supported(); {
	case w.settings.noNode:
		w.whyNoNode = "--no-node"
	case w.whyNoNode == "" && os.Getenv("NODE_ASSETS") == "":
		w.whyNoNode = "NODE_ASSETS is not set"
	}
	if w.whyNoNode != "" {
		w.say("the programs of sessions run without a node: %s", w.whyNoNode)
		options.Dir = w.logs
		w.plane, err = controlplane.Start(ctx, options)
		return err
	}
	w.node, err = node.Start(ctx, node.Options{ControlPlane: options, SyncFrequency: 10 * time.Second, Dir: w.logs})
	if err != nil {
		return err
	}
	w.plane = w.node.ControlPlane
	w.say("a control plane and a node run")
	archive := w.file("session-worker.tar")
	return errors.Join(node.BuildImage(ctx, workerImage, workerMain, archive), w.node.Import(ctx, archive))
}

// file is one that goes with the control plane.
func (w *world) file(name string) string { return filepath.Join(w.plane.Dir, "data", name) }

func (w *world) connect(context.Context) (err error) {
	w.kube, err = controlplane.NewClient(w.plane.Config)
	return err
}

// grant makes the operator's service account, with the rights of config/.
func (w *world) grant(ctx context.Context) error {
	for _, what := range [][]string{{"-f", "config/manager/namespace.yaml"}, {"-k", "config/rbac"}} {
		if _, err := w.plane.Kubectl(ctx, append([]string{"apply"}, what...)...); err != nil {
			return err
		}
	}
	account, err := w.plane.ServiceAccountConfig(ctx, operatorNamespace, operatorAccount)
	if err != nil {
		return err
	}
	w.account = w.file("operator.kubeconfig")
	return controlplane.WriteKubeconfig(w.account, account)
}

func apiKey(i int) string { return fmt.Sprintf("rk_chaos_%d", i) }

func keySecret(i int) string { return fmt.Sprintf("reactor-key-%d", i%keys) }

// startReactor starts the emulator, where pods reach it. Its limits of an account are off: the operator's own, for each key, hold.
func (w *world) startReactor(ctx context.Context) error {
	host := "127.0.0.1"
	if w.node != nil {
		host = node.HostAddress
	}
	args := []string{"--listen=" + net.JoinHostPort(host, "0"), "--concurrent-sessions=0", "--session-starts-per-minute=0"}
	for i := range keys {
		args = append(args, "--key="+apiKey(i))
	}
	var err error
	if w.emulator, err = process.Start("Reactor's emulator", filepath.Join(w.plane.Dir, "reactor-emulator.log"), os.Environ(), emulatorBinary, args...); err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		address := w.emulator.ListeningAddress()
		w.reactor = controlEndpoint("http://" + address)
		return address != "", w.emulator.Failure()
	})
}

// startProxy starts the proxy that the operators use. The programs of sessions do not use it, since a flag of theirs names the emulator: what
// a program does without an answer is not the operator's to repair.
func (w *world) startProxy(context.Context) error {
	var err error
	if w.proxy, w.proxyURL, err = startProxy(string(w.reactor)); err != nil {
		return err
	}
	w.proxyCA = w.file("proxy-ca.pem")
	return os.WriteFile(w.proxyCA, w.proxy.ca, 0o600)
}

func (w *world) makeKeys(ctx context.Context) error {
	if err := w.kube.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return err
	}
	for i := range keys {
		err := w.kube.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: keySecret(i)},
			StringData: map[string]string{"api-key": apiKey(i)},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// startBackground starts the readers, and what makes sessions and runs their programs.
func (w *world) startBackground(ctx context.Context) {
	ctx, w.stop = context.WithCancel(ctx)
	w.done = make(chan struct{})
	w.fleet = newFleet(w.kube, w.reactor, w.settings)
	jobs := []func(context.Context){
		func(ctx context.Context) { follow(ctx, w.kube, &corev1.SecretList{}, operatorsOwn, w.recorder.secret) },
		func(ctx context.Context) { follow(ctx, w.kube, &corev1.PodList{}, nil, w.recorder.pod) },
		w.recorder.look,
		w.fleet.keep,
	}
	if w.node == nil {
		w.pods = &hostKubelet{kube: w.kube, folder: w.file("pods")}
		jobs = append(jobs, w.pods.keep)
	}
	go func() {
		defer close(w.done)
		together(ctx, jobs)
	}()
}

func (w *world) kubeletName() string {
	if w.node != nil {
		return "pods ran on a real node (kubelet, containerd, runc)"
	}
	return "no node (" + w.whyNoNode + "): a stand-in for the kubelet ran the programs of pods as processes"
}

// strike ends everything; what was frozen too.
func (w *world) strike() error {
	if w.stop != nil {
		w.stop()
		<-w.done
	}
	if w.crew != nil {
		w.crew.stop()
	}
	if w.proxy != nil {
		w.proxy.stop()
	}
	if w.emulator != nil {
		_ = thaw(w.emulator) // it may have ended
		w.emulator.Stop()
	}
	switch {
	case w.node != nil:
		return w.node.Stop()
	case w.plane != nil:
		return w.plane.Stop()
	}
	return nil
}
