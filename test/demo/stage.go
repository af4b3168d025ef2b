package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
	"github.com/reactor-operator/reactor-operator/test/infra/node"
	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

const (
	managerBinary  = "bin/manager"
	emulatorBinary = "bin/reactor-emulator"
)

// startTimeout is how long a program of ours may take to serve.
const startTimeout = 30 * time.Second

// stage is what runs during the demo.
type stage struct {
	settings settings
	say      *printer

	node    *node.Node // nil without pods
	plane   *controlplane.ControlPlane
	folder  string        // for keys, kubeconfigs and logs
	kube    client.Client // the administrator's
	reactor localReactor  // zero with the real API

	emulator, operator *process.Process
	metrics            string // host:port of the operator
}

// prepare checks that everything is there.
func (s *stage) prepare() error {
	needed := []string{managerBinary, "test/demo/web.yaml"}
	if !s.settings.real() {
		needed = append(needed, emulatorBinary)
	}
	for _, file := range needed {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%w: start the demo with make demo, in the folder of the repository", err)
		}
	}
	return nil
}

// startPlane starts Kubernetes, and connects to it. The demo's folder is one in its folder: that goes, and with it the keys, even if
// the demo is killed.
func (s *stage) startPlane(ctx context.Context) error {
	if err := s.startCluster(ctx); err != nil {
		return err
	}
	s.folder = filepath.Join(s.plane.Dir, "demo")
	if err := os.Mkdir(s.folder, 0o700); err != nil {
		return err
	}
	var err error
	if s.kube, err = controlplane.NewClient(s.plane.Config); err != nil {
		return err
	}
	return s.plane.WriteKubeconfig(s.file("kubeconfig"))
}

// startCluster starts a control plane, with a node where there are programs for one.
func (s *stage) startCluster(ctx context.Context) error {
	var err error
	if !s.settings.pods() {
		s.plane, err = controlplane.Start(ctx, controlplane.Options{BinDir: s.settings.binaries})
		return err
	}
	s.node, err = node.Start(ctx, node.Options{BinDir: s.settings.node, ControlPlane: controlplane.Options{BinDir: s.settings.binaries}})
	if err == nil {
		s.plane = s.node.ControlPlane
	}
	return err
}

// packWorker gives the node the image of the program that the demo's sessions run.
func (s *stage) packWorker(ctx context.Context) error {
	archive := s.file("session-worker.tar")
	if err := node.BuildImage(ctx, "localhost/session-worker:demo", "github.com/reactor-operator/reactor-operator/examples/session-worker", archive); err != nil {
		return err
	}
	return s.node.Import(ctx, archive)
}

// startReactor starts the local Reactor API, which knows no key yet.
func (s *stage) startReactor(ctx context.Context) error {
	address := "127.0.0.1:0"
	if s.settings.pods() {
		address = net.JoinHostPort(node.HostAddress, "0") // where pods reach it
	}
	var err error
	s.emulator, err = process.Start("the local Reactor API", s.file("reactor.log"), s.environment(), emulatorBinary, "--listen="+address)
	if err != nil {
		return err
	}
	return s.awaitStart(ctx, s.emulator, func(context.Context) bool {
		address := s.emulator.ListeningAddress()
		s.reactor.url = "http://" + address
		return address != ""
	})
}

// startOperator starts the operator with a kubeconfig of its own, and waits until it is ready.
func (s *stage) startOperator(ctx context.Context, args []string) error {
	probes := ""
	for _, arg := range args {
		if address, ok := strings.CutPrefix(arg, "--health-probe-bind-address="); ok {
			probes = address
		}
	}
	var err error
	env := append(s.environment(), "KUBECONFIG="+s.file("operator.kubeconfig"))
	if s.operator, err = process.Start("the operator", s.file("operator.log"), env, managerBinary, args...); err != nil {
		return err
	}
	return s.awaitStart(ctx, s.operator, func(ctx context.Context) bool { return controlplane.Answers(ctx, "http://"+probes+"/readyz") })
}

// awaitStart waits until a program serves, or has ended.
func (s *stage) awaitStart(ctx context.Context, p *process.Process, serves func(context.Context) bool) error {
	const often = 200 * time.Millisecond // each look is a line in the operator's log
	err := wait.PollUntilContextTimeout(ctx, often, startTimeout, true, func(ctx context.Context) (bool, error) {
		return serves(ctx), p.Failure()
	})
	if err != nil {
		return fmt.Errorf("waiting for %s to serve: %w\n%s", p.Name, err, p.Tail(5))
	}
	return nil
}

// file is a file of the demo's folder.
func (s *stage) file(name string) string { return filepath.Join(s.folder, name) }

// environment is that of all programs and commands: ours without the API key, which only its file and its Secret hold.
func (s *stage) environment() []string {
	var env []string
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); name != "REACTOR_API_KEY" && name != "KUBECONFIG" {
			env = append(env, variable)
		}
	}
	return env
}

// shell runs a command as the reader could, with the variables that were shown, and returns all that it printed.
func (s *stage) shell(ctx context.Context, command string) (string, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Env = append(s.environment(),
		"DEMO="+s.folder,
		"KUBECONFIG="+s.file("kubeconfig"),
		"REACTOR="+s.reactor.url,
		"PATH="+s.plane.BinDir+string(os.PathListSeparator)+os.Getenv("PATH"),
		"KUBECACHEDIR="+s.file("kubectl-cache"))
	cmd.SysProcAttr = process.Apart()
	output, err := cmd.CombinedOutput()
	return string(output), err
}

// showExports shows the variables that make the commands work elsewhere.
func (s *stage) showExports() {
	s.say.command("export DEMO=" + s.folder)
	s.say.nextCommand("export KUBECONFIG=$DEMO/kubeconfig")
	if s.reactor.url != "" {
		s.say.nextCommand("export REACTOR=" + s.reactor.url)
	}
	s.say.nextCommand("export PATH=" + s.plane.BinDir + ":$PATH   # kubectl")
}

// suggestions are commands to go on with.
func (s *stage) suggestions() [][2]string {
	all := [][2]string{
		{"watch the renewals", "kubectl get rtok -w"},
		{"what every field means", "kubectl explain rtok.spec"},
		{"a new token now", `kubectl annotate rtok web reactor.inc/renew-requested-at="$(date)" --overwrite`},
		{"a mistake, and what is said to it", `kubectl patch rtok web --type=merge -p '{"spec":{"lifetime":"6hrs"}}'`},
		{"a foreign hand in the Secret, and what is done about it",
			`kubectl patch secret web -p '{"stringData":{"jwt":"nonsense"}}'; sleep 1; kubectl events | tail -1`},
		{"the Secret goes with its ReactorToken, by Kubernetes' garbage collection", "kubectl delete rtok stream && kubectl get secrets -w"},
	}
	if s.node != nil {
		all = append(all,
			[2]string{"a session again, and what becomes of its pod", `kubectl patch rses night --type=merge -p '{"spec":{"suspend":false}}'; kubectl get rses,pods -w`},
			[2]string{"an end without the operator's help, as an uninstallation needs it",
				"KUBECONFIG=$DEMO/operator.kubeconfig " + managerBinary + " drain --log-format=text --api-url=$REACTOR"})
	}
	if s.reactor.url != "" {
		all = append(all, [2]string{
			"Reactor answers 503, three times; kubectl get rtok -o wide shows it",
			`curl -X PUT -d '{"faults":[{"times":3,"status":503}]}' $REACTOR/_emulator/faults`,
		})
	}
	return append(all,
		[2]string{"what the operator measures", "curl -sk https://" + s.metrics + "/metrics | grep ^reactor"},
		[2]string{"what the operator says", "tail -f $DEMO/operator.log"})
}

// rest returns when the context ends; it tells when the operator ends before.
func (s *stage) rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.operator.Ended():
		s.say.bad("%v", s.operator.Failure())
		<-ctx.Done()
	}
}

// showOperatorLog shows the end of what the operator said.
func (s *stage) showOperatorLog() {
	if s.operator == nil {
		return
	}
	s.say.heading("What the operator said last")
	if err := s.operator.Failure(); err != nil {
		s.say.bad("%v", err)
	}
	s.say.output(s.operator.Tail(15))
}

// strike stops everything, in the order in which one needs the other; the folder goes with the control plane.
func (s *stage) strike() error {
	if s.plane == nil {
		return nil
	}
	started := time.Now()
	for _, p := range []*process.Process{s.operator, s.emulator} {
		if p != nil {
			p.Stop()
		}
	}
	if err := s.stopCluster(); err != nil {
		return err
	}
	s.say.blank()
	s.say.text("Everything is stopped and removed, in %s.", seconds(time.Since(started)))
	return nil
}

func (s *stage) stopCluster() error {
	if s.node != nil {
		return s.node.Stop()
	}
	return s.plane.Stop()
}
