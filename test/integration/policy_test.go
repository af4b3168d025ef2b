package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// admissionRule is what one of the sample policies refuses, and what it admits.
type admissionRule struct {
	name, accepted, refused, says string
}

func tokenPolicyManifest(name, fields string) string {
	return fmt.Sprintf(`{apiVersion: reactor.inc/v1alpha1, kind: ReactorToken, metadata: {name: %s}, spec: {%s}}`, name, fields)
}

const (
	allowedKey = "apiKeySecretRef: {name: " + keySecret + "}"
	scoped     = "scope: {models: [reactor/helios]}"
	bounded    = "maxDuration: 30m"
)

var admissionRules = []admissionRule{
	{
		"a token with a key of the namespace",
		tokenPolicyManifest("key", allowedKey+", lifetime: 1h, "+scoped),
		tokenPolicyManifest("key-bad", "apiKeySecretRef: {name: other}, lifetime: 1h, "+scoped), "may not use the Secret other as its API key",
	},
	{
		"a session with a key of the namespace", sessionWith("key", bounded),
		sessionWith("key-bad", bounded+"\napiKeySecretRef: {name: other}"), "may not use the Secret other as its API key",
	},
	{
		"a token within the ceiling",
		tokenPolicyManifest("life", allowedKey+", lifetime: 59m59s, "+scoped),
		tokenPolicyManifest("life-bad", allowedKey+", lifetime: 60m1s, "+scoped), "spec.lifetime (60m1s) is longer than this cluster allows. Set spec.lifetime to 1h or less.",
	},
	{
		"a token that says its lifetime",
		tokenPolicyManifest("life-said", allowedKey+", lifetime: 60m, "+scoped),
		tokenPolicyManifest("life-unsaid", allowedKey+", "+scoped), "spec.lifetime (default: 6h) is longer",
	},
	{
		"a token with a scope",
		tokenPolicyManifest("scope", allowedKey+", lifetime: 1h, "+scoped),
		tokenPolicyManifest("scope-bad", allowedKey+", lifetime: 1h"), "Set spec.scope.models to the models that it needs.",
	},
	{
		"a session with an end", sessionWith("end", bounded),
		sessionWith("endless", "suspend: false"), "Set spec.maxDuration to the longest time that it may run.",
	},
	{
		"a session with a token of its own", sessionWith("own", bounded+"\ncredentials: {delivery: TokenFile}"),
		sessionWith("key-env", bounded+"\ncredentials: {delivery: APIKeyEnv}"), "APIKeyEnv gives the API key to the program",
	},
}

// applyAdmissionPolicies applies the samples, their bindings limited to the world's namespace: other tests run in others.
func (w *world) applyAdmissionPolicies() {
	w.t.Helper()
	ensureNamespace(w.t, systemNamespace)
	for _, object := range render(w.t, "samples/admission-policy") {
		if object.GetKind() == "ValidatingAdmissionPolicyBinding" {
			labels := map[string]any{corev1.LabelMetadataName: w.namespace}
			if err := unstructured.SetNestedMap(object.Object, labels, "spec", "matchResources", "namespaceSelector", "matchLabels"); err != nil {
				w.t.Fatal(err)
			}
		}
		if err := w.kube.Create(w.t.Context(), object); err != nil {
			w.t.Fatalf("create the %s %s: %v", object.GetKind(), object.GetName(), err)
		}
		w.deleteAtEnd(object)
	}
}

func (w *world) waitUntilRefused(manifest, says string) {
	w.t.Helper()
	expect.Eventually(w.t, "the refusal "+says, func() error {
		_, said, ok := kubectl(w.t, manifest, "-n", w.namespace, "apply", "--dry-run=server", "-f", "-")
		if ok || !strings.Contains(said, says) {
			return fmt.Errorf("accepted %t; said %s", ok, said)
		}
		return nil
	})
}

func TestTheSamplePoliciesRefuseAndSayWhatToWrite(t *testing.T) {
	t.Parallel()
	w := sessionWorld(t)
	w.create("older") // unlimited, and with a key that the namespace may not use any more
	w.createSession("older", nil)
	w.applyAdmissionPolicies()
	w.waitUntilRefused(tokenPolicyManifest("none", allowedKey+", lifetime: 1h, "+scoped), "may not use the Secret "+keySecret)
	mustKubectl(t, "annotate", "namespace", w.namespace, "policy.reactor.inc/api-key-secrets=first, "+keySecret)
	for _, rule := range admissionRules {
		w.waitUntilRefused(rule.refused, rule.says)
	}
	for _, rule := range admissionRules {
		t.Run(rule.name, func(t *testing.T) {
			expect.Eventually(t, "the good one to be admitted", func() error {
				if _, said, ok := kubectl(t, rule.accepted, "-n", w.namespace, "apply", "--dry-run=server", "-f", "-"); !ok {
					return errors.New(said)
				}
				return nil
			})
		})
	}
	forged := fmt.Sprintf(`{apiVersion: reactor.inc/v1alpha1, kind: ReactorToken, metadata: {name: forged, ownerReferences: [
{apiVersion: reactor.inc/v1alpha1, kind: ReactorSession, name: own, uid: a, controller: true}]}, spec: {%s, %s}}`, allowedKey, scoped)
	w.waitUntilRefused(forged, "spec.lifetime (default: 6h) is longer")

	// What was there before can be suspended, but not made worse.
	mustKubectl(t, "-n", w.namespace, "patch", "reactorsession", "older", "--type=merge", "-p", `{"spec":{"suspend":true}}`)
	mustKubectl(t, "-n", w.namespace, "patch", "reactortoken", "older", "--type=merge", "-p", `{"spec":{"suspend":true}}`)
	_, said, ok := kubectl(t, "", "-n", w.namespace, "patch", "reactortoken", "older", "--type=merge", "-p", `{"spec":{"lifetime":"5h"}}`)
	if ok || !strings.Contains(said, "spec.lifetime (5h) is longer") {
		t.Errorf("accepted %t; said %s", ok, said)
	}

	// The operator makes the token of a session, which lives longer than a person's may.
	w.start()
	w.createSession("long", func(session *v1alpha1.ReactorSession) { session.Spec.MaxDuration = "5h" })
	pod := w.podOf("long", 1)
	child := &v1alpha1.ReactorToken{}
	if err := w.kube.Get(t.Context(), client.ObjectKeyFromObject(pod), child); err != nil {
		t.Fatal(err)
	}
	if owner := metav1.GetControllerOf(child); owner == nil || owner.Name != "long" || child.Spec.Lifetime == "1h" {
		t.Errorf("the token of the session is %+v, owned by %+v", child.Spec, owner)
	}
}

func TestTheNetworkPolicyIsForTheOperatorAndLetsItWork(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, nil)
	objects := decode(t, mustKubectl(t, "kustomize", overlay(t, namespace, "network-policy")))
	policy := networkingv1.NetworkPolicy{}
	expect.Convert(t, expect.Only(t, objects, "NetworkPolicy", operatorName), &policy)
	deployment := expect.Only(t, objects, "Deployment", operatorName)
	carried, _, _ := unstructured.NestedStringMap(deployment.Object, "spec", "template", "metadata", "labels")
	selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
	if err != nil || selector.Empty() || !selector.Matches(labels.Set(carried)) || policy.Namespace != deployment.GetNamespace() {
		t.Errorf("the policy is for the pods %q in %s: %v", selector, policy.Namespace, err)
	}
	var out []string
	for _, rule := range policy.Spec.Egress {
		for _, port := range rule.Ports {
			out = append(out, string(*port.Protocol)+" "+port.Port.String())
		}
	}
	if diff := cmp.Diff([]string{"UDP 53", "TCP 53", "TCP 443", "TCP 6443", "TCP 443"}, out); diff != "" {
		t.Errorf("what is let out differs (-want +got):\n%s", diff)
	}
	if len(policy.Spec.Ingress) != 1 || len(policy.Spec.Ingress[0].Ports) != 1 || policy.Spec.Ingress[0].Ports[0].Port.String() != "metrics" {
		t.Errorf("what is let in is %+v, want the port metrics alone", policy.Spec.Ingress)
	}
	if err := admin(t).Create(t.Context(), &policy); err != nil {
		t.Error("the API server does not take it:", err)
	}
}

func TestAnInstallationThatIsAppliedAgainDoesNotDiffer(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, nil)
	folder := overlay(t, namespace, "namespaced", "restart", "prompt-delivery", "network-policy")
	mustKubectl(t, "apply", "--kustomize", folder)
	for line := range strings.Lines(mustKubectl(t, "apply", "--kustomize", folder)) {
		if !strings.HasSuffix(strings.TrimSpace(line), " unchanged") {
			t.Errorf("the second time, kubectl said: %s", line)
		}
	}
	if difference, said, ok := kubectl(t, "", "diff", "--kustomize", folder); !ok || difference != "" {
		t.Errorf("kubectl diff: %s%s", difference, said)
	}
}
