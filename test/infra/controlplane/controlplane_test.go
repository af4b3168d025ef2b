package controlplane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// crds is the folder of the operator's own CRDs, seen from this package.
const crds = "../../../config/crd/bases"

// shared is the control plane of the tests that do not stop theirs.
var shared *ControlPlane

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	if os.Getenv(abandon) != "" {
		startAndWait()
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	shared, err = Start(context.Background(), Options{CRDPaths: []string{crds}, Scheduler: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the control plane:", err)
		return 1
	}
	code := m.Run()
	if err := shared.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the control plane:", err)
		return 1
	}
	return code
}

// eventually waits for what the controllers do in their own time.
func eventually(t *testing.T, what string, done func(context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, done); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// makeNamespace makes a namespace, and waits for the service account that pods in it need.
func makeNamespace(t *testing.T, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := shared.client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the default service account of "+name, func(ctx context.Context) (bool, error) {
		_, err := shared.client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
}

func makeConfigMap(t *testing.T, namespace, name string, owners ...metav1.OwnerReference) *corev1.ConfigMap {
	t.Helper()
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: owners}}
	made, err := shared.client.CoreV1().ConfigMaps(namespace).Create(t.Context(), configMap, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestWhatHasAnOwnerGoesWithIt(t *testing.T) {
	makeNamespace(t, "garbage")
	owner := makeConfigMap(t, "garbage", "owner")
	reference := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}
	makeConfigMap(t, "garbage", "owned", reference)
	configMaps := shared.client.CoreV1().ConfigMaps("garbage")
	if err := configMaps.Delete(t.Context(), "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the owned ConfigMap to go", func(ctx context.Context) (bool, error) {
		_, err := configMaps.Get(ctx, "owned", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

func TestANamespaceGoesWithWhatIsInIt(t *testing.T) {
	makeNamespace(t, "leaving")
	makeConfigMap(t, "leaving", "passenger")
	namespaces := shared.client.CoreV1().Namespaces()
	if err := namespaces.Delete(t.Context(), "leaving", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace to go", func(ctx context.Context) (bool, error) {
		_, err := namespaces.Get(ctx, "leaving", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

func TestAServiceAccountIsWhoItIs(t *testing.T) {
	makeNamespace(t, "identity")
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "operator"}}
	if _, err := shared.client.CoreV1().ServiceAccounts("identity").Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	direct, err := shared.ServiceAccountConfig(t.Context(), "identity", "operator")
	if err != nil {
		t.Fatal(err)
	}
	content, err := KubeconfigFor(direct)
	if err != nil {
		t.Fatal(err)
	}
	read, err := clientcmd.RESTConfigFromKubeConfig(content)
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]*kubernetes.Clientset{
		"by its configuration": kubernetes.NewForConfigOrDie(direct),
		"by its kubeconfig":    kubernetes.NewForConfigOrDie(read),
	} {
		t.Run(name, func(t *testing.T) {
			review, err := config.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := review.Status.UserInfo.Username, "system:serviceaccount:identity:operator"; got != want {
				t.Errorf("user %q, want %q", got, want)
			}
			if _, err := config.CoreV1().Secrets("identity").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
				t.Errorf("an account without rights lists Secrets: error %v, want that it is forbidden", err)
			}
		})
	}
}

func TestNobodyGetsAServiceAccountThatIsNotThere(t *testing.T) {
	config, err := shared.ServiceAccountConfig(t.Context(), "default", "nobody")
	if config != nil || !apierrors.IsNotFound(err) {
		t.Errorf("error %v, want that it is not found", err)
	}
}

func TestTheSchedulerFindsThatThereIsNoNode(t *testing.T) {
	makeNamespace(t, "homeless")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "pod"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.org/image"}}},
	}
	pods := shared.client.CoreV1().Pods("homeless")
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the scheduler to look at the pod", func(ctx context.Context) (bool, error) {
		seen, err := pods.Get(ctx, "pod", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, condition := range seen.Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Reason == corev1.PodReasonUnschedulable {
				return true, nil
			}
		}
		return false, nil
	})
}

func TestKubectlIsTheAdministratorAndKnowsTheCRDs(t *testing.T) {
	out, err := shared.Kubectl(t.Context(), "auth", "can-i", "*", "*")
	if err != nil || strings.TrimSpace(out) != "yes" {
		t.Errorf("may it do all: %q, %v", out, err)
	}
	if out, err := shared.Kubectl(t.Context(), "get", "reactortokens", "--all-namespaces", "-o", "name"); err != nil || out != "" {
		t.Errorf("tokens: %q, %v, want none", out, err)
	}
	_, err = shared.Kubectl(t.Context(), "get", "configmap", "missing")
	if err == nil || !strings.Contains(err.Error(), `configmaps "missing" not found`) {
		t.Errorf("error %v, want what kubectl says", err)
	}
}

func TestItIsHealthy(t *testing.T) {
	if err := shared.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMissingBinariesAreExplained(t *testing.T) {
	tests := map[string]struct{ binDir, environment, want string }{
		"nothing is set":             {want: "KUBEBUILDER_ASSETS is not set. Run this through `make test`"},
		"the environment is empty":   {environment: t.TempDir(), want: "`make cluster-binaries` prints a folder that has them all"},
		"the option comes first":     {binDir: "/does/not/exist", environment: shared.BinDir, want: "/does/not/exist/etcd"},
		"a folder lacks the manager": {binDir: folderWith(t, "etcd", "kube-apiserver", "kubectl"), want: "kube-controller-manager: no such file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBEBUILDER_ASSETS", test.environment)
			_, err := Start(t.Context(), Options{BinDir: test.binDir})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func folderWith(t *testing.T, names ...string) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestOneFolderHoldsOneControlPlane(t *testing.T) {
	_, err := Start(t.Context(), Options{BinDir: shared.BinDir, Dir: shared.Dir})
	if err == nil || !strings.Contains(err.Error(), "belongs to another control plane") {
		t.Errorf("error %v, want a refusal", err)
	}
	if err := shared.Healthy(t.Context()); err != nil {
		t.Errorf("the refused start has hurt the first: %v", err)
	}
}
