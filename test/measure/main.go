// Command measure prints how much memory and processor time the operator takes, as the table in docs/resources.md: on a real control
// plane and the emulator, as a process with its default settings but for rate limits, scraped as often as Prometheus would.
//
// Everything is on one machine and there is no node: pods are made and do not run.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/procfs"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/controlplane"
	"github.com/reactor-operator/reactor-operator/test/process"
)

const (
	// operatorNamespace and operatorAccount are those of config/.
	operatorNamespace = "reactor-operator-system"
	operatorAccount   = "reactor-operator"

	namespace = "default"    // of all that is made
	keySecret = "reactor"    // with the API key
	apiKey    = "rk_measure" // known to the emulator alone

	patience    = 10 * time.Minute // for each burst
	scrapeEvery = 30 * time.Second // the default of the chart's ServiceMonitor
	foreignData = 10_000           // bytes in each Secret of others
)

func main() {
	m := measurement{}
	pflag.IntSliceVar(&m.tokens, "tokens", []int{1000, 5000}, "how many ReactorTokens there are, one step after the other")
	pflag.IntVar(&m.sessions, "sessions", 500, "how many ReactorSessions with a pod there are then")
	pflag.IntVar(&m.secrets, "secrets", 5000, "how many Secrets of others there are then")
	pflag.DurationVar(&m.rest, "rest", 2*time.Minute, "how long nothing happens after each step")
	pflag.Parse()
	log.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := m.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

// measurement is what to measure, and what runs meanwhile.
type measurement struct {
	tokens            []int
	sessions, secrets int
	rest              time.Duration

	plane      *controlplane.ControlPlane
	kube       client.Client // the administrator's
	kubeconfig string        // the operator's
	reactor    string        // the URL of the emulator
	operator   *process.Process
	metrics    string // the URL of the operator's
}

func (m *measurement) run(ctx context.Context) (err error) {
	if m.plane, err = controlplane.Start(ctx, controlplane.Options{CRDPaths: []string{"config/crd/bases"}, Log: os.Stderr}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.plane.Stop()) }()
	if err := m.prepare(ctx); err != nil {
		return err
	}
	emulator, err := m.startEmulator(ctx)
	if err != nil {
		return err
	}
	defer emulator.Stop()

	fmt.Printf("On %d processors (%s), with a scrape every %s and %s of rest after each step:\n\n", runtime.NumCPU(), runtime.GOARCH, scrapeEvery, m.rest)
	fmt.Println("| what there is | memory after the rest | its peak | CPU time until all of it was done | CPU during the rest |")
	fmt.Println("|---|---|---|---|---|")
	if err := m.restart(ctx, "nothing"); err != nil {
		return err
	}
	defer func() { m.operator.Stop() }()
	if err := m.grow(ctx); err != nil {
		return err
	}
	m.operator.Stop()
	return m.restart(ctx, "the same, after a restart")
}

// grow takes the steps in which there is more and more to do.
func (m *measurement) grow(ctx context.Context) error {
	made := 0
	for _, count := range m.tokens {
		err := m.step(ctx, fmt.Sprintf("%d ReactorTokens", count), func(ctx context.Context) error {
			if err := m.create(ctx, made, count, token); err != nil {
				return err
			}
			made = count
			return m.allReady(ctx)
		})
		if err != nil {
			return err
		}
	}
	if m.sessions > 0 {
		err := m.step(ctx, fmt.Sprintf("and %d ReactorSessions, whose pods wait for a node", m.sessions), func(ctx context.Context) error {
			if err := m.create(ctx, 0, m.sessions, session); err != nil {
				return err
			}
			return m.allHavePods(ctx)
		})
		if err != nil {
			return err
		}
	}
	if m.secrets == 0 {
		return nil
	}
	return m.step(ctx, fmt.Sprintf("and %d Secrets of others, of %d kB each", m.secrets, foreignData/1000), func(ctx context.Context) error {
		return m.create(ctx, 0, m.secrets, foreign)
	})
}

// prepare gives the operator its rights, and the API key that it is to use.
func (m *measurement) prepare(ctx context.Context) error {
	scheme := kruntime.NewScheme()
	err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
	if err != nil {
		return err
	}
	if m.kube, err = client.New(m.plane.Config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	for _, what := range [][]string{{"-f", "config/manager/namespace.yaml"}, {"-k", "config/rbac"}} {
		if _, err := m.plane.Kubectl(ctx, append([]string{"apply"}, what...)...); err != nil {
			return err
		}
	}
	account, err := m.plane.ServiceAccountConfig(ctx, operatorNamespace, operatorAccount)
	if err != nil {
		return err
	}
	kubeconfig, err := controlplane.KubeconfigFor(account)
	if err != nil {
		return err
	}
	m.kubeconfig = filepath.Join(m.plane.Dir, "operator.kubeconfig")
	if err := os.WriteFile(m.kubeconfig, kubeconfig, 0o600); err != nil {
		return err
	}
	return m.kube.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: keySecret},
		StringData: map[string]string{"api-key": apiKey},
	})
}

func (m *measurement) startEmulator(ctx context.Context) (*process.Process, error) {
	address, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	m.reactor = "http://" + address
	emulator, err := process.Start("the emulator", filepath.Join(m.plane.Dir, "emulator.log"), nil,
		"bin/reactor-emulator", "--listen="+address, "--key="+apiKey, "--log-level=WARN")
	if err != nil {
		return nil, err
	}
	return emulator, await(ctx, emulator, m.reactor+"/_emulator/healthz")
}

// restart starts the operator, and measures the start as a step. Its rate limits of Reactor are off: they are there for Reactor, and
// spread the same work over more time.
func (m *measurement) restart(ctx context.Context, name string) error {
	metrics, err := process.FreeAddress()
	if err != nil {
		return err
	}
	probes, err := process.FreeAddress()
	if err != nil {
		return err
	}
	m.metrics = "https://" + metrics + "/metrics"
	m.operator, err = process.Start("the operator", filepath.Join(m.plane.Dir, "operator.log"), append(os.Environ(), "KUBECONFIG="+m.kubeconfig),
		"bin/manager", "--api-url="+m.reactor, "--leader-election-namespace="+operatorNamespace, "--metrics-auth=false",
		"--metrics-bind-address="+metrics, "--health-probe-bind-address="+probes,
		"--mint-qps=10000", "--mint-burst=10000", "--sessions-per-key=0", "--session-starts-per-minute=0")
	if err != nil {
		return err
	}
	return m.measure(ctx, name, usage{}, func(ctx context.Context) error {
		for _, url := range []string{"http://" + probes + "/readyz", m.metrics} {
			if err := await(ctx, m.operator, url); err != nil {
				return err
			}
		}
		return m.allSeen(ctx)
	})
}

// usage is what a process has taken since it started, but for the peak: that is since the step began.
type usage struct {
	resident, peak uint64  // bytes
	cpu            float64 // seconds
}

// step measures something that the running operator has to do.
func (m *measurement) step(ctx context.Context, name string, do func(context.Context) error) error {
	const resetPeak = "5" // see proc_pid_clear_refs(5)
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", m.operator.PID()), []byte(resetPeak), 0); err != nil {
		return fmt.Errorf("forget the peak of the operator's memory: %w", err)
	}
	before, err := m.usage()
	if err != nil {
		return err
	}
	return m.measure(ctx, name, before, do)
}

// measure prints what something cost, and what the rest after it did.
func (m *measurement) measure(ctx context.Context, name string, before usage, do func(context.Context) error) error {
	if err := do(ctx); err != nil {
		return errors.Join(fmt.Errorf("%s: %w\n%s", name, err, m.operator.Tail(5)), m.operator.Failure())
	}
	done, err := m.usage()
	if err != nil {
		return err
	}
	scraping, stop := context.WithCancel(ctx)
	defer stop()
	go wait.UntilWithContext(scraping, m.scrape, scrapeEvery)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(m.rest):
	}
	after, err := m.usage()
	if err != nil {
		return err
	}
	const mebi, milli = 1 << 20, 1000
	fmt.Printf("| %s | %d MiB | %d MiB | %.1f s | %.0fm |\n", name, after.resident/mebi, after.peak/mebi,
		done.cpu-before.cpu, (after.cpu-done.cpu)/m.rest.Seconds()*milli)
	return nil
}

// usage asks Linux.
func (m *measurement) usage() (usage, error) {
	if err := m.operator.Failure(); err != nil {
		return usage{}, err
	}
	proc, err := procfs.NewProc(m.operator.PID())
	if err != nil {
		return usage{}, err
	}
	status, statusErr := proc.NewStatus()
	stat, statErr := proc.Stat()
	return usage{status.VmRSS, status.VmHWM, stat.CPUTime()}, errors.Join(statusErr, statErr)
}

// scrape reads the metrics, as Prometheus does. One that fails says so, since the figures are too low then.
func (m *measurement) scrape(ctx context.Context) {
	if _, err := get(ctx, m.metrics); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "a scrape failed:", err)
	}
}

// create creates objects from one number up to another.
func (m *measurement) create(ctx context.Context, from, to int, object func(i int) client.Object) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i := from; i < to; i++ {
		group.Go(func() error { return m.kube.Create(ctx, object(i)) })
	}
	return group.Wait()
}

func token(i int) client.Object {
	return &v1alpha1.ReactorToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("token-%d", i)},
		Spec: v1alpha1.ReactorTokenSpec{
			APIKeySecretRef: v1alpha1.APIKeySecretReference{Name: keySecret},
			Scope:           &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{"reactor/helios"}, MaxSessions: 1},
		},
	}
}

func session(i int) client.Object {
	return &v1alpha1.ReactorSession{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("session-%d", i)},
		Spec: v1alpha1.ReactorSessionSpec{
			Model: "reactor/helios", APIKeySecretRef: v1alpha1.APIKeySecretReference{Name: keySecret}, StartDeadline: "6h",
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "stream", Image: "example.com/stream"}}}},
		},
	}
}

func foreign(i int) client.Object {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("foreign-%d", i)},
		Data:       map[string][]byte{"data": make([]byte, foreignData)},
	}
}
