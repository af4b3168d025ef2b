package integration

import (
	"crypto/sha256"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// createForeign creates a Secret as somebody else would, and returns it as the API server stores it.
func (w *world) createForeign(name string, edits ...func(*corev1.Secret)) *corev1.Secret {
	w.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.namespace, Name: name,
		Labels: map[string]string{"theirs": "x"}, Annotations: map[string]string{"theirs": "x"},
	}}
	secret.Data = map[string][]byte{"theirs": []byte("x"), "jwt": []byte("not a token")}
	for _, change := range edits {
		change(secret)
	}
	if err := w.kube.Create(w.t.Context(), secret); err != nil {
		w.t.Fatal(err)
	}
	return w.secret(name)
}

// checkUntouched objects to a Secret in which anything has changed.
func (w *world) checkUntouched(before *corev1.Secret) {
	w.t.Helper()
	if diff := cmp.Diff(printable(before), printable(w.secret(before.Name))); diff != "" {
		w.t.Errorf("Secret %s was touched (-before +after):\n%s", before.Name, diff)
	}
}

// printable returns a copy of a Secret with hashes for its data, which may hold a token that no test may print.
func printable(secret *corev1.Secret) *corev1.Secret {
	secret = secret.DeepCopy()
	for key, value := range secret.Data {
		sum := sha256.Sum256(value)
		secret.Data[key] = sum[:]
	}
	return secret
}

func TestASecretThatAppearsBeforeTheFirstWriteIsNotOverwritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	write := w.api.stopNext(t, writeOf(http.MethodPost, "secrets"))
	w.create("web")
	write.waitUntilReached("the first write of the Secret")
	theirs := w.createForeign("web")
	write.goOn(letPass)
	w.waitForCondition("web", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotOwned)
	w.settle(o)
	w.checkUntouched(theirs)

	// The token that was minted for it is still good when the Secret goes.
	w.deleteObject(theirs)
	w.waitUntilReady("web")
	w.settle(o)
	if mints := w.mints(); mints != 1 {
		t.Errorf("%d mints", mints)
	}
}

func TestASecretThatChangesBeforeARenewalKeepsTheChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	w.create("web")
	old := w.waitUntilReady("web")
	write := w.api.stopNext(t, writeOf(http.MethodPatch, "secrets"))
	w.requestRenewal("web", "now")
	write.waitUntilReached("the write of the renewed token")
	w.editSecret("web", func(secret *corev1.Secret) { secret.Data["theirs"] = []byte("x") })
	write.goOn(letPass)
	renewed := w.waitForAnother("web", idOf(old))
	w.settle(o)
	if string(renewed.Data["theirs"]) != "x" {
		t.Error("what somebody else wrote meanwhile is gone")
	}
	if mints := w.mints(); mints != 2 {
		t.Errorf("%d mints, want the first and the renewal", mints)
	}
}

func TestASecretThatIsReplacedBeforeARenewalIsNotOverwritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	w.create("web")
	old := w.waitUntilReady("web")
	write := w.api.stopNext(t, writeOf(http.MethodPatch, "secrets"))
	w.requestRenewal("web", "now")
	write.waitUntilReached("the write of the renewed token")
	w.deleteObject(old)
	theirs := w.createForeign("web")
	write.goOn(letPass)
	w.waitForCondition("web", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotOwned)
	w.settle(o)
	w.checkUntouched(theirs)
}

func TestASecretThatIsDeletedBeforeARenewalIsWrittenAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	w.create("web")
	old := w.waitUntilReady("web")
	write := w.api.stopNext(t, writeOf(http.MethodPatch, "secrets"))
	w.requestRenewal("web", "now")
	write.waitUntilReached("the write of the renewed token")
	w.deleteObject(old)
	write.goOn(letPass)
	w.waitForAnother("web", idOf(old))
	w.settle(o)
	if mints := w.mints(); mints != 2 {
		t.Errorf("%d mints, want the first and the renewal", mints)
	}
}

func TestASecretThatIsOnItsWayOutIsWrittenAnewOnceItIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	w.create("web")
	old := w.waitUntilReady("web")
	const finalizer = "example.com/backup"
	w.editSecret("web", func(secret *corev1.Secret) { secret.Finalizers = []string{finalizer} })
	w.deleteObject(old)
	w.waitForCondition("web", v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretTerminating)
	w.settle(o)
	if mints := w.mints(); mints != 1 {
		t.Errorf("%d mints while the Secret is on its way out", mints)
	}
	w.editSecret("web", func(secret *corev1.Secret) { secret.Finalizers = nil })
	if anew := w.waitForAnother("web", idOf(old)); anew.UID == old.UID {
		t.Error("the Secret is the old one")
	}
	w.settle(o)
	if mints := w.mints(); mints != 2 {
		t.Errorf("%d mints", mints)
	}
}

// The operator's caches leave Secrets of Helm out, so that it learns of this one only when it comes to write.
func TestASecretOfHelmWithTheTargetsNameIsNotOverwritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	theirs := w.createForeign("web", consent("web"), func(secret *corev1.Secret) { secret.Type = "helm.sh/release.v1" })
	w.create("web")
	w.waitForCondition("web", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretUnusable)
	w.settle(o)
	w.checkUntouched(theirs)
	if mints := w.mints(); mints != 1 {
		t.Errorf("%d mints", mints)
	}
}
