package integration

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// consent lets a ReactorToken write into a Secret.
func consent(token string) func(*corev1.Secret) {
	return func(secret *corev1.Secret) { secret.Annotations[v1alpha1.AllowAdoptionByAnnotation] = token }
}

func TestASecretThatIsNotOursIsNotTouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	for name, theirs := range map[string]*corev1.Secret{
		"foreign":               w.createForeign("foreign"),
		"allows-another":        w.createForeign("allows-another", consent("web")),
		"of-another-controller": w.createForeign("of-another-controller", w.controlled()),
		"looks-like-ours": w.createForeign("looks-like-ours", func(secret *corev1.Secret) {
			secret.Labels["app.kubernetes.io/managed-by"] = operatorName
			secret.Annotations[v1alpha1.TokenNameAnnotation] = "another"
		}),
	} {
		token := w.create(name)
		w.waitForCondition(name, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotOwned)
		w.waitForCondition(name, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSecretNotOwned)
		w.waitForEvent(token.UID, v1alpha1.ReasonSecretNotOwned)
		w.requestRenewal(name, "now")
		w.settle(o)
		w.checkUntouched(theirs)
	}
	if mints := w.mints(); mints != 0 {
		t.Errorf("%d mints for Secrets that cannot be written", mints)
	}
}

// controlled makes the Secret one of another controller, whose object exists: otherwise it would be collected.
func (w *world) controlled() func(*corev1.Secret) {
	w.t.Helper()
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "their-owner"}}
	if err := w.kube.Create(w.t.Context(), owner); err != nil {
		w.t.Fatal(err)
	}
	return func(secret *corev1.Secret) {
		secret.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID, Controller: new(true),
		}}
	}
}

func TestASecretThatCannotHoldATokenIsNotTouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	for name, theirs := range map[string]*corev1.Secret{
		"immutable": w.createForeign("immutable", consent("immutable"), func(secret *corev1.Secret) { secret.Immutable = new(true) }),
		"typed": w.createForeign("typed", consent("typed"), func(secret *corev1.Secret) {
			secret.Type = corev1.SecretTypeBasicAuth
			secret.Data["username"] = []byte("x")
		}),
	} {
		w.create(name)
		w.waitForCondition(name, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretUnusable)
		w.settle(o)
		w.checkUntouched(theirs)
	}
	if mints := w.mints(); mints != 0 {
		t.Errorf("%d mints for Secrets that cannot be written", mints)
	}
}

func TestAConsentingSecretIsAdoptedAndGivenBack(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]bool{"the operator sees the deletion": false, "the operator was away": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := w.start()
			theirs := w.createForeign("web", func(secret *corev1.Secret) { delete(secret.Data, "jwt") })
			token := w.create("web", furnished)
			w.waitForCondition("web", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotOwned)
			w.editSecret("web", consent("web"))
			adopted := w.waitUntilReady("web")
			w.waitForEvent(token.UID, "SecretAdopted")
			wantKeys := []string{"authorization", "expires_at", "jwt", "theirs", "token.json"}
			if diff := cmp.Diff(wantKeys, slices.Sorted(maps.Keys(adopted.Data))); diff != "" {
				t.Errorf("keys of the adopted Secret (-want +got):\n%s", diff)
			}
			if len(adopted.OwnerReferences) > 0 {
				t.Error("an adopted Secret has an owner, and would be collected")
			}
			w.requestRenewal("web", "now")
			w.waitForAnother("web", idOf(adopted))
			w.settle(o)
			if mints := w.mints(); mints != 2 {
				t.Errorf("%d mints, want the first and the renewal", mints)
			}

			if away {
				o.kill()
			}
			w.deleteObject(token)
			if away {
				o = w.start()
			}
			expect.Eventually(t, "our keys to leave the Secret", func() error {
				return differ("keys", []string{"theirs"}, slices.Sorted(maps.Keys(w.secret("web").Data)))
			})
			w.collectGarbage()
			w.settle(o)
			after := w.secret("web")
			want := maps.Clone(theirs.Annotations)
			want[v1alpha1.AllowAdoptionByAnnotation] = "web"
			if diff := cmp.Diff(want, after.Annotations); diff != "" {
				t.Errorf("annotations of the Secret that was given back (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(theirs.Labels, after.Labels); diff != "" {
				t.Errorf("labels of the Secret that was given back (-want +got):\n%s", diff)
			}
			if after.UID != theirs.UID || string(after.Data["theirs"]) != "x" {
				t.Error("what was theirs has changed")
			}
		})
	}
}

func TestAKeyOfTheirsThatWasOverwrittenByConsentIsRepairedLikeOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	w.createForeign("web", consent("web"))
	w.create("web")
	secret := w.waitUntilReady("web")
	w.editSecret("web", func(secret *corev1.Secret) { secret.Data["expires_at"] = []byte("0") })
	w.settle(o)
	if again := w.waitUntilReady("web"); idOf(again) != idOf(secret) || len(again.OwnerReferences) > 0 {
		t.Error("the repair changed the token or the owner")
	}
	if mints := w.mints(); mints != 1 {
		t.Errorf("%d mints", mints)
	}
}

func TestConsentThatIsWithdrawnJustBeforeAWriteIsRespected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	w.createForeign("web", consent("web"))
	w.create("web")
	w.waitUntilReady("web")
	write := w.api.stopNext(t, writeOf(http.MethodPatch, "secrets"))
	w.requestRenewal("web", "now")
	write.waitUntilReached("the write of the renewed token")
	w.editSecret("web", func(secret *corev1.Secret) { delete(secret.Annotations, v1alpha1.AllowAdoptionByAnnotation) })
	withdrawn := w.secret("web")
	write.goOn(letPass)
	w.waitForCondition("web", v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretNotOwned)
	w.settle(o)
	w.checkUntouched(withdrawn)
}
