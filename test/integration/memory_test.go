package integration

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/operator"
)

const (
	unrelated      = 500     // Secrets that are none of ours
	unrelatedBytes = 100_000 // of each; kubectl notes them down in an annotation once more
	mostGrowth     = 10 << 20
)

// The operator runs inside this process, so that its heap can be looked into: this test does not run beside others.
func TestUnrelatedSecretsAreNeitherCachedNorWeigh(t *testing.T) {
	w := newWorldWithoutRights(t)
	running := w.runInside()
	w.create("web")
	secret := w.waitUntilReady("web")
	w.fence()
	before := heap()

	needles := w.applyUnrelated()
	w.fence()
	w.requestRenewal("web", "now")
	w.waitForAnother("web", idOf(secret))
	w.fence()

	after := heap()
	t.Logf("heap before: %d kB, after: %d kB", before>>10, after>>10)
	if growth := int64(after) - int64(before); growth > mostGrowth {
		t.Errorf("%d Secrets of %d bytes make the heap grow by %d bytes", unrelated, unrelatedBytes, growth)
	}
	running.checkCaches(t, w.namespace)
	live := bytes.Repeat([]byte{'.'}, 64) // the control: what is alive is found
	copy(live, "a payload that somebody keeps")
	dump := dumpHeap(t)
	if !hidden(string(live[:29])).in(t, dump) {
		t.Error("the dump of the heap does not hold what is alive")
	}
	runtime.KeepAlive(live)
	for _, n := range needles {
		if n.in(t, dump) {
			t.Error("the payload of a Secret is alive in the operator's heap")
		}
	}
}

// inside is an operator within this process.
type inside struct{ manager *operator.Manager }

// runInside runs the operator within this process, for the whole cluster, until the test ends.
func (w *world) runInside() inside {
	w.t.Helper()
	settings, err := config.Parse([]string{
		"--api-url=" + w.reactor.url, "--ca-bundle=" + w.caBundle, "--leader-elect=false",
		"--metrics-bind-address=0", "--health-probe-bind-address=0", "--log-level=debug",
	}, io.Discard)
	if err != nil {
		w.t.Fatal(err)
	}
	mgr, err := operator.NewManager(plane.config, settings, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	if err := operator.AddControllers(mgr, settings, "test", prometheus.NewRegistry()); err != nil {
		w.t.Fatal(err) // also when this test runs twice in one process: names of controllers are unique there
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error("the operator ended:", err)
		}
	})
	return inside{mgr}
}

// checkCaches looks at what is kept of Secrets.
func (i inside) checkCaches(t *testing.T, namespace string) {
	t.Helper()
	kept := &metav1.PartialObjectMetadataList{}
	kept.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := i.manager.GetCache().List(t.Context(), kept, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	if len(kept.Items) < unrelated {
		t.Errorf("only %d Secrets are known", len(kept.Items))
	}
	for _, secret := range kept.Items {
		text, err := json.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 4096 || len(secret.ManagedFields) > 0 {
			t.Errorf("%d bytes are kept of Secret %s", len(text), secret.Name)
		}
	}
	err := i.manager.GetCache().Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "web"}, &corev1.Secret{})
	if err == nil {
		t.Error("whole Secrets are cached")
	}
}

// applyUnrelated has kubectl apply the Secrets, the client-side way, and returns what can be recognized of their payload.
func (w *world) applyUnrelated() []needle {
	w.t.Helper()
	const files = 2 // at the same time
	marker := randomText()
	folder := w.t.TempDir()
	applied := make(chan string, files)
	for f := range files {
		file := filepath.Join(folder, fmt.Sprintf("%d.yaml", f))
		w.writeUnrelated(file, marker, f, files)
		go func() {
			_, stderr, ok := kubectl(w.t, "", "apply", "--server-side=false", "--validate=false", "--filename", file)
			if ok {
				stderr = ""
			}
			applied <- stderr
		}()
	}
	for range files {
		if stderr := <-applied; stderr != "" {
			w.t.Fatal("apply unrelated Secrets:", stderr)
		}
	}
	w.t.Cleanup(func() {
		if err := w.kube.DeleteAllOf(context.Background(), &corev1.Secret{}, client.InNamespace(w.namespace)); err != nil {
			w.t.Error(err)
		}
	})
	return []needle{hidden(marker), hidden(base64.StdEncoding.EncodeToString([]byte(marker)))}
}

// writeUnrelated writes every n-th of the Secrets into a file.
func (w *world) writeUnrelated(path, marker string, first, n int) {
	w.t.Helper()
	file, err := os.Create(path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for i := first; i < unrelated; i += n {
		fmt.Fprintf(file, "---\napiVersion: v1\nkind: Secret\nmetadata: {name: unrelated-%d, namespace: %s}\nstringData:\n  payload: %s",
			i, w.namespace, marker)
		_, _ = file.Write(bytes.Repeat([]byte{'x'}, unrelatedBytes)) // a full disk fails the apply
		fmt.Fprintln(file)
	}
}

// heap is how much is alive.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers have let go
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// dumpHeap writes down all that is alive, and returns the file.
func dumpHeap(t *testing.T) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "heap"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	runtime.GC()
	runtime.GC()
	debug.WriteHeapDump(file.Fd())
	return file.Name()
}

// needle is a text that is kept backwards, so that the search for it does not find the needle itself.
type needle []byte

func hidden(text string) needle {
	backwards := []byte(text)
	slices.Reverse(backwards)
	return backwards
}

// in tells whether the text is in a file.
func (n needle) in(t *testing.T, path string) bool {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	const piece = 1 << 20
	window := make([]byte, 0, len(n)+piece) // the end of the last piece, and the next one
	for {
		count, err := file.Read(window[len(window):cap(window)])
		window = window[:len(window)+count]
		slices.Reverse(window)
		if bytes.Contains(window, n) {
			return true
		}
		slices.Reverse(window)
		window = append(window[:0], window[max(0, len(window)-len(n)):]...)
		if err == io.EOF {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
