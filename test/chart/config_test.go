package chart

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reactor-operator/reactor-operator/internal/config"
)

// kustomizations are what config/ has for the same installations.
var kustomizations = map[string]struct {
	components []string
	watched    []string // namespaces that give a Role
	parts      []string // of config/watched-namespace, in each of them
}{
	"cluster":              {},
	"cluster-allowed":      {components: []string{"restart", "prompt-delivery"}},
	"cluster-tokens-only":  {components: []string{"tokens-only"}},
	"namespaces":           {components: []string{"namespace-list"}, watched: []string{"studio", "media"}, parts: []string{".", "restart"}},
	"own-namespace":        {components: []string{"namespaced"}},
	"own-namespace-tokens": {components: []string{"tokens-only", "prompt-delivery", "namespaced"}},
}

func TestTheChartInstallsTheKindsOfConfig(t *testing.T) {
	forEachKustomization(t, func(t *testing.T, chart, kustomization []*unstructured.Unstructured) {
		t.Helper()
		if diff := cmp.Diff(kindsOf(kustomization), kindsOf(chart)); diff != "" {
			t.Errorf("the kinds differ (-config +chart):\n%s", diff)
		}
	})
}

func TestTheChartGivesTheRulesOfConfig(t *testing.T) {
	forEachKustomization(t, func(t *testing.T, chart, kustomization []*unstructured.Unstructured) {
		t.Helper()
		want := rights(t, kustomization)
		if len(want) < 4 {
			t.Errorf("config/ has no more rights than these: %v", want)
		}
		if diff := cmp.Diff(want, rights(t, chart)); diff != "" {
			t.Errorf("the roles and bindings differ (-config +chart):\n%s", diff)
		}
	})
}

func TestTheChartStartsTheOperatorAsConfigDoes(t *testing.T) {
	for name, kustomization := range kustomizations {
		t.Run(name, func(t *testing.T) {
			chartPod := operator(t, decode(t, render(t, name))).Spec.Template.Spec
			configPod := operator(t, decode(t, kubectl(t, "", "kustomize", overlay(t, releases[name], kustomization.components)))).Spec.Template.Spec
			want, got := settings(t, &configPod), settings(t, &chartPod)
			if len(kustomization.watched) > 0 { // the user of config/ adds these arguments
				want.Namespaces, want.AllowRestart = kustomization.watched, true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the operator is told something else (-config +chart):\n%s", diff)
			}
			for _, pod := range []*corev1.PodSpec{&chartPod, &configPod} {
				pod.Containers[0].Args, pod.Containers[0].ImagePullPolicy = nil, ""
			}
			if diff := cmp.Diff(configPod, chartPod); diff != "" {
				t.Errorf("the pods differ (-config +chart):\n%s", diff)
			}
		})
	}
}

func TestNoClusterRoleOfANamespacedReleaseMentionsSecrets(t *testing.T) {
	for _, name := range []string{"namespaces", "own-namespace", "own-namespace-tokens"} {
		t.Run(name, func(t *testing.T) {
			for _, object := range decode(t, render(t, name)) {
				if object.GetKind() == "ClusterRoleBinding" {
					t.Errorf("there is a ClusterRoleBinding %s", object.GetName())
				}
				if object.GetKind() != "ClusterRole" {
					continue
				}
				role := rbacv1.ClusterRole{}
				convert(t, object, &role)
				for _, rule := range role.Rules {
					if !cmp.Equal(rule.APIGroups, []string{"reactor.inc"}) {
						t.Errorf("the ClusterRole %s is about more than the kinds: %v", role.Name, rule)
					}
				}
			}
		})
	}
}

func forEachKustomization(t *testing.T, compare func(t *testing.T, chart, kustomization []*unstructured.Unstructured)) {
	t.Helper()
	for name, kustomization := range kustomizations {
		t.Run(name, func(t *testing.T) {
			built := decode(t, kubectl(t, "", "kustomize", overlay(t, releases[name], kustomization.components)))
			for _, namespace := range kustomization.watched {
				built = append(built, decode(t, kubectl(t, "", "kustomize", watchedNamespace(t, namespace, kustomization.parts)))...)
			}
			compare(t, installed(decode(t, render(t, name))), built)
		})
	}
}

// kindsOf returns the specs of the CustomResourceDefinitions.
func kindsOf(objects []*unstructured.Unstructured) map[string]any {
	found := map[string]any{}
	for _, object := range objects {
		if object.GetKind() == "CustomResourceDefinition" {
			found[object.GetName()] = object.Object["spec"]
		}
	}
	return found
}

// rights returns the rules of each role, and whom each binding gives what.
func rights(t *testing.T, objects []*unstructured.Unstructured) map[string]any {
	t.Helper()
	found := map[string]any{}
	for _, object := range objects {
		name := fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
		switch object.GetKind() {
		case "Role", "ClusterRole":
			role := rbacv1.ClusterRole{}
			convert(t, object, &role)
			found[name] = role.Rules
			for label, value := range role.Labels {
				if strings.HasPrefix(label, "rbac.authorization.k8s.io/") {
					found[name+" "+label] = value
				}
			}
		case "RoleBinding", "ClusterRoleBinding":
			binding := rbacv1.ClusterRoleBinding{}
			convert(t, object, &binding)
			found[name] = append([]any{binding.RoleRef}, binding.Subjects)
		}
	}
	return found
}

// settings returns what the operator makes of its arguments.
func settings(t *testing.T, pod *corev1.PodSpec) config.Config {
	t.Helper()
	args := make([]string, 0, len(pod.Containers[0].Args))
	for _, arg := range pod.Containers[0].Args {
		args = append(args, strings.ReplaceAll(arg, "$(POD_NAMESPACE)", "studio"))
	}
	var help bytes.Buffer
	parsed, err := config.Parse(args, &help)
	if err != nil {
		t.Fatal("the operator refuses its arguments:", err)
	}
	return parsed
}

// overlay writes a kustomization, as a user would, that puts config/default with these components into a namespace.
func overlay(t *testing.T, namespace string, components []string) string {
	t.Helper()
	return kustomization(t, namespace, []string{"default"}, components)
}

// watchedNamespace does so with these parts of config/watched-namespace.
func watchedNamespace(t *testing.T, namespace string, parts []string) string {
	t.Helper()
	resources := make([]string, 0, len(parts))
	for _, part := range parts {
		resources = append(resources, filepath.Join("watched-namespace", part))
	}
	return kustomization(t, namespace, resources, nil)
}

func kustomization(t *testing.T, namespace string, resources, components []string) string {
	t.Helper()
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(manifests)
	if err != nil {
		t.Fatal(err)
	}
	from, err := filepath.Rel(folder, root) // kustomize takes no absolute paths
	if err != nil {
		t.Fatal(err)
	}
	text := "namespace: " + namespace + "\nresources:\n"
	for _, resource := range resources {
		text += fmt.Sprintf("- %s/%s\n", from, resource)
	}
	text += "components:\n"
	for _, component := range components {
		text += fmt.Sprintf("- %s/components/%s\n", from, component)
	}
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}
