package chart

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
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
	"cluster-monitored":    {components: []string{"prometheus"}},
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
			configPod := operator(t, decode(t, kustomize(t, name))).Spec.Template.Spec
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

func TestTheOperatorAndItsDrainUnderstandTheArgumentsOfEachRelease(t *testing.T) {
	for name := range releases {
		t.Run(name, func(t *testing.T) {
			objects := decode(t, render(t, name))
			for _, object := range objects {
				switch object.GetKind() {
				case "Deployment":
					deployment := appsv1.Deployment{}
					expect.Convert(t, object, &deployment)
					switch deployment.Spec.Template.Labels["app.kubernetes.io/component"] {
					case "token-server":
						tokenServerSettings(t, &deployment.Spec.Template.Spec)
					case "emulator": // it is the emulator's own: see the test of its pod
					default:
						settings(t, &deployment.Spec.Template.Spec)
					}
				case "Job":
					job := batchv1.Job{}
					expect.Convert(t, object, &job)
					checkDrain(t, &job.Spec)
				}
			}
		})
	}
}

// checkDrain holds the arguments of the drain against its command, and its time against the Job's.
func checkDrain(t *testing.T, job *batchv1.JobSpec) {
	t.Helper()
	args := arguments(&job.Template.Spec)
	if args[0] != "drain" {
		t.Fatalf("the Job runs %q", args)
	}
	var help bytes.Buffer
	drain, err := config.ParseDrain(args[1:], &help)
	if err != nil {
		t.Fatal("the drain refuses its arguments:", err)
	}
	const rest = 30 * time.Second // in which it lets go of what has not ended
	if deadline := time.Duration(*job.ActiveDeadlineSeconds) * time.Second; deadline < drain.Timeout+rest {
		t.Errorf("the drain has %s and as much as %s after it, and the Job ends after %s", drain.Timeout, rest, deadline)
	}
}

func TestTheChartBringsTheMonitoringOfConfig(t *testing.T) {
	want, got := decode(t, kustomize(t, "cluster-monitored")), decode(t, render(t, "cluster-monitored"))
	// The chart tells its release from others.
	selector := []string{"spec", "selector", "matchLabels", "app.kubernetes.io/instance"}
	unstructured.RemoveNestedField(expect.Only(t, got, "ServiceMonitor", operatorName).Object, selector...)
	for _, object := range []struct{ kind, name, part string }{
		{"ServiceMonitor", operatorName, "spec"},
		{"PrometheusRule", operatorName, "spec"},
		{"ConfigMap", operatorName + "-dashboard", "data"},
	} {
		if diff := cmp.Diff(expect.Only(t, want, object.kind, object.name).Object[object.part], expect.Only(t, got, object.kind, object.name).Object[object.part]); diff != "" {
			t.Errorf("the %s differs (-config +chart):\n%s", object.kind, diff)
		}
	}
}

func TestTheChartBringsTheNetworkPoliciesOfConfig(t *testing.T) {
	want := decode(t, kubectl(t, "", "kustomize", overlay(t, systemNamespace, []string{"token-server", "network-policy"})))
	got := decode(t, mustHelm(t, append([]string{"template", "--set", "networkPolicy.enabled=true", "--set", "tokenServer.enabled=true,tokenServer.apiKeySecretRef.name=reactor-api-key",
		"--set", "tokenServer.models={reactor/helios},tokenServer.serviceAccounts.names={studio/web}"}, told("cluster")...)...))
	for _, name := range []string{operatorName, operatorName + "-token-server"} {
		// The chart tells its release from others.
		selector := []string{"spec", "podSelector", "matchLabels", "app.kubernetes.io/instance"}
		unstructured.RemoveNestedField(expect.Only(t, got, "NetworkPolicy", name).Object, selector...)
		diff := cmp.Diff(expect.Only(t, want, "NetworkPolicy", name).Object["spec"], expect.Only(t, got, "NetworkPolicy", name).Object["spec"])
		if diff != "" {
			t.Errorf("the policies %s differ (-config +chart):\n%s", name, diff)
		}
	}
	// A policy that selected both would shut the route, or let the one go where only the other has to.
	checkSelections(t, want, operatorName, tokenServerName)
}

// checkSelections fails unless each policy selects the pods of the Deployment of its name, and no others.
func checkSelections(t *testing.T, objects []*unstructured.Unstructured, names ...string) {
	t.Helper()
	for _, deploymentName := range names {
		deployment := appsv1.Deployment{}
		expect.Convert(t, expect.Only(t, objects, "Deployment", deploymentName), &deployment)
		for _, name := range names {
			policy := networkingv1.NetworkPolicy{}
			expect.Convert(t, expect.Only(t, objects, "NetworkPolicy", name), &policy)
			selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
			if err != nil {
				t.Fatal(err)
			}
			if selects := selector.Matches(labels.Set(deployment.Spec.Template.Labels)); selects != (name == deploymentName) {
				t.Errorf("the policy %s selects the pods of %s: %v", name, deploymentName, selects)
			}
		}
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
				expect.Convert(t, object, &role)
				for _, rule := range role.Rules {
					if !cmp.Equal(rule.APIGroups, []string{"reactor.inc"}) {
						t.Errorf("the ClusterRole %s is about more than the kinds: %v", role.Name, rule)
					}
				}
			}
		})
	}
}

// forEachKustomization compares what the chart installs with what config/ does.
func forEachKustomization(t *testing.T, compare func(t *testing.T, chart, kustomization []*unstructured.Unstructured)) {
	t.Helper()
	for name := range kustomizations {
		t.Run(name, func(t *testing.T) {
			compare(t, installed(decode(t, render(t, name))), decode(t, kustomize(t, name)))
		})
	}
}

// kustomized are the kustomizations that were built before, by their names.
var kustomized = map[string]string{}

// kustomize returns what config/ installs for a release. It builds it once.
func kustomize(t *testing.T, name string) string {
	t.Helper()
	if kustomized[name] != "" {
		return kustomized[name]
	}
	kustomization := kustomizations[name]
	built := kubectl(t, "", "kustomize", overlay(t, releases[name], kustomization.components))
	for _, namespace := range kustomization.watched {
		built += "\n---\n" + kubectl(t, "", "kustomize", watchedNamespace(t, namespace, kustomization.parts))
	}
	kustomized[name] = built
	return built
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
			expect.Convert(t, object, &role)
			found[name] = role.Rules
			for label, value := range role.Labels {
				if strings.HasPrefix(label, "rbac.authorization.k8s.io/") {
					found[name+" "+label] = value
				}
			}
		case "RoleBinding", "ClusterRoleBinding":
			binding := rbacv1.ClusterRoleBinding{}
			expect.Convert(t, object, &binding)
			found[name] = append([]any{binding.RoleRef}, binding.Subjects)
		}
	}
	return found
}

// settings returns what the operator makes of its arguments.
func settings(t *testing.T, pod *corev1.PodSpec) config.Config {
	t.Helper()
	var help bytes.Buffer
	parsed, err := config.Parse(arguments(pod), &help)
	if err != nil {
		t.Fatal("the operator refuses its arguments:", err)
	}
	return parsed
}

// tokenServerSettings returns what the token server makes of its arguments.
func tokenServerSettings(t *testing.T, pod *corev1.PodSpec) config.TokenServer {
	t.Helper()
	parsed, err := config.ParseTokenServer(arguments(pod), io.Discard)
	if err != nil {
		t.Fatal("the token server refuses its arguments:", err)
	}
	return parsed
}

// The settings of a release are those of values.yaml, and these are the token server's own.
func TestTheTokenServerIsToldItsOwnDefaults(t *testing.T) {
	objects := decode(t, mustHelm(t, append([]string{"template", "--set", "tokenServer.enabled=true,tokenServer.apiKeySecretRef.name=reactor-api-key",
		"--set", "tokenServer.models={reactor/helios},tokenServer.allowAnonymous=true"}, told("cluster")...)...))
	deployment := appsv1.Deployment{}
	expect.Convert(t, expect.Only(t, objects, "Deployment", operatorName+"-token-server"), &deployment)
	got := tokenServerSettings(t, &deployment.Spec.Template.Spec)
	want, err := config.ParseTokenServer([]string{"--api-key-file=/var/run/secrets/reactor/api-key", "--models=reactor/helios", "--allow-anonymous"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("values.yaml and the flags have other defaults (-flags +chart):\n%s", diff)
	}
}

func TestTheChartStartsTheTokenServerAsConfigDoes(t *testing.T) {
	want, got := appsv1.Deployment{}, appsv1.Deployment{}
	expect.Convert(t, expect.Only(t, decode(t, kubectl(t, "", "kustomize", overlay(t, systemNamespace, []string{"token-server"}))), "Deployment", operatorName+"-token-server"), &want)
	expect.Convert(t, expect.Only(t, decode(t, mustHelm(t, append([]string{"template", "--set", "tokenServer.enabled=true,tokenServer.apiKeySecretRef.name=reactor-api-key",
		"--set", "tokenServer.models={reactor/helios},tokenServer.allowAnonymous=true"}, told("cluster")...)...)), "Deployment", operatorName+"-token-server"), &got)
	if _, err := config.ParseTokenServer(arguments(&want.Spec.Template.Spec), io.Discard); err == nil || !strings.Contains(err.Error(), "choose how callers authenticate") {
		t.Errorf("the component must leave it to its user who may ask: %v", err)
	}
	for _, deployment := range []*appsv1.Deployment{&want, &got} {
		pod := &deployment.Spec.Template.Spec
		pod.Containers[0].Args, pod.Containers[0].Image, pod.Containers[0].ImagePullPolicy = nil, "", ""
		// The chart tells its release from others.
		delete(pod.TopologySpreadConstraints[0].LabelSelector.MatchLabels, "app.kubernetes.io/instance")
	}
	if diff := cmp.Diff(want.Spec.Template.Spec, got.Spec.Template.Spec); diff != "" {
		t.Errorf("the pods differ (-config +chart):\n%s", diff)
	}
}

// arguments returns those of a pod's container, as kubelet writes them in the namespace studio.
func arguments(pod *corev1.PodSpec) []string {
	args := slices.Clone(pod.Containers[0].Args)
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, "$(POD_NAMESPACE)", "studio")
	}
	return args
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
