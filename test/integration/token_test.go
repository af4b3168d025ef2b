package integration

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// edit is a change of a ReactorToken.
type edit func(*v1alpha1.ReactorToken)

// build returns a ReactorToken that uses the world's API key.
func (w *world) build(name string, edits ...edit) *v1alpha1.ReactorToken {
	token := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	token.Spec.APIKeySecretRef.Name = keySecret
	for _, change := range edits {
		change(token)
	}
	return token
}

// create creates a ReactorToken.
func (w *world) create(name string, edits ...edit) *v1alpha1.ReactorToken {
	w.t.Helper()
	token := w.build(name, edits...)
	if err := w.kube.Create(w.t.Context(), token); err != nil {
		w.t.Fatal(err)
	}
	return token
}

// token reads a ReactorToken.
func (w *world) token(name string) *v1alpha1.ReactorToken {
	w.t.Helper()
	token := &v1alpha1.ReactorToken{}
	if err := w.kube.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, token); err != nil {
		w.t.Fatal(err)
	}
	return token
}

// edit changes a ReactorToken as a person would who edits it: its status is left alone.
func (w *world) edit(name string, change edit) {
	w.t.Helper()
	token := w.token(name)
	before := token.DeepCopy()
	change(token)
	if err := w.kube.Patch(w.t.Context(), token, client.MergeFrom(before)); err != nil {
		w.t.Fatal(err)
	}
}

// editSecret changes a Secret.
func (w *world) editSecret(name string, change func(*corev1.Secret)) {
	w.t.Helper()
	secret := w.secret(name)
	before := secret.DeepCopy()
	change(secret)
	if err := w.kube.Patch(w.t.Context(), secret, client.MergeFrom(before)); err != nil {
		w.t.Fatal(err)
	}
}

// deleteObject deletes an object and does not wait until it is gone.
func (w *world) deleteObject(object client.Object) {
	w.t.Helper()
	if err := w.kube.Delete(w.t.Context(), object); err != nil {
		w.t.Fatal(err)
	}
}

// deleteAtEnd deletes, when the test is over, what lies outside of its namespace.
func (w *world) deleteAtEnd(objects ...client.Object) {
	w.t.Cleanup(func() {
		for _, object := range objects {
			if err := w.kube.Delete(context.Background(), object); client.IgnoreNotFound(err) != nil {
				w.t.Error(err)
			}
		}
	})
}

// requestRenewal writes the annotation that asks for a new token.
func (w *world) requestRenewal(name, value string) {
	w.t.Helper()
	w.edit(name, annotate(v1alpha1.RenewRequestedAtAnnotation, value))
}

func annotate(name, value string) edit {
	return func(token *v1alpha1.ReactorToken) {
		if token.Annotations == nil {
			token.Annotations = map[string]string{}
		}
		token.Annotations[name] = value
	}
}

// waitFor waits until nothing is to be objected to a ReactorToken, and returns it.
func (w *world) waitFor(name, what string, check func(*v1alpha1.ReactorToken) error) *v1alpha1.ReactorToken {
	w.t.Helper()
	var token *v1alpha1.ReactorToken
	expect.Eventually(w.t, fmt.Sprintf("ReactorToken %s: %s", name, what), func() error {
		token = w.token(name)
		return check(token)
	})
	return token
}

// waitForCondition waits for a condition of this status and reason, for the spec as it is now.
func (w *world) waitForCondition(name, kind string, status metav1.ConditionStatus, reason string) *v1alpha1.ReactorToken {
	w.t.Helper()
	return w.waitFor(name, fmt.Sprintf("%s=%s, %s", kind, status, reason), func(token *v1alpha1.ReactorToken) error {
		return checkCondition(token, kind, status, reason)
	})
}

func checkCondition(token *v1alpha1.ReactorToken, kind string, status metav1.ConditionStatus, reason string) error {
	condition := meta.FindStatusCondition(token.Status.Conditions, kind)
	switch {
	case condition == nil:
		return errors.New("the condition is not there")
	case condition.ObservedGeneration != token.Generation:
		return fmt.Errorf("it speaks of generation %d, and %d is current", condition.ObservedGeneration, token.Generation)
	case condition.Status != status || condition.Reason != reason:
		return fmt.Errorf("it is %s, %s: %s", condition.Status, condition.Reason, condition.Message)
	}
	return nil
}

// waitUntilReady waits until the target Secret holds a valid token and status says so, and returns the Secret.
func (w *world) waitUntilReady(name string) *corev1.Secret {
	w.t.Helper()
	return w.waitForAnother(name, "")
}

// waitForAnother waits until the target Secret holds a valid token with another id than this one and status says so, and
// returns the Secret.
func (w *world) waitForAnother(name, tokenID string) *corev1.Secret {
	w.t.Helper()
	var secret *corev1.Secret
	w.waitFor(name, "a valid token", func(token *v1alpha1.ReactorToken) error {
		var err error
		if secret, err = w.find(token.TargetSecretName()); err != nil {
			return err
		}
		if idOf(secret) == tokenID {
			return errors.New("the token is still the old one")
		}
		return errors.Join(w.checkSecret(secret), w.checkStatus(token, secret))
	})
	return secret
}

// find reads a Secret, which may not be there.
func (w *world) find(name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := w.kube.Get(w.t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, secret)
	return secret, err
}

func idOf(secret *corev1.Secret) string { return secret.Annotations[v1alpha1.TokenIDAnnotation] }

// checkSecret objects to a Secret without a token that Reactor itself takes for valid. It never quotes the token.
func (w *world) checkSecret(secret *corev1.Secret) error {
	claims, err := w.reactor.Verify(string(secret.Data["jwt"]))
	if err != nil {
		return err
	}
	if want := strconv.FormatInt(claims.ExpiresAt.Unix(), 10); string(secret.Data["expires_at"]) != want {
		return fmt.Errorf("expires_at is %s, and the token says %s", secret.Data["expires_at"], want)
	}
	if idOf(secret) == "" {
		return errors.New("the token has no id")
	}
	return nil
}

// checkStatus objects to a status that does not tell of the token in the Secret.
func (w *world) checkStatus(token *v1alpha1.ReactorToken, secret *corev1.Secret) error {
	status := token.Status
	switch {
	case status.ObservedGeneration != token.Generation:
		return fmt.Errorf("the status is of generation %d, and %d is current", status.ObservedGeneration, token.Generation)
	case status.SecretName != secret.Name:
		return fmt.Errorf("status.secretName is %q", status.SecretName)
	case status.ExpirationTime == nil || strconv.FormatInt(status.ExpirationTime.Unix(), 10) != string(secret.Data["expires_at"]):
		return fmt.Errorf("status.expirationTime is %v", status.ExpirationTime)
	}
	return checkCondition(token, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

// waitUntilGone waits until an object does not exist.
func (w *world) waitUntilGone(object client.Object) {
	w.t.Helper()
	expect.Eventually(w.t, fmt.Sprintf("%T %s to be gone", object, object.GetName()), func() error {
		err := w.kube.Get(w.t.Context(), client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
}

// events returns the events of an object that have this reason.
func (w *world) events(uid types.UID, reason string) []eventsv1.Event {
	w.t.Helper()
	all := &eventsv1.EventList{}
	if err := w.kube.List(w.t.Context(), all, client.InNamespace(w.namespace)); err != nil {
		w.t.Fatal(err)
	}
	var found []eventsv1.Event
	for i := range all.Items {
		if all.Items[i].Regarding.UID == uid && all.Items[i].Reason == reason {
			found = append(found, all.Items[i])
		}
	}
	return found
}

// waitForEvent waits until an object has an event with this reason.
func (w *world) waitForEvent(uid types.UID, reason string) eventsv1.Event {
	w.t.Helper()
	var found []eventsv1.Event
	expect.Eventually(w.t, "an event "+reason, func() error {
		if found = w.events(uid, reason); len(found) == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	return found[0]
}

const fencePrefix = "fence-"

// isFence tells whether an object serves as a fence.
func isFence(name string) bool { return strings.HasPrefix(name, fencePrefix) }

// settle waits until the operator has seen all that was done before, and has done all that follows from it.
func (w *world) settle(o *process) {
	w.t.Helper()
	w.fence()
	o.waitUntilIdle(0)
}

// fence waits until the operator has seen all that was done before. A ReactorToken that costs no mint is the proof: events of a
// kind come in order, and so do those that wait for a key to stay as it is.
func (w *world) fence() {
	w.t.Helper()
	w.fences++
	name := fmt.Sprintf("%s%d", fencePrefix, w.fences)
	key := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name + "-key"}}
	if err := w.kube.Create(w.t.Context(), key); err != nil {
		w.t.Fatal(err)
	}
	w.create(name, func(token *v1alpha1.ReactorToken) { token.Spec.APIKeySecretRef.Name = key.Name })
	w.waitForCondition(name, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAPIKeyNotFound)
	w.editSecret(key.Name, func(secret *corev1.Secret) { secret.Data = map[string][]byte{"api-key": []byte("none")} })
	w.waitForCondition(name, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAPIKeyInvalid)
}
