package e2e

import (
	"fmt"
	"os/exec"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// drain runs `manager drain` to its end, with the operator's service account.
func (w *world) drain() error {
	w.t.Helper()
	drain := exec.CommandContext(w.t.Context(), cluster.manager, "drain", "--api-url="+w.url, "--namespaces="+w.namespace)
	drain.Env = []string{"KUBECONFIG=" + cluster.account, "HOME=" + w.t.TempDir()}
	if said, err := drain.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, said)
	}
	return nil
}

func TestAfterADrainANamespaceWithASessionThatRanCanBeDeletedWithoutTheOperator(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	w.session("night", nil)
	w.session("deaf", impatient, "-deaf")
	w.waitForSession("night", v1alpha1.ReasonRunning)
	w.waitForSession("deaf", v1alpha1.ReasonRunning)
	w.eventually("both Reactor sessions", w.open(2))
	w.killOperator()
	if err := w.drain(); err != nil {
		t.Fatal(err)
	}
	w.wantEnd(w.waitForSession("night", v1alpha1.ReasonSuspended), v1alpha1.ClassStopped, "Suspended", v1alpha1.CleanupAlreadyOver)
	w.wantEnd(w.waitForSession("deaf", v1alpha1.ReasonSuspended), v1alpha1.ClassStopped, "Suspended", v1alpha1.CleanupEnded)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	if err := cluster.kube.Delete(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	w.waitUntilGone(namespace)
}
