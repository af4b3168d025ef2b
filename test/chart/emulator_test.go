package chart

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

const emulatorName = operatorName + "-emulator"

// trialOfChart and trialOfConfig are the same installation with the emulator.
func trialOfChart(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	return decode(t, mustHelm(t, append([]string{"template", "--set", "developmentEmulator.enabled=true,networkPolicy.enabled=true",
		"--set", "tokenServer.enabled=true,tokenServer.apiKeySecretRef.name=reactor-api-key,tokenServer.models={reactor/helios},tokenServer.serviceAccounts.names={studio/web}"},
		told("cluster")...)...))
}

func trialOfConfig(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	return decode(t, kubectl(t, "", "kustomize", overlay(t, systemNamespace, []string{"token-server", "network-policy", "emulator"})))
}

// The programs of sessions run in all namespaces. They get the URL that the operator has (REACTOR_API_URL).
func TestTheOperatorOfATrialUsesTheEmulatorByAURLThatWorksInAllNamespaces(t *testing.T) {
	service := corev1.Service{}
	objects := trialOfChart(t)
	expect.Convert(t, expect.Only(t, objects, "Service", emulatorName), &service)
	if port := service.Spec.Ports[0].Port; port != 8080 {
		t.Errorf("the port of the Service is %d", port)
	}
	const want = "http://" + emulatorName + "." + systemNamespace + ".svc:8080"
	if got := settings(t, &operator(t, objects).Spec.Template.Spec).APIURL; got != want {
		t.Errorf("the operator of the chart uses %s, want %s", got, want)
	}
	drain := drainOf(t, objects)
	if drain == nil || !slices.Contains(drain.Spec.Template.Spec.Containers[0].Args, "--api-url="+want) {
		t.Errorf("the drain uses another API, or there is none: %v", drain)
	}
	tokenServer := appsv1.Deployment{}
	expect.Convert(t, expect.Only(t, objects, "Deployment", tokenServerName), &tokenServer)
	if got := tokenServerSettings(t, &tokenServer.Spec.Template.Spec).APIURL; got != want {
		t.Errorf("the token server of the chart uses %s, want %s", got, want)
	}

	objects = trialOfConfig(t)
	pod := operator(t, objects).Spec.Template.Spec
	env := pod.Containers[0].Env
	if len(env) != 1 || env[0].Name != "POD_NAMESPACE" || env[0].ValueFrom == nil || env[0].ValueFrom.FieldRef.FieldPath != "metadata.namespace" {
		t.Errorf("the operator of config/ has the environment %v, and $(POD_NAMESPACE) is not its namespace", env)
	}
	// arguments puts studio in the place of the variable.
	if got := settings(t, &pod).APIURL; got != strings.Replace(want, systemNamespace, "studio", 1) {
		t.Errorf("the operator of config/ uses %s", got)
	}
	expect.Convert(t, expect.Only(t, objects, "Deployment", tokenServerName), &tokenServer)
	if args := tokenServer.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--api-url=http://"+emulatorName+":8080") {
		t.Errorf("the token server of config/ uses another API: %v", args)
	}
}

func TestTheEmulatorKnowsTheDemoKeyOnlyAndIsNotControlledFromOtherPods(t *testing.T) {
	deployment := appsv1.Deployment{}
	expect.Convert(t, expect.Only(t, trialOfChart(t), "Deployment", emulatorName), &deployment)
	container := deployment.Spec.Template.Spec.Containers[0]
	want := []string{"--listen=:8080", "--control-listen=127.0.0.1:8090", "--key=rk_demo-key-of-the-emulator"}
	if diff := cmp.Diff(want, container.Args); diff != "" || len(container.Env) > 0 {
		t.Errorf("it is told something else, or has an environment %v (-want +got):\n%s", container.Env, diff)
	}
}

func TestTheChartRunsTheEmulatorAsConfigDoes(t *testing.T) {
	want, got := trialOfConfig(t), trialOfChart(t)
	for _, object := range []struct{ kind, name, part string }{
		{"Deployment", emulatorName, "spec"},
		{"Service", emulatorName, "spec"},
		{"ServiceAccount", emulatorName, "automountServiceAccountToken"},
		{"NetworkPolicy", emulatorName, "spec"},
		{"NetworkPolicy", operatorName, "spec"},
		{"NetworkPolicy", tokenServerName, "spec"},
	} {
		chart, config := expect.Only(t, got, object.kind, object.name).Object[object.part], expect.Only(t, want, object.kind, object.name).Object[object.part]
		// The chart tells its release from others, and has a policy of its own for pulling images.
		if diff := cmp.Diff(config, withoutKeys(chart, "app.kubernetes.io/instance", "imagePullPolicy")); diff != "" || chart == nil {
			t.Errorf("the %s %s differs (-config +chart):\n%s", object.kind, object.name, diff)
		}
	}
	checkSelections(t, want, operatorName, tokenServerName, emulatorName)
}

// withoutKeys returns a value without these keys, wherever they are.
func withoutKeys(value any, keys ...string) any {
	switch value := value.(type) {
	case map[string]any:
		rest := map[string]any{}
		for key, inside := range value {
			if !slices.Contains(keys, key) {
				rest[key] = withoutKeys(inside, keys...)
			}
		}
		return rest
	case []any:
		rest := make([]any, 0, len(value))
		for _, inside := range value {
			rest = append(rest, withoutKeys(inside, keys...))
		}
		return rest
	default:
		return value
	}
}

func TestWithoutATrialThereIsNoEmulator(t *testing.T) {
	for name := range releases {
		for _, object := range decode(t, render(t, name)) {
			if isEmulator := object.GetLabels()["app.kubernetes.io/component"] == "emulator"; isEmulator && name != "trial" {
				t.Errorf("the release %s has a %s %s", name, object.GetKind(), object.GetName())
			}
		}
	}
}

// The person who installs it must read that first.
func TestTheNotesOfATrialSayFirstThatItIsOne(t *testing.T) {
	if got := strings.TrimSpace(notes(t, "trial")); !strings.HasPrefix(got, "FOR TRIALS ONLY. DO NOT USE THIS RELEASE IN PRODUCTION") {
		t.Errorf("they say:\n%s", got)
	}
	if got := notes(t, "cluster"); strings.Contains(got, "emulator") {
		t.Errorf("without the emulator, they say:\n%s", got)
	}
}

// A chart that make chart packed at a commit without a tag.
func TestTheNotesOfAVersionThatIsNotReleasedSayThatTheImageMustBePushed(t *testing.T) {
	for version, want := range map[string]bool{"v1.2.3": false, "v1.2.3-rc.1": false, "v1.2.3-4-g0123abc": true, "0123abc": true, "v1.2.3-4-g0123abc-dirty": true} {
		folder := t.TempDir()
		mustHelm(t, "package", chart, "--version=1.2.3", "--app-version="+version, "--destination", folder)
		for set, want := range map[string]bool{"replicas=1": want, "image.tag=dev": false} {
			told := mustHelm(t, "install", operatorName, folder+"/"+operatorName+"-1.2.3.tgz", "--dry-run=client", "--namespace", systemNamespace, "--set", set)
			if got := strings.Contains(told, "Version "+version+" of this chart is not a release"); got != want {
				t.Errorf("version %s, %s: the notes say so: %v", version, set, got)
			}
		}
	}
}

func TestTheAPIServerTakesTheTrialWithoutAWarning(t *testing.T) {
	kubectl(t, "", "apply", "--server-side", "--force-conflicts", "--filename", manifests+"/crd/bases")
	stream := kubectl(t, "", "kustomize", manifests+"/try")
	objects := decode(t, stream)
	expect.Only(t, objects, "Namespace", "reactor-try")
	ensureNamespace(t, "reactor-try") // which a dry run does not make
	kubectl(t, stream, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "--filename=-")
	for _, object := range objects {
		if label := object.GetLabels()["app.kubernetes.io/part-of"]; label != "reactor-try" {
			t.Errorf("%s %s has the label %q, and is not found by it", object.GetKind(), object.GetName(), label)
		}
		if namespace := object.GetNamespace(); isNamespaced(object.GetKind()) && object.GetKind() != "Namespace" && namespace != "reactor-try" {
			t.Errorf("%s %s is in the namespace %s", object.GetKind(), object.GetName(), namespace)
		}
	}
}

// The parts of config/try name each other.
func TestTheViewerOfTheTrialMountsTheTokenAndGetsItPromptly(t *testing.T) {
	objects := decode(t, kubectl(t, "", "kustomize", manifests+"/try"))
	key, token, viewer := corev1.Secret{}, v1alpha1.ReactorToken{}, appsv1.Deployment{}
	expect.Convert(t, expect.Only(t, objects, "Secret", "reactor-api-key"), &key)
	expect.Convert(t, expect.Only(t, objects, "ReactorToken", "web"), &token)
	expect.Convert(t, expect.Only(t, objects, "Deployment", "viewer"), &viewer)
	if key.StringData["api-key"] != "rk_demo-key-of-the-emulator" || token.Spec.APIKeySecretRef.Name != key.Name {
		t.Errorf("the token is for the key of the Secret %s, which is %v", token.Spec.APIKeySecretRef.Name, key.StringData)
	}
	pod := viewer.Spec.Template
	if volume := pod.Spec.Volumes[0]; volume.Secret == nil || volume.Secret.SecretName != token.Name {
		t.Errorf("the viewer mounts %+v", volume)
	}
	mount := pod.Spec.Containers[0].VolumeMounts[0]
	if args := pod.Spec.Containers[0].Args; mount.SubPath != "" || !cmp.Equal(args, []string{"watch-token", "--file=" + mount.MountPath + "/jwt"}) {
		t.Errorf("the viewer mounts at %s, by the path %q, and runs %v", mount.MountPath, mount.SubPath, args)
	}
	for label, value := range token.Spec.PromptDelivery.PodSelector.MatchLabels {
		if pod.Labels[label] != value {
			t.Errorf("prompt delivery selects pods with %s=%s, and the viewer has %s", label, value, pod.Labels[label])
		}
	}
}
