package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// abandon is the variable that lets the test binary start a node and wait to be killed.
const abandon = "NODE_TEST_ABANDON"

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	if os.Getenv(abandon) != "" {
		startAndWait()
	}
	os.Exit(m.Run())
}

func startAndWait() {
	n, err := Start(context.Background(), Options{Log: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(n.janitor.cmd.Process.Pid)
	select {}
}

// kill starts a node in a process of its own, and kills that; also the shell that cleans up, if it is to.
func kill(t *testing.T, shellToo bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), abandon+"=yes")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(errors.Join(err, cmd.Wait()))
	}
	var shell int
	if _, err := fmt.Sscan(line, &shell); err != nil {
		t.Fatal(err)
	}
	if shellToo { // first, so that it cannot start
		if err := syscall.Kill(shell, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it has not been killed")
	}
}

func inventory(t *testing.T) Inventory {
	t.Helper()
	found, err := TakeInventory()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// needNode skips a test where no node is requested: make e2e requests one, and make test does not.
func needNode(t *testing.T) {
	t.Helper()
	if os.Getenv("E2E") == "" {
		t.Skip("make e2e runs this")
	}
}

func TestANodeWhoseTestIsKilledLeavesNothing(t *testing.T) {
	needNode(t)
	before := inventory(t)
	kill(t, false)
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		return cmp.Equal(before, inventory(t)), nil
	})
	if err != nil {
		t.Errorf("before and a minute after (-before +after):\n%s", cmp.Diff(before, inventory(t)))
	}
}

func TestTheNextNodeCleansUpWhatNobodyHas(t *testing.T) {
	needNode(t)
	before := inventory(t)
	kill(t, true)
	var log strings.Builder
	logs := filepath.Join(t.TempDir(), "logs")
	n, err := Start(t.Context(), Options{Log: &log, Dir: logs})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "cleaning up after a node that was killed") {
		t.Errorf("it says %q", log.String())
	}
	if during, _ := inventory(t).Since(before); len(during) < 10 {
		t.Errorf("while a node runs, the inventory has only this more: %q", during)
	}
	if err := n.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
	if err := n.Stop(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, inventory(t)); diff != "" {
		t.Errorf("before and after (-before +after):\n%s", diff)
	}
	left, err := filepath.Glob(filepath.Join(logs, "*"))
	if err != nil || len(left) != 6 {
		t.Errorf("the folder of the logs has %q, want six logs and nothing else", left)
	}
	if err := n.Stop(); err != nil {
		t.Errorf("to stop twice: %v", err)
	}
}

func TestAKubeletThatIsKilledAndStartedAgainTellsThatTheNodeIsReady(t *testing.T) {
	needNode(t)
	n, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	}()
	client, err := kubernetes.NewForConfig(n.ControlPlane.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Kill("kubelet"); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if err := n.Healthy(t.Context()); err != nil {
		t.Errorf("what was killed on purpose is no failure: %v", err)
	}
	if err := n.Kill("kubelet"); err == nil {
		t.Error("it was killed twice")
	}
	if err := n.Restart("kubelet"); err != nil {
		t.Fatal(err)
	}
	if err := n.Restart("kubelet"); err == nil {
		t.Error("what runs was started again")
	}
	// A kubelet renews its lease every ten seconds. The node's status is reported again after minutes, when it has not changed.
	err = wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		lease, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, Name, metav1.GetOptions{})
		if err != nil || lease.Spec.RenewTime == nil || !lease.Spec.RenewTime.After(killed) {
			return false, ctrlclient.IgnoreNotFound(err) // the first kubelet may have been killed before it made one
		}
		object, err := client.CoreV1().Nodes().Get(ctx, Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return slices.ContainsFunc(object.Status.Conditions, func(condition corev1.NodeCondition) bool {
			return condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue
		}), nil
	})
	if err != nil {
		t.Errorf("the node is not ready: %v", err)
	}
	if err := n.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
}
