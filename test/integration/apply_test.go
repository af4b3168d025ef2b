package integration

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/config"
)

// samples and examples are the folders of what people copy. Each manifest in them must be accepted as it stands.
const (
	samples  = repository + "/config/samples"
	examples = repository + "/examples"
)

func TestApplyingASampleAgainChangesNothing(t *testing.T) {
	for way, flags := range map[string][]string{
		"by the client":     {},
		"by the API server": {"--server-side"},
	} {
		for _, sample := range append(sampleFiles(t), exampleFiles(t)...) {
			t.Run(filepath.Base(filepath.Dir(sample))+"/"+filepath.Base(sample)+" applied "+way, func(t *testing.T) {
				namespace := newNamespace(t, nil)
				apply := append([]string{"--namespace", namespace, "apply", "--filename", sample}, flags...)
				mustKubectl(t, apply...)
				before := versions(t, namespace, sample)
				mustKubectl(t, apply...)
				if diff := cmp.Diff(before, versions(t, namespace, sample)); diff != "" {
					t.Errorf("the second apply changed something (-before +after):\n%s", diff)
				}
			})
		}
	}
}

// The API server fills nothing into the spec, so that a tool which compares it with the manifest sees no difference.
func TestTheStoredSpecIsTheWrittenOne(t *testing.T) {
	for _, sample := range append(sampleFiles(t), exampleFiles(t)...) {
		for _, written := range objectsIn(t, sample) {
			if written.GroupVersionKind().Group != v1alpha1.SchemeGroupVersion.Group {
				continue
			}
			t.Run(filepath.Base(filepath.Dir(sample))+"/"+filepath.Base(sample), func(t *testing.T) {
				namespace := newNamespace(t, nil)
				mustKubectl(t, "--namespace", namespace, "apply", "--filename", sample)
				if diff := cmp.Diff(written.Object["spec"], stored(t, namespace, written).Object["spec"]); diff != "" {
					t.Errorf("the stored spec differs (-written +stored):\n%s", diff)
				}
			})
		}
	}
}

func TestTheSamplesPassPodSecurityRestricted(t *testing.T) {
	namespace := newNamespace(t, map[string]string{"pod-security.kubernetes.io/warn": "restricted"})
	_, warnings, ok := kubectl(t, "", "--namespace", namespace, "apply", "--kustomize", samples)
	if !ok || warnings != "" {
		t.Errorf("the samples must be accepted without a warning, but kubectl said: %s", warnings)
	}
}

func TestTheTokenServerOfTheExampleIsRestrictedAndUnderstandsItsArguments(t *testing.T) {
	namespace := newNamespace(t, map[string]string{"pod-security.kubernetes.io/warn": "restricted"})
	file := examples + "/web-sidecar/web.yaml"
	_, warnings, ok := kubectl(t, "", "--namespace", namespace, "apply", "--validate=strict", "--filename", file)
	if !ok || warnings != "" {
		t.Errorf("the example must be accepted without a warning, but kubectl said: %s", warnings)
	}
	deployment := &appsv1.Deployment{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(objectsIn(t, file)[0].Object, deployment); err != nil {
		t.Fatal(err)
	}
	settings, err := config.ParseTokenServer(deployment.Spec.Template.Spec.InitContainers[0].Args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(settings.Listen, "127.0.0.1:") || settings.AllowAnonymous || cmp.Diff([]string{"127.0.0.1/32"}, settings.ProxyNetworks) != "" {
		t.Errorf("somebody outside of the pod could reach it: %+v", settings)
	}
}

func TestTheKustomizationOfTheSamplesHasThemAll(t *testing.T) {
	count := 0
	for _, sample := range sampleFiles(t) {
		count += len(objectsIn(t, sample))
	}
	if built := len(decode(t, mustKubectl(t, "kustomize", samples))); built != count {
		t.Errorf("the kustomization has %d objects, the files have %d", built, count)
	}
}

// version is what an apply would move. The resource version of workloads is left out: their controllers write status.
type version struct {
	Generation      int64
	ResourceVersion string
}

func versions(t *testing.T, namespace, sample string) map[string]version {
	t.Helper()
	found := map[string]version{}
	for _, object := range objectsIn(t, sample) {
		live := stored(t, namespace, object)
		seen := version{live.GetGeneration(), live.GetResourceVersion()}
		if object.GetKind() == "Deployment" {
			seen.ResourceVersion = ""
		}
		found[object.GetKind()+" "+object.GetName()] = seen
	}
	return found
}

// stored reads the object as the API server has it.
func stored(t *testing.T, namespace string, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(object.GroupVersionKind())
	if err := admin(t).Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: object.GetName()}, live); err != nil {
		t.Fatal(err)
	}
	return live
}

func sampleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(samples + "/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifests := files[:0]
	for _, file := range files {
		if !strings.HasSuffix(file, "/kustomization.yaml") {
			manifests = append(manifests, file)
		}
	}
	if len(manifests) == 0 {
		t.Fatal("there are no samples in", samples)
	}
	return manifests
}

// exampleFiles are the manifests of the example programs.
func exampleFiles(t *testing.T) []string {
	t.Helper()
	return matching(t, examples+"/*/*.yaml")
}

// sessionFiles are all manifests of ReactorSessions that people copy.
func sessionFiles(t *testing.T) []string {
	t.Helper()
	return append(matching(t, samples+"/reactorsession-*.yaml"), matching(t, examples+"/*/reactorsession*.yaml")...)
}

func matching(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files match %s, %v", len(files), pattern, err)
	}
	return files
}

func objectsIn(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	stream, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, string(stream))
}
