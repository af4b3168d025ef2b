package integration

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func TestTheWebExamplesPassPodSecurityRestricted(t *testing.T) {
	for _, file := range matching(t, examples+"/web*/web.yaml") {
		namespace := newNamespace(t, map[string]string{"pod-security.kubernetes.io/warn": "restricted"})
		_, warnings, ok := kubectl(t, "", "--namespace", namespace, "apply", "--validate=strict", "--filename", file)
		if !ok || warnings != "" {
			t.Errorf("%s must be accepted without a warning, but kubectl said: %s", file, warnings)
		}
	}
}

func TestTheTokenServersOfTheExamplesUnderstandTheirArguments(t *testing.T) {
	beside := tokenServerOf(t, examples+"/web-sidecar/web.yaml")
	if !strings.HasPrefix(beside.Listen, "127.0.0.1:") || beside.AllowAnonymous || cmp.Diff([]string{"127.0.0.1/32"}, beside.ProxyNetworks) != "" {
		t.Errorf("somebody outside of the pod could reach it: %+v", beside)
	}
	alone := tokenServerOf(t, examples+"/web/web.yaml")
	if alone.SharedTokenDir == "" || alone.APIKeyFile != "" {
		t.Errorf("no API key is to be near it: %+v", alone)
	}
	for _, object := range objectsIn(t, examples+"/web/web.yaml") {
		if token := (&v1alpha1.ReactorToken{}); object.GetKind() == "ReactorToken" {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, token); err != nil {
				t.Fatal(err)
			}
			before, err := time.ParseDuration(string(token.Spec.RenewBefore))
			const delivery = 90 * time.Second // the longest that a renewed Secret takes to a pod
			if err != nil || before <= alone.MinRemainingLifetime+delivery {
				t.Errorf("there is no token for a while before each renewal: renewBefore is %s, --min-remaining-lifetime %s (%v)", before, alone.MinRemainingLifetime, err)
			}
		}
	}
}

// tokenServerOf returns what the token server of an example makes of its arguments.
func tokenServerOf(t *testing.T, file string) config.TokenServer {
	t.Helper()
	for _, object := range objectsIn(t, file) {
		if object.GetKind() != "Deployment" {
			continue
		}
		deployment := &appsv1.Deployment{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, deployment); err != nil {
			t.Fatal(err)
		}
		pod := deployment.Spec.Template.Spec
		for _, container := range append(pod.InitContainers, pod.Containers...) {
			if container.Name != "token-server" {
				continue
			}
			settings, err := config.ParseTokenServer(container.Args, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			return settings
		}
	}
	t.Fatal("there is no token server in", file)
	return config.TokenServer{}
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
