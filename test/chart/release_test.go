package chart

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// releases are those that are rendered: values in testdata/<name>.values.yaml, the result in testdata/<name>.golden.yaml.
var releases = map[string]string{ // to the namespace
	"cluster":              systemNamespace,
	"cluster-allowed":      systemNamespace,
	"cluster-tokens-only":  systemNamespace,
	"cluster-monitored":    systemNamespace,
	"namespaces":           systemNamespace,
	"own-namespace":        "studio",
	"own-namespace-tokens": "studio",
	"token-server":         systemNamespace,
	"trial":                systemNamespace,
	"everything":           systemNamespace,
	"least":                systemNamespace,
}

// told is what Helm is told about a release.
func told(name string) []string {
	return []string{operatorName, chart, "--namespace", releases[name],
		"--values", filepath.Join("testdata", "checkout.yaml"), "--values", filepath.Join("testdata", name+".values.yaml")}
}

// rendered are the releases that were rendered before, by their names.
var rendered = map[string]string{}

// render returns what Helm would install, hooks and tests included. It does so once for a release.
func render(t *testing.T, name string) string {
	t.Helper()
	if rendered[name] == "" {
		rendered[name] = renderAnew(t, name)
	}
	return rendered[name]
}

func renderAnew(t *testing.T, name string) string {
	t.Helper()
	return mustHelm(t, append([]string{"template"}, told(name)...)...)
}

// decode reads the objects of a YAML stream.
func decode(t *testing.T, stream string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for _, document := range split(stream) {
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

func split(stream string) []string {
	return strings.Split("\n"+stream, "\n---\n")
}

// installed leaves hooks and tests out.
func installed(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(object *unstructured.Unstructured) bool {
		return object.GetAnnotations()["helm.sh/hook"] != ""
	})
}

// operator returns the Deployment of the operator.
func operator(t *testing.T, objects []*unstructured.Unstructured) *appsv1.Deployment {
	t.Helper()
	deployment := &appsv1.Deployment{}
	expect.Convert(t, expect.Only(t, objects, "Deployment", operatorName), deployment)
	if count := len(deployment.Spec.Template.Spec.Containers); count != 1 {
		t.Fatalf("the operator must have one container, and has %d", count)
	}
	return deployment
}
