package alerts

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

const (
	// systemNamespace is where config/default puts the operator.
	systemNamespace = "reactor-operator-system"
	studio          = "studio"
	keySecret       = "reactor-api-key"
)

// world is a control plane with config/default, a Reactor, and programs of the operator with the permissions of its service account.
type world struct {
	*testing.T
	plane   *controlplane.ControlPlane
	kube    client.WithWatch
	reactor *emulator.Emulator
	url     string // of the emulator
	key     string
	manager string
	account string // kubeconfig of the operator's service account
	folder  string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	log.SetLogger(logr.Discard())
	w := &world{T: t, key: newKey(), folder: t.TempDir()}
	manager, err := process.BuildManager(t.Context(), w.folder)
	if err != nil {
		t.Fatal(err)
	}
	w.manager = manager
	plane, err := controlplane.Start(t.Context(), controlplane.Options{CRDPaths: []string{repository + "/config/crd/bases"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	w.plane = plane
	if w.kube, err = controlplane.NewClient(plane.Config); err != nil {
		t.Fatal(err)
	}
	w.reactor = emulator.New(emulator.Options{Keys: []string{w.key}})
	served := httptest.NewServer(w.reactor)
	t.Cleanup(served.Close)
	w.url = served.URL
	if _, err := plane.Kubectl(t.Context(), "apply", "--server-side", "-k", repository+"/config/default"); err != nil {
		t.Fatal(err)
	}
	w.account = filepath.Join(w.folder, "kubeconfig")
	config, err := plane.ServiceAccountConfig(t.Context(), systemNamespace, "reactor-operator")
	if err != nil {
		t.Fatal(err)
	}
	if err := controlplane.WriteKubeconfig(w.account, config); err != nil {
		t.Fatal(err)
	}
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: studio}})
	return w
}

// newKey makes an API key.
func newKey() string { return "rk_" + strings.ToLower(rand.Text()+rand.Text()) }

// scraper makes a service account that may read the metrics, and returns a token of it.
func (w *world) scraper() string {
	w.Helper()
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "monitoring"}})
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "prometheus"}})
	w.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "prometheus"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reactor-operator-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "monitoring", Name: "prometheus"}},
	})
	config, err := w.plane.ServiceAccountConfig(w.Context(), "monitoring", "prometheus")
	if err != nil {
		w.Fatal(err)
	}
	return config.BearerToken
}

// replica starts a program of the operator that serves its metrics there, and waits until its caches are filled.
func (w *world) replica(name, metrics string) *process.Process {
	w.Helper()
	probes, err := process.FreeAddress()
	if err != nil {
		w.Fatal(err)
	}
	replica, err := process.Start(name, filepath.Join(w.folder, name+".log"), []string{"KUBECONFIG=" + w.account, "HOME=" + w.folder}, w.manager,
		"--api-url="+w.url, "--leader-election-namespace="+systemNamespace, "--metrics-bind-address="+metrics, "--health-probe-bind-address="+probes)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		replica.Stop()
		if w.Failed() && !strings.Contains(replica.Tail(40), w.key) {
			w.Logf("%s said:\n%s", name, replica.Tail(40))
		}
	})
	expect.Eventually(w.T, name+" to be ready", func() error {
		if err := replica.Failure(); err != nil {
			return err
		}
		response, err := http.Get("http://" + probes + "/readyz")
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
	return replica
}

func (w *world) create(object client.Object) {
	w.Helper()
	if err := w.kube.Create(w.Context(), object); err != nil {
		w.Fatalf("create %T %s: %v", object, object.GetName(), err)
	}
}

// putKey writes an API key into a Secret of studio.
func (w *world) putKey(secret, key string) {
	w.Helper()
	object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: studio, Name: secret}}
	if err := client.IgnoreNotFound(w.kube.Delete(w.Context(), object)); err != nil {
		w.Fatal(err)
	}
	object.ResourceVersion, object.StringData = "", map[string]string{v1alpha1.DefaultAPIKeyKey: key}
	w.create(object)
}

// token creates a ReactorToken with the shortest life that there is, and waits until it is issued.
func (w *world) token(name string) *v1alpha1.ReactorToken {
	w.Helper()
	token := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: studio, Name: name}}
	token.Spec.APIKeySecretRef.Name, token.Spec.Lifetime = keySecret, "1m"
	w.create(token)
	expect.Eventually(w.T, "the token "+name, func() error {
		if err := w.kube.Get(w.Context(), client.ObjectKeyFromObject(token), token); err != nil {
			return err
		}
		if token.Status.ExpirationTime == nil {
			return fmt.Errorf("status %+v", token.Status.Conditions)
		}
		return nil
	})
	return token
}

// expiration is when a token expires, by what status says now.
func (w *world) expiration(token *v1alpha1.ReactorToken) time.Time {
	w.Helper()
	if err := w.kube.Get(w.Context(), client.ObjectKeyFromObject(token), token); err != nil {
		w.Fatal(err)
	}
	return token.Status.ExpirationTime.Time
}

// renew asks for a new token now.
func (w *world) renew(name, request string) {
	w.Helper()
	w.patch(&v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: studio, Name: name}},
		fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.RenewRequestedAtAnnotation, request))
}

func (w *world) patch(object client.Object, change string) {
	w.Helper()
	if err := w.kube.Patch(w.Context(), object, client.RawPatch("application/merge-patch+json", []byte(change))); err != nil {
		w.Fatal(err)
	}
}

// session creates a ReactorSession that uses the API key in this Secret.
func (w *world) session(name, secret string) *v1alpha1.ReactorSession {
	w.Helper()
	session := &v1alpha1.ReactorSession{ObjectMeta: metav1.ObjectMeta{Namespace: studio, Name: name}}
	session.Spec.Model, session.Spec.APIKeySecretRef.Name = "reactor/helios", secret
	session.Spec.Credentials.Delivery = v1alpha1.DeliveryAPIKeyEnv
	session.Spec.Template.Spec.Containers = []corev1.Container{{Name: "stream", Image: "example.com/stream:1"}}
	w.create(session)
	return session
}

// runs does what a kubelet does with the pod of a session. There is no node here.
func (w *world) runs(session string) {
	w.Helper()
	w.setPod(session, corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: minuteAgo()}})
}

// ends lets its program end, which never reported its session ID.
func (w *world) ends(session string) {
	w.Helper()
	w.setPod(session, corev1.PodSucceeded, corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{StartedAt: minuteAgo(), FinishedAt: metav1.Now()},
	})
}

func minuteAgo() metav1.Time { return metav1.NewTime(time.Now().Add(-time.Minute)) }

// setPod writes the status of the pod of a session, when it exists.
func (w *world) setPod(session string, phase corev1.PodPhase, state corev1.ContainerState) {
	w.Helper()
	pod := &corev1.Pod{}
	expect.Eventually(w.T, "the pod of "+session, func() error {
		pods := &corev1.PodList{}
		if err := w.kube.List(w.Context(), pods, client.InNamespace(studio)); err != nil {
			return err
		}
		for _, found := range pods.Items {
			if strings.HasPrefix(found.Name, session) {
				pod = &found
				return nil
			}
		}
		return errors.New("there is none")
	})
	pod.Status.Phase = phase
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "stream", State: state}}
	if err := w.kube.Status().Update(w.Context(), pod); err != nil {
		w.Fatal(err)
	}
}
