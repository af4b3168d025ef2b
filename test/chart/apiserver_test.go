package chart

import (
	"strings"
	"testing"
)

// The warnings are those of Pod Security and of fields that the API server does not know.
func TestTheAPIServerTakesEachReleaseWithoutAWarning(t *testing.T) {
	kubectl(t, "", "apply", "--server-side", "--force-conflicts", "--filename", manifests+"/crd/bases")
	for _, namespace := range []string{systemNamespace, "studio", "media"} {
		ensureNamespace(t, namespace)
	}
	for name, namespace := range releases {
		t.Run(name, func(t *testing.T) {
			// Helm gives a namespace to those objects that name none; there must be none.
			stream := render(t, name)
			kubectl(t, stream, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "--filename=-")
			for _, object := range decode(t, stream) {
				if isNamespaced(object.GetKind()) != (object.GetNamespace() != "") {
					t.Errorf("%s %s: its namespace is %q, in a release of %s", object.GetKind(), object.GetName(), object.GetNamespace(), namespace)
				}
			}
		})
	}
}

func isNamespaced(kind string) bool {
	return kind != "CustomResourceDefinition" && !strings.HasPrefix(kind, "Cluster")
}

// ensureNamespace makes a namespace in which Pod Security warns of all that is not restricted.
func ensureNamespace(t *testing.T, name string) {
	t.Helper()
	kubectl(t, `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "`+name+`", "labels": {"pod-security.kubernetes.io/warn": "restricted"}}}`,
		"apply", "--server-side", "--filename=-")
}
