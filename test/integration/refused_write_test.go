package integration

import (
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// refusal is what the policy of these tests says.
const refusal = "no Secret may be written in this namespace on Fridays"

func TestATokenWhoseFirstWriteIsRefusedIsKeptAndWrittenOnceThatIsAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	allow := w.refuseWritesOf("web")
	o := w.start()
	w.create("web")
	token := w.waitForRefusals("web", 2)
	for kind, status := range map[string]metav1.ConditionStatus{
		v1alpha1.ConditionReady: metav1.ConditionFalse, v1alpha1.ConditionRenewed: metav1.ConditionFalse,
	} {
		if err := checkCondition(token, kind, status, v1alpha1.ReasonSecretWriteRefused); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if message := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionReady).Message; !strings.Contains(message, refusal) {
		t.Errorf("the condition does not say why: %s", message)
	}
	w.waitForEvent(token.UID, v1alpha1.ReasonSecretWriteRefused)
	allow()
	w.waitUntilReady("web")
	w.settle(o)
	if mints := w.mints(); mints != 1 {
		t.Errorf("%d mints", mints)
	}
}

func TestARenewedTokenWhoseWriteIsRefusedLeavesTheOldOneInPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	w.create("web")
	old := w.waitUntilReady("web")
	allow := w.refuseWritesOf("web")
	w.requestRenewal("web", "now")
	token := w.waitForRefusals("web", 2)
	if err := checkCondition(token, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid); err != nil {
		t.Error("Ready:", err)
	}
	if err := checkCondition(token, v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused); err != nil {
		t.Error("Renewed:", err)
	}
	if now := w.secret("web"); now.ResourceVersion != old.ResourceVersion {
		t.Error("the Secret has changed")
	}
	allow()
	w.waitForAnother("web", idOf(old))
	w.settle(o)
	if mints := w.mints(); mints != 2 {
		t.Errorf("%d mints, want the first and the renewal", mints)
	}
}

// waitForRefusals waits until so many attempts to write the Secret were refused.
func (w *world) waitForRefusals(name string, count int32) *v1alpha1.ReactorToken {
	w.t.Helper()
	return w.waitFor(name, "refused writes", func(token *v1alpha1.ReactorToken) error {
		if token.Status.ConsecutiveFailures < count {
			return fmt.Errorf("%d attempts have failed", token.Status.ConsecutiveFailures)
		}
		return checkCondition(token, v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused)
	})
}

// refuseWritesOf has a ValidatingAdmissionPolicy refuse all writes of a Secret, and returns once it is in force. The returned
// function ends it.
func (w *world) refuseWritesOf(secret string) (allow func()) {
	w.t.Helper()
	name := w.namespace + "-" + secret
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	policy.Spec = admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionv1.MatchResources{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
			ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
				},
			}},
		},
		Validations: []admissionv1.Validation{{
			Expression: fmt.Sprintf("object.metadata.name != %q", secret), Message: refusal, Reason: new(metav1.StatusReasonForbidden),
		}},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	binding.Spec = admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
	}
	for _, object := range []client.Object{policy, binding} {
		if err := w.kube.Create(w.t.Context(), object); err != nil {
			w.t.Fatal(err)
		}
	}
	w.deleteAtEnd(policy, binding)
	try := func() error {
		object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: secret, Labels: map[string]string{"try": "x"}}}
		return w.kube.Create(w.t.Context(), object, client.DryRunAll)
	}
	expect.Eventually(w.t, "the policy to be in force", func() error {
		if err := try(); !apierrors.IsForbidden(err) {
			return fmt.Errorf("a write is not refused: %w", err)
		}
		return nil
	})
	return func() {
		w.t.Helper()
		w.deleteObject(binding)
		expect.Eventually(w.t, "the policy to be gone", func() error {
			if err := try(); apierrors.IsForbidden(err) {
				return err
			}
			return nil
		})
	}
}
