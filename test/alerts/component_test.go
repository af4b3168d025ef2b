package alerts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// built is what kustomize makes of config/default with the component prometheus, in a namespace of the user's choice.
func built(t *testing.T, namespace string) map[string]*unstructured.Unstructured {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set: run this through make test")
	}
	folder := t.TempDir()
	config, err := filepath.Abs(repository + "/config")
	if err != nil {
		t.Fatal(err)
	}
	config, err = filepath.Rel(folder, config)
	if err != nil {
		t.Fatal(err)
	}
	overlay := "resources: [" + config + "/default]\ncomponents: [" + config + "/components/prometheus]\n"
	if namespace != "" {
		overlay += "namespace: " + namespace + "\n"
	}
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), filepath.Join(assets, "kubectl"), "kustomize", folder).Output()
	if err != nil {
		t.Fatal("kubectl kustomize:", err)
	}
	objects := map[string]*unstructured.Unstructured{}
	for document := range strings.SplitSeq(string(output), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), object); err != nil {
			t.Fatal(err)
		}
		objects[object.GetKind()+"/"+object.GetName()] = object
	}
	return objects
}

func TestTheComponentBringsAllThatPrometheusAndGrafanaNeed(t *testing.T) {
	for name, namespace := range map[string]string{"where config/default puts the operator": "", "elsewhere": "platform"} {
		t.Run(name, func(t *testing.T) {
			objects := built(t, namespace)
			if namespace == "" {
				namespace = systemNamespace
			}
			for _, kind := range []string{"PrometheusRule/reactor-operator", "ServiceMonitor/reactor-operator", "ConfigMap/reactor-operator-dashboard"} {
				if object := objects[kind]; object == nil || object.GetNamespace() != namespace {
					t.Fatalf("%s is not in %s: %v", kind, namespace, object)
				}
			}
			checkMonitor(t, objects["ServiceMonitor/reactor-operator"], objects)
			board, _, _ := unstructured.NestedString(objects["ConfigMap/reactor-operator-dashboard"].Object, "data", "reactor-operator.json")
			content, err := os.ReadFile(dashboard)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(content), board); diff != "" {
				t.Errorf("the dashboard differs (-file +ConfigMap):\n%s", diff)
			}
		})
	}
}

// checkMonitor checks that a ServiceMonitor selects the Service of the metrics alone, and names a port of it.
func checkMonitor(t *testing.T, monitor *unstructured.Unstructured, objects map[string]*unstructured.Unstructured) {
	t.Helper()
	wanted, _, _ := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
	endpoints, _, _ := unstructured.NestedSlice(monitor.Object, "spec", "endpoints")
	if len(endpoints) != 1 || len(wanted) == 0 {
		t.Fatalf("%d endpoints, selector %v", len(endpoints), wanted)
	}
	endpoint, _ := endpoints[0].(map[string]any)
	if endpoint["honorLabels"] != true || endpoint["scheme"] != "https" {
		t.Errorf("the endpoint is %v", endpoint)
	}
	selected := 0
	for _, object := range objects {
		if object.GetKind() != "Service" || !labels.SelectorFromSet(wanted).Matches(labels.Set(object.GetLabels())) {
			continue
		}
		selected++
		service := &corev1.Service{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, service); err != nil {
			t.Fatal(err)
		}
		if service.Name != "reactor-operator-metrics" || service.Spec.Ports[0].Name != endpoint["port"] {
			t.Errorf("it selects Service %s with the ports %v", service.Name, service.Spec.Ports)
		}
	}
	if selected != 1 {
		t.Errorf("it selects %d Services", selected)
	}
}
