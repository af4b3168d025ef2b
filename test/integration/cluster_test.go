package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/reactor-operator/reactor-operator/test/infra/controlplane"
)

// admin returns the client that may do everything. It reads from the API server, never from a cache.
func admin(t *testing.T) client.WithWatch {
	t.Helper()
	admin, err := adminOnce()
	if err != nil {
		t.Fatal(err)
	}
	return admin
}

var adminOnce = sync.OnceValues(func() (client.WithWatch, error) {
	return controlplane.NewClient(plane.config)
})

// newNamespace makes a namespace for the test, with these labels, and returns its name.
func newNamespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels}}
	if err := admin(t).Create(t.Context(), namespace); err != nil {
		t.Fatal("create a namespace for the test:", err)
	}
	return namespace.Name
}

// ensureNamespace makes a namespace that manifests name.
func ensureNamespace(t *testing.T, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := admin(t).Create(t.Context(), namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("create the namespace %s: %v", name, err)
	}
}

// kubectl runs the kubectl that belongs to the control plane, and returns what it printed and whether it succeeded.
func kubectl(t *testing.T, stdin string, args ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	var out, errs bytes.Buffer
	command := exec.CommandContext(t.Context(), plane.kubectl, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+plane.kubeconfig, "KUBECACHEDIR="+filepath.Dir(plane.kubeconfig))
	command.Stdin = strings.NewReader(stdin)
	command.Stdout, command.Stderr = &out, &errs
	err := command.Run()
	if err != nil && errs.Len() == 0 {
		t.Fatalf("run kubectl %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), err == nil
}

// mustKubectl runs kubectl, which must succeed, and returns what it printed.
func mustKubectl(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, ok := kubectl(t, "", args...)
	if !ok {
		t.Fatalf("kubectl %s: %s", strings.Join(args, " "), stderr)
	}
	return stdout
}

// decode reads the objects of a YAML stream.
func decode(t *testing.T, stream string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq(stream, "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), object); err != nil {
			t.Fatalf("decode: %v\n%s", err, document)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
	return objects
}
