package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

// startEtcd starts one with so much room.
func startEtcd(t *testing.T, quota int) etcd {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		t.Skip("KUBEBUILDER_ASSETS names no folder with etcd: make test does")
	}
	address, err := process.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	peers, err := process.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + address
	p, err := process.Start("etcd", filepath.Join(t.TempDir(), "etcd.log"), os.Environ(), filepath.Join(assets, "etcd"),
		"--data-dir="+t.TempDir(), "--listen-client-urls="+url, "--advertise-client-urls="+url, "--listen-peer-urls=http://"+peers,
		"--unsafe-no-fsync", fmt.Sprintf("--quota-backend-bytes=%d", quota))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	err = wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := ask(ctx, http.MethodGet, url+"/health", "")
		return err == nil, p.Failure()
	})
	if err != nil {
		t.Fatalf("etcd does not start: %v\n%s", err, p.Tail(20))
	}
	return etcd(url)
}

func TestAFullDiskTakesNoWriteUntilItIsMended(t *testing.T) {
	e := startEtcd(t, 16<<20)
	write := func() error {
		_, err := ask(t.Context(), http.MethodPost, string(e)+"/v3/kv/put", `{"key":"a2V5","value":"dmFsdWU="}`)
		return err
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	if err := e.disarm(t.Context()); err == nil {
		t.Error("an alarm was taken back that nobody raised")
	}
	if err := e.fill(t.Context(), 16<<20); err != nil {
		t.Fatal(err)
	}
	if err := write(); err == nil || !strings.Contains(err.Error(), noSpace) {
		t.Errorf("a write to a full disk was answered with %v", err)
	}
	full, _, err := e.status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.mend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := write(); err != nil {
		t.Errorf("a write after the mending: %v", err)
	}
	if mended, _, err := e.status(t.Context()); err != nil || mended > full/2 {
		t.Errorf("%d bytes when it was full, and %d after, %v", full, mended, err)
	}
}

func TestADiskThatDoesNotFillUpIsToldOf(t *testing.T) {
	if err := startEtcd(t, 1<<30).fill(t.Context(), block); err == nil {
		t.Error("it counts as full")
	}
}
