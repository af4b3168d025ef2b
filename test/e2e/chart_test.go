package e2e

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// newReleaseWorld makes a world without an operator: the chart installs it, as a pod that works in this namespace.
func newReleaseWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, key: "rk_" + strings.ToLower(rand.Text()+rand.Text())}
	w.makeNamespace()
	w.kubectl("label", "namespace", w.namespace, "pod-security.kubernetes.io/enforce=restricted")
	w.startReactor()
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: keySecret},
		StringData: map[string]string{"api-key": w.key},
	})
	return w
}

// helm runs Helm as the administrator, in the world's namespace.
func (w *world) helm(args ...string) string {
	w.t.Helper()
	command := exec.CommandContext(w.t.Context(), cluster.helm, append([]string{"--namespace=" + w.namespace}, args...)...)
	command.Env = append(os.Environ(), "KUBECONFIG="+cluster.ControlPlane.KubeconfigPath(), "HOME="+w.t.TempDir())
	output, err := command.CombinedOutput()
	if err != nil {
		w.t.Fatalf("helm %s: %v\n%s\n%s", strings.Join(args, " "), err, output, w.kubectl("describe", "pods,jobs,reactortokens"))
	}
	return string(output)
}

// install packs the chart and installs it, and waits until the operator is ready. There is no service network here, so the operator is
// told where the Kubernetes API is. It returns the packed chart.
func (w *world) install() string {
	w.t.Helper()
	api, err := url.Parse(cluster.ControlPlane.Config.Host)
	if err != nil {
		w.t.Fatal(err)
	}
	registry, image, _ := strings.Cut(managerImage, "/")
	repository, tag, _ := strings.Cut(image, ":")
	values := fmt.Sprintf(`{
		"scope": "OwnNamespace",
		"crds": {"install": false},
		"image": {"registry": %q, "repository": %q, "tag": %q},
		"reactor": {"apiURL": %q},
		"logging": {"level": "debug"},
		"extraEnv": [{"name": "KUBERNETES_SERVICE_HOST", "value": %q}, {"name": "KUBERNETES_SERVICE_PORT", "value": %q}],
		"tests": {"apiKeySecretRef": {"name": %q}}
	}`, registry, repository, tag, w.url, api.Hostname(), api.Port(), keySecret)
	file := filepath.Join(w.t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		w.t.Fatal(err)
	}
	folder := w.t.TempDir()
	w.helm("package", chart, "--version=1.2.3", "--destination", folder)
	packed := filepath.Join(folder, operatorName+"-1.2.3.tgz")
	w.helm("install", operatorName, packed, "--values", file, "--wait", "--timeout=3m")
	return packed
}

// leader waits until one pod of the operator is left, and leads, and returns its name.
func (w *world) leader() string {
	w.t.Helper()
	name := ""
	w.eventually("one pod of the operator that leads", func() error {
		pods, lease := &corev1.PodList{}, &coordinationv1.Lease{}
		if err := cluster.kube.List(w.t.Context(), pods, client.InNamespace(w.namespace), client.MatchingLabels{"app.kubernetes.io/component": "manager"}); err != nil {
			return err
		}
		if err := w.get("reactor-operator.reactor.inc", lease); err != nil {
			return err
		}
		if len(pods.Items) != 1 || lease.Spec.HolderIdentity == nil || !strings.HasPrefix(*lease.Spec.HolderIdentity, pods.Items[0].Name+"_") {
			return fmt.Errorf("there are %d pods, and the lease is %+v", len(pods.Items), lease.Spec)
		}
		name = pods.Items[0].Name
		return nil
	})
	return name
}

func TestAReleaseOfTheChartIsTestedUpgradedRolledBackAndUninstalledWithASessionRunning(t *testing.T) {
	t.Parallel()
	w := newReleaseWorld(t)
	packed := w.install()

	w.helm("test", operatorName, "--timeout=3m")
	if w.reactor.Ledger().Mints() == 0 {
		t.Error("helm test succeeds without a token")
	}

	w.kubectl("apply", "-f", filepath.Join(repository, "config", "samples", "reactortoken-minimal.yaml"))
	w.kubectl("wait", "--for=condition=Ready", "reactortoken/web", "--timeout=1m")
	w.session("night", nil)
	w.waitForSession("night", v1alpha1.ReasonRunning)
	w.eventually("the Reactor session", w.open(1))

	mints, before := w.reactor.Ledger().Mints(), w.leader()
	w.helm("upgrade", operatorName, packed, "--reuse-values", "--set", "concurrency=4", "--wait", "--timeout=3m")
	upgraded := w.leader()
	w.helm("rollback", operatorName, "1", "--wait", "--timeout=3m")
	if rolledBack := w.leader(); upgraded == before || rolledBack == upgraded {
		t.Errorf("the operator was in pod %s, after the upgrade in %s, after the rollback in %s", before, upgraded, rolledBack)
	}
	if got := w.reactor.Ledger(); got.Mints() != mints || len(got.Sessions) != 1 || len(got.Open()) != 1 {
		t.Errorf("after an upgrade and a rollback, %d tokens are minted instead of %d, and of %d Reactor sessions %d are open",
			got.Mints(), mints, len(got.Sessions), len(got.Open()))
	}

	w.helm("uninstall", operatorName, "--wait", "--timeout=3m")
	w.wantEnd(w.waitForSession("night", v1alpha1.ReasonSuspended), v1alpha1.ClassStopped, "Suspended", v1alpha1.CleanupAlreadyOver)
	if err := w.get(operatorName, &appsv1.Deployment{}); err == nil {
		t.Error("the operator is still there")
	}
	token, secret := &v1alpha1.ReactorToken{}, &corev1.Secret{}
	if err := w.get("web", token); err != nil {
		t.Error("the token is gone:", err)
	}
	if err := w.get("web", secret); err != nil {
		t.Error("the token's Secret is gone:", err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	if err := cluster.kube.Delete(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	w.waitUntilGone(namespace)
}
