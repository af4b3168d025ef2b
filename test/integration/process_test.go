package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/test/infra/expect"
	reactorprocess "github.com/reactor-operator/reactor-operator/test/infra/process"
)

// manager is the path of the operator's program, which TestMain finds or builds.
var manager string

// buildManager finds or builds the program, with the race detector if these tests have it too.
func buildManager(folder string) (err error) {
	var flags []string
	if raceEnabled {
		flags = []string{"-race"}
	}
	manager, err = reactorprocess.BuildManager(context.Background(), folder, flags...)
	return err
}

// process is a running process of the operator.
type process struct {
	t       *testing.T
	command *exec.Cmd
	said    *journal
	metrics string // host:port
	probes  string // host:port
	exited  chan struct{}
}

// start runs the operator under its service account, for the namespaces that it is to watch, and waits until its caches are filled. Later
// arguments override earlier ones.
func (w *world) start(args ...string) *process {
	w.t.Helper()
	for range 5 {
		o := w.launch(args...)
		if o.waitUntilReady() {
			return o
		}
		if !strings.Contains(o.said.String(), "address already in use") {
			w.t.Fatalf("the operator ended at once:\n%s", o.said)
		}
	}
	w.t.Fatal("all ports are taken")
	return nil
}

// launch starts the process and returns at once.
func (w *world) launch(args ...string) *process {
	w.t.Helper()
	metrics, probes := freeAddress(w.t), freeAddress(w.t)
	all := append([]string{
		"--api-url=" + w.reactor.url, "--ca-bundle=" + w.caBundle, "--namespaces=" + w.watched, "--leader-elect=false",
		"--metrics-auth=false", "--metrics-bind-address=" + metrics, "--health-probe-bind-address=" + probes,
		"--log-level=debug", "--mint-qps=1000", "--mint-burst=1000",
	}, args...)
	return w.execute(&process{metrics: metrics, probes: probes}, all...)
}

// drain starts `manager drain` and returns at once.
func (w *world) drain(args ...string) *process {
	w.t.Helper()
	return w.execute(&process{}, append([]string{
		"drain", "--api-url=" + w.reactor.url, "--ca-bundle=" + w.caBundle, "--namespaces=" + w.watched, "--log-level=debug",
	}, args...)...)
}

// execute starts the program with the rights of the world's service account.
func (w *world) execute(o *process, args ...string) *process {
	w.t.Helper()
	o.t, o.exited, o.said, o.command = w.t, make(chan struct{}), heard.listen("log of an operator in "+w.t.Name()), exec.Command(manager, args...)
	o.command.Env = []string{"KUBECONFIG=" + w.kubeconfig, "HOME=" + w.t.TempDir()}
	o.command.Stdout, o.command.Stderr = o.said, o.said
	o.command.SysProcAttr = endsWithUs()
	if err := o.command.Start(); err != nil {
		w.t.Fatal("start the operator:", err)
	}
	go func() {
		_ = o.command.Wait() // who cares for the code reads it from ProcessState
		close(o.exited)
	}()
	w.t.Cleanup(func() {
		o.kill()
		if w.t.Failed() {
			w.t.Logf("the operator said:\n%s", o.said.tail())
		}
	})
	return o
}

// freeAddress returns an address that nobody listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+int(nextPort.Add(1)))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue // in use
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		return address
	}
	t.Fatal("no free port")
	return ""
}

// nextPort hands every port out once, below the range that the system takes for outgoing connections: a port that was free a
// moment ago must be free when the process binds it.
var (
	firstPort = 20000 + os.Getpid()%5000
	nextPort  atomic.Int32
)

// waitUntilReady returns true once the probe says so, and false when the process ends before.
func (o *process) waitUntilReady() bool {
	o.t.Helper()
	ready := false
	expect.Eventually(o.t, "an operator with filled caches", func() error {
		select {
		case <-o.exited:
			return nil
		default:
		}
		response, err := http.Get("http://" + o.probes + "/readyz")
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		ready = response.StatusCode == http.StatusOK
		if !ready {
			return errors.New(response.Status)
		}
		return nil
	})
	return ready
}

// kill ends the process as a crash would: it gets no chance to finish anything.
func (o *process) kill() {
	o.t.Helper()
	select {
	case <-o.exited:
		return
	default:
	}
	if text, err := o.scrape(); err == nil { // a drain has no metrics
		_, _ = heard.listen("metrics in " + o.t.Name()).Write([]byte(text))
	}
	_ = o.command.Process.Kill() // it may have ended by itself just now
	<-o.exited
}

// terminate asks the process to end.
func (o *process) terminate() {
	o.t.Helper()
	if err := o.command.Process.Signal(syscall.SIGTERM); err != nil {
		o.t.Fatal("send SIGTERM:", err)
	}
}

// waitForExit returns the exit code of a process that was asked to end.
func (o *process) waitForExit() int {
	o.t.Helper()
	select {
	case <-o.exited:
	case <-time.After(patience):
		o.t.Fatal("the operator does not end")
	}
	return o.command.ProcessState.ExitCode()
}

// insecure talks to the operator's own port, whose certificate is self-signed.
var insecure = &http.Client{
	Timeout:   patience,
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
}

// scrape reads the metrics.
func (o *process) scrape() (string, error) {
	response, err := insecure.Get("https://" + o.metrics + "/metrics")
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return string(text), err
}

// sum adds up the series of a metric of which each has all these labels, written as name="value".
func sum(metrics, name string, labels ...string) float64 {
	total := 0.0
next:
	for line := range strings.Lines(metrics) {
		line = strings.TrimSpace(line)
		space := strings.LastIndexByte(line, ' ')
		if space < 0 || !strings.HasPrefix(line, name+"{") && line[:space] != name {
			continue
		}
		series, value := line[:space], line[space+1:]
		for _, label := range labels {
			if !strings.Contains(series, label) {
				continue next
			}
		}
		if number, err := strconv.ParseFloat(value, 64); err == nil {
			total += number
		}
	}
	return total
}

// passes is how often the process has looked at a ReactorToken.
func (o *process) passes() int {
	o.t.Helper()
	text, err := o.scrape()
	if err != nil {
		o.t.Fatal("read the metrics:", err)
	}
	return int(sum(text, "controller_runtime_reconcile_total", `controller="reactortoken"`))
}

// waitUntilIdle returns once at least so many passes were made, none is under way, and none is due now.
func (o *process) waitUntilIdle(passes int) {
	o.t.Helper()
	expect.Eventually(o.t, "an operator that is idle", func() error {
		text, err := o.scrape()
		if err != nil {
			return err
		}
		made := sum(text, "controller_runtime_reconcile_total", `controller="reactortoken"`)
		queued := sum(text, "workqueue_depth", `name="reactortoken"`)
		busy := sum(text, "controller_runtime_active_workers", `controller="reactortoken"`)
		if int(made) < passes || queued > 0 || busy > 0 {
			return fmt.Errorf("%g passes of %d, %g objects in the queue, %g workers busy", made, passes, queued, busy)
		}
		return nil
	})
}

// journal keeps what was written to it.
type journal struct {
	source string

	mu   sync.Mutex
	text bytes.Buffer
}

// Write keeps a piece of text.
func (j *journal) Write(piece []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(piece)
}

// String returns all that was written.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// tail returns the end, which a person can read when a test has failed. It is shown only when the scan finds nothing in it.
func (j *journal) tail() string {
	const most = 16 << 10
	text := j.String()
	text = text[max(0, len(text)-most):]
	if leaks := heard.needles().scan("log", text); len(leaks) > 0 {
		return "(not shown: it holds a secret)"
	}
	return text
}
