package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
	"github.com/reactor-operator/reactor-operator/test/infra/node"
	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

const (
	// systemNamespace is where the operator's service account is, as in config/default.
	systemNamespace = "reactor-operator-system"
	operatorName    = "reactor-operator"

	// keySecret holds the API key in each world.
	keySecret = "reactor-api-key"

	// patience is how long a test waits. It measures nothing: it ends tests that wait in vain.
	patience = expect.Timeout
)

// world is a namespace with an API key in it, a Reactor of its own that knows the key, and an operator that works there.
type world struct {
	t         *testing.T
	namespace string
	key       string
	reactor   *emulator.Emulator
	clock     *movedClock // Reactor's
	url       string      // where pods and the operator reach Reactor
	operator  *process.Process
	args      []string // of the operator
	account   string   // the kubeconfig that it has
	starts    int
}

// newWorld makes a world whose operator runs with these arguments, and with the permissions of config/watched-namespace.
func newWorld(t *testing.T, args ...string) *world {
	t.Helper()
	w := &world{t: t, key: "rk_" + strings.ToLower(rand.Text()+rand.Text()), args: args, account: cluster.account}
	w.makeNamespace()
	w.startReactor()
	for _, rights := range []string{"", "restart", "prompt-delivery"} {
		w.kubectl("apply", "-k", filepath.Join(repository, "config", "watched-namespace", rights))
	}
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: keySecret},
		StringData: map[string]string{"api-key": w.key},
	})
	w.startOperator()
	return w
}

func (w *world) makeNamespace() {
	w.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	w.create(namespace)
	w.namespace = namespace.Name
	w.t.Cleanup(func() {
		if err := client.IgnoreNotFound(cluster.kube.Delete(context.Background(), namespace)); err != nil {
			w.t.Error("delete the namespace:", err)
		}
	})
	w.eventually("the service account that pods have", func() error {
		return w.get("default", &corev1.ServiceAccount{})
	})
}

// movedClock is the real clock, moved ahead by what no test can wait for.
type movedClock struct {
	clock.RealClock
	ahead atomic.Int64 // nanoseconds
}

// Now implements clock.PassiveClock.
func (c *movedClock) Now() time.Time { return c.RealClock.Now().Add(time.Duration(c.ahead.Load())) }

// Since implements clock.PassiveClock.
func (c *movedClock) Since(then time.Time) time.Duration { return c.Now().Sub(then) }

// startReactor serves an emulator where pods reach it.
func (w *world) startReactor() {
	w.t.Helper()
	w.clock = &movedClock{}
	w.reactor = emulator.New(emulator.Options{Keys: []string{w.key}, Clock: w.clock})
	// A program ends its session and exits. Were the session closed a moment later, and the kubelet quicker than that, the operator would end it
	// too, and report Ended in place of AlreadyOver.
	w.reactor.SetSessionTimes(emulator.DefaultReadyAfter, emulator.DefaultReconnectWindow, 0)
	listener, err := net.Listen("tcp", net.JoinHostPort(node.HostAddress, "0"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.url = "http://" + listener.Addr().String()
	server := &http.Server{Handler: w.reactor, ReadHeaderTimeout: patience}
	go func() { _ = server.Serve(listener) }() // it ends when it is closed
	w.t.Cleanup(func() { _ = server.Close() })
}

// startOperator starts the operator, after stopOperator or killOperator again, and waits until its caches are filled.
func (w *world) startOperator() {
	w.t.Helper()
	const attempts = 5
	for range attempts {
		if w.tryToStart() {
			return
		}
		if !strings.Contains(w.operator.Tail(20), "address already in use") {
			break
		}
	}
	w.t.Fatalf("the operator does not start: %v\n%s", w.operator.Failure(), w.operatorLog())
}

func (w *world) tryToStart() bool {
	w.t.Helper()
	probes, err := process.FreeAddress()
	if err != nil {
		w.t.Fatal(err)
	}
	w.starts++
	log := filepath.Join(cluster.folder, fmt.Sprintf("%s-%d.log", w.namespace, w.starts))
	args := append([]string{
		"--api-url=" + w.url, "--namespaces=" + w.namespace, "--leader-elect=false", "--metrics-bind-address=0",
		"--health-probe-bind-address=" + probes, "--log-level=debug",
	}, w.args...)
	operator, err := process.Start("the operator", log, []string{"KUBECONFIG=" + w.account, "HOME=" + w.t.TempDir()}, cluster.manager, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.operator = operator
	w.t.Cleanup(func() { w.endOperator(operator, operator.Stop) })
	ready := false
	w.eventually("an operator with filled caches", func() error {
		select {
		case <-operator.Ended():
			return nil // the caller reads how
		default:
		}
		response, err := http.Get("http://" + probes + "/readyz")
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if ready = response.StatusCode == http.StatusOK; !ready {
			return errors.New(response.Status)
		}
		return nil
	})
	return ready
}

// stopOperator has the operator end as a node that is drained does: it finishes what is in flight.
func (w *world) stopOperator() { w.endOperator(w.operator, w.operator.Stop) }

// killOperator ends the operator as a crash would.
func (w *world) killOperator() { w.endOperator(w.operator, w.operator.Kill) }

func (w *world) endOperator(operator *process.Process, end func()) {
	select {
	case <-operator.Ended():
		return
	default:
	}
	end()
	if w.t.Failed() {
		w.t.Logf("the operator said:\n%s", w.operatorLog())
	}
	content, err := os.ReadFile(operator.Log)
	if err != nil {
		w.t.Error(err)
	}
	if bytes.Contains(content, []byte(w.key)) {
		w.t.Error("the operator's log holds the API key")
	}
}

// operatorLog is the end of the operator's log.
func (w *world) operatorLog() string {
	text := w.operator.Tail(100)
	if strings.Contains(text, w.key) {
		return "(not shown: it holds the API key)"
	}
	return text
}

// kubectl runs kubectl as the administrator, in the world's namespace.
func (w *world) kubectl(args ...string) string {
	w.t.Helper()
	output, err := cluster.ControlPlane.Kubectl(w.t.Context(), append([]string{"--namespace=" + w.namespace}, args...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return output
}

// create creates an object.
func (w *world) create(object client.Object) {
	w.t.Helper()
	if err := cluster.kube.Create(w.t.Context(), object); err != nil {
		w.t.Fatalf("create %T %s: %v", object, object.GetName(), err)
	}
}

// get reads an object of the world's namespace.
func (w *world) get(name string, into client.Object) error {
	return cluster.kube.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, into)
}

// eventually waits until check returns nil. Otherwise the test fails with the last error, and with the pods.
func (w *world) eventually(what string, check func() error) {
	w.t.Helper()
	expect.Eventually(w.t, what, check, func() string { return "pods:\n" + w.kubectl("describe", "pods") })
}
