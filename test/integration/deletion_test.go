package integration

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

func TestADeletedReactorTokenTakesItsSecretWithIt(t *testing.T) {
	t.Parallel()
	for name, propagation := range map[string]metav1.DeletionPropagation{
		"in the background": metav1.DeletePropagationBackground,
		"in the foreground": metav1.DeletePropagationForeground,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := w.start()
			token := w.create("web")
			secret := w.waitUntilReady("web")
			if err := w.kube.Delete(t.Context(), token, client.PropagationPolicy(propagation)); err != nil {
				t.Fatal(err)
			}
			w.waitUntilGone(secret)
			w.waitUntilGone(token)
			w.settle(o)
			if _, err := w.find("web"); client.IgnoreNotFound(err) != nil || err == nil {
				t.Errorf("the Secret has come back: %v", err)
			}
			if mints := w.mints(); mints != 1 {
				t.Errorf("%d mints", mints)
			}
		})
	}
}

func TestARetainedSecretStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	retain := func(token *v1alpha1.ReactorToken) { token.Spec.Secret.DeletionPolicy = v1alpha1.DeletionRetain }
	w.create("from-the-start", retain)
	w.waitUntilReady("from-the-start")
	w.create("later")
	w.waitUntilReady("later")
	w.edit("later", retain)
	expect.Eventually(t, "the Secret to lose its owner", func() error {
		if owners := w.secret("later").OwnerReferences; len(owners) > 0 {
			return fmt.Errorf("it has %d", len(owners))
		}
		return nil
	})
	for _, name := range []string{"from-the-start", "later"} {
		token := w.token(name)
		w.deleteObject(token)
		w.waitUntilGone(token)
	}
	w.collectGarbage()
	w.settle(o)
	for _, name := range []string{"from-the-start", "later"} {
		if err := w.checkSecret(w.secret(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	// A ReactorToken of the same name finds its token again.
	w.create("later", retain)
	w.waitUntilReady("later")
	w.settle(o)
	if mints := w.mints(); mints != 2 {
		t.Errorf("%d mints for two tokens", mints)
	}
}

// collectGarbage returns once the garbage collector has done all that was asked of it before.
func (w *world) collectGarbage() {
	w.t.Helper()
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, GenerateName: "owner-"}}
	if err := w.kube.Create(w.t.Context(), owner); err != nil {
		w.t.Fatal(err)
	}
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, GenerateName: "owned-"}}
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}}
	if err := w.kube.Create(w.t.Context(), owned); err != nil {
		w.t.Fatal(err)
	}
	w.deleteObject(owner)
	w.waitUntilGone(owned)
}

func TestAReactorTokenThatIsCreatedAnewAtOnceGetsASecretOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	token := w.create("web")
	old := w.waitUntilReady("web")
	w.deleteObject(token)
	again := w.create("web")
	secret := w.waitForAnother("web", idOf(old))
	if owner := metav1.GetControllerOf(secret); owner == nil || owner.UID != again.UID {
		t.Errorf("the Secret's owner is %v, and not the new ReactorToken", owner)
	}
	w.collectGarbage()
	w.settle(o)
	if now := w.secret("web"); now.UID != secret.UID {
		t.Error("the Secret was collected with the old ReactorToken")
	}
	if mints := w.mints(); mints != 2 {
		t.Errorf("%d mints for two ReactorTokens", mints)
	}
}

func TestANamespaceWithTokensGoesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reactor.SetLifetimes(0, 20*time.Second)
	w.start()
	for i := range 5 {
		name := fmt.Sprintf("web-%d", i)
		w.create(name, func(token *v1alpha1.ReactorToken) { token.Spec.RenewBefore = "15s" })
		w.waitUntilReady(name)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	w.deleteObject(namespace)
	w.waitUntilGone(namespace)
}
