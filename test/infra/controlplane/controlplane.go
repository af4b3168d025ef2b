// Package controlplane starts and stops a real Kubernetes control plane for tests, the demo and benchmarks: etcd and
// kube-apiserver with envtest, and also kube-controller-manager, so that owner references collect garbage, namespaces go
// away and service accounts come with tokens. There are no nodes, and pods are accepted and never run, unless test/infra/node adds one.
//
// It runs binaries and imports none of them; the module in test/infra/cluster builds them. Everything listens on loopback only, unless
// an address is given for kube-apiserver.
package controlplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// startTimeout is for each of the programs: one start takes two seconds, and several at the same time on a busy machine much longer.
const startTimeout = 90 * time.Second

// Options say what to start.
type Options struct {
	// BinDir is the folder of the binaries. Empty: what KUBEBUILDER_ASSETS names.
	BinDir string
	// CRDPaths are files or folders of CustomResourceDefinitions. They are installed before the controller manager starts:
	// its garbage collector observes later ones only after half a minute.
	CRDPaths []string
	// Controllers are those that kube-controller-manager runs, by the names that its --controllers knows, in addition to those that make the
	// default service accounts. Empty: all that it runs by default.
	Controllers []string
	// Scheduler starts kube-scheduler too.
	Scheduler bool
	// Address is the IP address that kube-apiserver listens on. Empty: loopback, where no node reaches it.
	Address string
	// AuditUser is a user whose requests kube-apiserver records in the file AuditLogPath. Empty: no requests are recorded.
	AuditUser string
	// Dir is where the logs stay after Stop; one control plane at a time may use it. Empty: a temporary folder, which goes.
	Dir string
	// Log gets a line for each step of the start. Nil: there is no log.
	Log io.Writer
}

// ControlPlane is a running control plane. Its methods may be called from several goroutines, but for Stop.
type ControlPlane struct {
	// Config is the administrator's, without a client-side rate limit that a test would meet.
	Config *rest.Config
	// BinDir is the folder of the binaries that run.
	BinDir string
	// Dir holds the log of each program, called after it, and until Stop its data.
	Dir string

	client  kubernetes.Interface
	servers *envtest.ControlPlane
	janitor *janitor
	logs    []*os.File

	mu        sync.Mutex
	processes []*process
	killed    map[string][]string // the arguments of what Kill has ended, by name
}

// Start starts a control plane and returns once it serves, has the CRDs, and its controllers work. The context bounds the start,
// not the life of what is started: Stop ends it, and so does the end of this process, whichever way that comes (on Linux).
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	binDir, err := binaries(options)
	if err != nil {
		return nil, err
	}
	cp := &ControlPlane{BinDir: binDir}
	if err := cp.start(ctx, options); err != nil {
		return nil, errors.Join(err, cp.Stop())
	}
	return cp, nil
}

// binaries finds the folder of the binaries, and says how to come by them: envtest would only try a path and fail.
func binaries(options Options) (string, error) {
	folder := cmp.Or(options.BinDir, os.Getenv("KUBEBUILDER_ASSETS"))
	if folder == "" {
		return "", errors.New("no Kubernetes binaries: KUBEBUILDER_ASSETS is not set. Run this through `make test`, or set it to the folder that `make cluster-binaries` prints")
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			return "", fmt.Errorf("no Kubernetes binaries: %w. `make cluster-binaries` prints a folder that has them all", err)
		}
	}
	return folder, nil
}

func (cp *ControlPlane) start(ctx context.Context, options Options) error {
	log := cmp.Or(options.Log, io.Discard)
	if err := cp.makeFolders(options.Dir); err != nil {
		return err
	}
	if err := cp.startServers(ctx, options); err != nil {
		return err
	}
	fmt.Fprintf(log, "etcd and kube-apiserver serve at %s\n", cp.Config.Host)
	if err := cp.WriteKubeconfig(cp.KubeconfigPath()); err != nil {
		return err
	}
	if err := cp.installCRDs(options.CRDPaths); err != nil {
		return err
	}
	if err := cp.startControllerManager(ctx, options.Controllers); err != nil {
		return err
	}
	fmt.Fprintln(log, "kube-controller-manager works")
	if !options.Scheduler {
		return nil
	}
	if err := cp.startScheduler(); err != nil {
		return err
	}
	fmt.Fprintln(log, "kube-scheduler is started")
	return nil
}

// makeFolders makes the folder of the logs, and within it the one for the data of the programs, which never outlives them.
func (cp *ControlPlane) makeFolders(dir string) (err error) {
	temporary := dir == ""
	if temporary {
		dir, err = os.MkdirTemp("", "reactor-operator-controlplane-")
	} else {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return err
	}
	if cp.Dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	err = os.Mkdir(cp.data(), 0o700)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s belongs to another control plane; if none runs, remove it", cp.data())
	}
	if err != nil {
		return err
	}
	doomed := cp.data()
	if temporary {
		doomed = cp.Dir
	}
	cp.janitor, err = startJanitor(cp.data(), doomed)
	return err
}

// data is the folder of what the programs store: each gets a folder below it by a flag that ends in -dir.
func (cp *ControlPlane) data() string {
	return filepath.Join(cp.Dir, "data")
}

// await asks until the answer is yes, or an error, or the context ends.
func await(ctx context.Context, what string, done wait.ConditionWithContextFunc) error {
	if err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, startTimeout, true, done); err != nil {
		return fmt.Errorf("wait for %s: %w", what, err)
	}
	return nil
}

func (cp *ControlPlane) ready(ctx context.Context) error {
	return cp.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// Healthy returns nil if all of it still works, and otherwise what has died, or what kube-apiserver reports of itself and of etcd.
func (cp *ControlPlane) Healthy(ctx context.Context) error {
	if err := cp.failures(); err != nil {
		return err
	}
	if err := cp.ready(ctx); err != nil {
		return fmt.Errorf("kube-apiserver is not ready: %w", err)
	}
	return nil
}

func (cp *ControlPlane) failures() error {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	var all []error
	for _, p := range cp.processes {
		all = append(all, p.failure())
	}
	return errors.Join(all...)
}

// Stop ends all programs, waits for them, and removes what they stored. Its error reports what had died before, and what could not
// be ended or removed.
func (cp *ControlPlane) Stop() error {
	errs := []error{cp.failures(), cp.killOrphan()}
	// etcd last, which may be ours if it was killed: kube-apiserver does not end in order without it.
	cp.stopProcesses(func(p *process) bool { return p.name != etcdName })
	if cp.servers != nil {
		errs = append(errs, cp.servers.Stop())
		cp.servers = nil
	}
	cp.stopProcesses(func(*process) bool { return true })
	for _, log := range cp.logs {
		errs = append(errs, log.Close())
	}
	cp.logs = nil
	if cp.janitor != nil {
		errs = append(errs, cp.janitor.cleanUp())
		cp.janitor = nil
	}
	return errors.Join(errs...)
}

// stopProcesses stops those that are meant, one after the other, and forgets them.
func (cp *ControlPlane) stopProcesses(meant func(*process) bool) {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	cp.processes = slices.DeleteFunc(cp.processes, func(p *process) bool {
		if !meant(p) {
			return false
		}
		p.stop()
		return true
	})
}

func (cp *ControlPlane) binary(name string) string {
	return filepath.Join(cp.BinDir, name)
}

func (cp *ControlPlane) openLog(name string) (*os.File, error) {
	log, err := os.Create(filepath.Join(cp.Dir, name+".log"))
	if err != nil {
		return nil, err
	}
	cp.logs = append(cp.logs, log)
	return log, nil
}

// lastLines are the end of a log, where the reason of a failure mostly stands.
func lastLines(path string) string {
	const count = 15
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	tail := lines[max(0, len(lines)-count):]
	return fmt.Sprintf("the end of %s:\n%s\n", filepath.Base(path), strings.Join(tail, "\n"))
}
