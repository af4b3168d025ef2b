package chart

import (
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// Argo CD renders a chart with helm template and reads the annotations of Helm. There is no Argo CD here: these tests hold the chart to what
// its documentation says of them (https://argo-cd.readthedocs.io/en/stable/user-guide/helm/#helm-hooks).

const (
	hookAnnotation   = "helm.sh/hook"
	policyAnnotation = "helm.sh/hook-delete-policy"
)

// readHooks are those that mean the same with Argo CD (pre-delete, from 3.3 on), or that it leaves out (test). It would run a pre-install or a
// pre-upgrade hook at each sync.
var readHooks = []string{"pre-delete", "test"}

func TestArgoCDUnderstandsTheHooksOfEachRelease(t *testing.T) {
	for name := range releases {
		t.Run(name, func(t *testing.T) {
			for _, object := range decode(t, render(t, name)) {
				annotations := object.GetAnnotations()
				for key := range annotations { // with one hook of its own, Argo CD ignores all of Helm's
					if strings.HasPrefix(key, "argocd.argoproj.io/") {
						t.Errorf("%s %s has the annotation %s", object.GetKind(), object.GetName(), key)
					}
				}
				hook, isHook := annotations[hookAnnotation]
				if !isHook {
					continue
				}
				if !slices.Contains(readHooks, hook) {
					t.Errorf("%s %s is a hook %s", object.GetKind(), object.GetName(), hook)
				}
				// A hook that is there already is not run again without it.
				if !strings.Contains(annotations[policyAnnotation], "before-hook-creation") {
					t.Errorf("%s %s is not made anew: %q", object.GetKind(), object.GetName(), annotations[policyAnnotation])
				}
			}
		})
	}
}

// Argo CD deletes an object with a hook's annotations after the phase in which it was made, and so before the drain runs.
func TestTheDrainNeedsNoObjectOfAnotherHook(t *testing.T) {
	for name := range releases {
		t.Run(name, func(t *testing.T) {
			objects := decode(t, render(t, name))
			job := drainOf(t, objects)
			if job == nil {
				return
			}
			account := job.Spec.Template.Spec.ServiceAccountName
			expect.Only(t, installed(objects), "ServiceAccount", account)
			bound := slices.ContainsFunc(installed(objects), func(object *unstructured.Unstructured) bool {
				subjects, _, _ := unstructured.NestedSlice(object.Object, "subjects")
				return strings.HasSuffix(object.GetName(), "-sessions") && slices.ContainsFunc(subjects, func(subject any) bool {
					fields, _ := subject.(map[string]any)
					return fields["name"] == account
				})
			})
			if !bound {
				t.Errorf("nothing gives the service account %s the rights on sessions", account)
			}
		})
	}
}

// drainOf is the Job of a release; nil without one.
func drainOf(t *testing.T, objects []*unstructured.Unstructured) *batchv1.Job {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() == "Job" {
			job := &batchv1.Job{}
			expect.Convert(t, object, job)
			return job
		}
	}
	return nil
}

func TestArgoCDKeepsTheKindsAsHelmDoes(t *testing.T) {
	for name, want := range map[string]string{"cluster": "keep", "everything": ""} { // crds.keep
		for _, object := range decode(t, render(t, name)) {
			if object.GetKind() == "CustomResourceDefinition" && object.GetAnnotations()["helm.sh/resource-policy"] != want {
				t.Errorf("%s: %s has the annotations %v", name, object.GetName(), object.GetAnnotations())
			}
		}
	}
}

// As README.md says for an Argo CD that does not run the drain.
func TestTheDrainCanBeRunByHand(t *testing.T) {
	for _, name := range []string{"cluster", "everything"} {
		t.Run(name, func(t *testing.T) {
			ensureNamespace(t, releases[name])
			stream := mustHelm(t, append([]string{"template", "--show-only", "templates/drain.yaml"}, told(name)...)...)
			objects := decode(t, stream)
			if len(objects) != 1 {
				t.Fatalf("it is not one object: %s", stream)
			}
			expect.Only(t, objects, "Job", operatorName+"-drain")
			kubectl(t, stream, "create", "--dry-run=server", "--filename=-")
		})
	}
}
