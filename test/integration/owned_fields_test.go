package integration

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// furnished asks for more in the Secret than a token.
func furnished(token *v1alpha1.ReactorToken) {
	token.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "web", "tier": "front"}
	token.Spec.Secret.Annotations = map[string]v1alpha1.AnnotationValue{"example.com/note": "hello", "example.com/contact": "us"}
	token.Spec.Secret.AdditionalKeys = []v1alpha1.AdditionalKey{
		{Name: "token.json", Format: v1alpha1.FormatJSON}, {Name: "authorization", Format: v1alpha1.FormatAuthorizationHeader},
	}
}

// stripped takes a part of that away.
func stripped(token *v1alpha1.ReactorToken) {
	delete(token.Spec.Secret.Labels, "tier")
	delete(token.Spec.Secret.Annotations, "example.com/note")
	token.Spec.Secret.AdditionalKeys = token.Spec.Secret.AdditionalKeys[1:]
}

// addTheirs writes into the Secret as somebody else would.
func addTheirs(secret *corev1.Secret) {
	secret.Data["theirs"] = []byte("x")
	secret.Labels["theirs"] = "x"
	secret.Annotations["theirs"] = "x"
}

// The history of the Secret decides who owns its fields: what a Create wrote is owned otherwise than what an apply wrote.
func TestWhatTheSpecNoLongerNamesLeavesTheSecret(t *testing.T) {
	t.Parallel()
	for name, history := range map[string]func(w *world, o *process) *process{
		"after the first write": func(_ *world, o *process) *process { return o },
		"after a renewal": func(w *world, o *process) *process {
			id := idOf(w.secret("web"))
			w.requestRenewal("web", "now")
			w.waitForAnother("web", id)
			return o
		},
		"together with a renewal": func(w *world, o *process) *process {
			w.edit("web", annotate(v1alpha1.RenewRequestedAtAnnotation, "later"))
			return o
		},
		"while the operator was away": func(w *world, o *process) *process {
			o.kill()
			w.edit("web", stripped)
			return w.start()
		},
		"when somebody else wrote our key too": func(w *world, o *process) *process {
			w.editSecret("web", func(s *corev1.Secret) { s.Labels["tier"] = "back" })
			expect.Eventually(w.t, "our label to be put right", func() error {
				if got := w.secret("web").Labels["tier"]; got != "front" {
					return fmt.Errorf("it is %s", got)
				}
				return nil
			})
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := w.start()
			w.create("web", furnished)
			w.waitUntilReady("web")
			w.editSecret("web", addTheirs)
			o = history(w, o)
			if name != "while the operator was away" {
				w.edit("web", stripped)
			}
			w.settle(o)
			secret := w.waitUntilReady("web")
			mints := w.mints()
			if diff := cmp.Diff([]string{"authorization", "expires_at", "jwt", "theirs"}, slices.Sorted(maps.Keys(secret.Data))); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			wantLabels := map[string]string{"app.kubernetes.io/managed-by": "reactor-operator", "team": "web", "theirs": "x"}
			if diff := cmp.Diff(wantLabels, secret.Labels); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
			for annotation, want := range map[string]bool{"example.com/note": false, "example.com/contact": true, "theirs": true} {
				if _, got := secret.Annotations[annotation]; got != want {
					t.Errorf("annotation %s is there: %t", annotation, got)
				}
			}
			w.settle(o)
			if w.mints() != mints {
				t.Error("the operator mints on and on")
			}
		})
	}
}

func TestAConditionOfSomebodyElseStaysAndOursGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	w.create("web", func(token *v1alpha1.ReactorToken) { token.Spec.APIKeySecretRef.Name = "later" })
	token := w.waitForCondition("web", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonAPIKeyNotFound)
	before := token.DeepCopy()
	meta.SetStatusCondition(&token.Status.Conditions, metav1.Condition{
		Type: "Audited", Status: metav1.ConditionTrue, Reason: "SeenByUs", Message: "it is fine",
	})
	if err := w.kube.Status().Patch(t.Context(), token, client.MergeFrom(before), client.FieldOwner("auditor")); err != nil {
		t.Fatal(err)
	}
	w.createKeySecret("later", w.key)
	w.waitUntilReady("web")
	w.settle(o)
	token = w.token("web")
	if meta.FindStatusCondition(token.Status.Conditions, "Audited") == nil {
		t.Error("the condition of somebody else is gone")
	}
	if meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionStalled) != nil {
		t.Error("Stalled is still there")
	}
	if token.Status.LastFailure != nil || token.Status.NextAttemptTime != nil || token.Status.ConsecutiveFailures != 0 {
		t.Error("a failure is still told of")
	}
}
