package sim

import (
	"context"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// goodKeys are those that Reactor knows, badKey is one that it does not.
var goodKeys = []string{"rk_first-0123456789abcdef", "rk_second-0123456789abcdef", "rk_third-0123456789abcdef"}

const badKey = "rk_unknown-0123456789abcdef"

// The objects of a world, which may be there or not.
var (
	keySecrets   = []string{"key-a", "key-b"} // sessions use the first
	tokenNames   = []string{"web", "bot", "api"}
	crowdNames   = []string{"crowd-0", "crowd-1", "crowd-2", "crowd-3", "crowd-4", "crowd-5", "crowd-6", "crowd-7"}
	sessionNames = []string{"night", "day", "batch"}
)

const workloadName = "web"

func isToken(name string) bool { return slices.Contains(tokenNames, name) || isCrowd(name) }
func isCrowd(name string) bool { return slices.Contains(crowdNames, name) }

func objectMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// keyOf names the Secret of the API key that a token begins with.
func keyOf(token string) string {
	if token == "bot" {
		return keySecrets[1]
	}
	return keySecrets[0]
}

func keySecretWith(name, key string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: objectMeta(name), Type: corev1.SecretTypeOpaque, Data: map[string][]byte{v1alpha1.DefaultAPIKeyKey: []byte(key)}}
}

func newWorkload() *appsv1.Deployment {
	labels := map[string]string{"app": workloadName}
	return &appsv1.Deployment{ObjectMeta: objectMeta(workloadName), Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}}},
	}}
}

// lifetimes are those that people ask for.
var lifetimes = []string{"2m", "10m", "30m", "1h", "6h"}

func newToken(name, lifetime string) *v1alpha1.ReactorToken {
	token := &v1alpha1.ReactorToken{ObjectMeta: objectMeta(name)}
	token.Spec.APIKeySecretRef.Name = keyOf(name)
	token.Spec.Lifetime = v1alpha1.Duration(lifetime)
	token.Spec.Scope = &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{v1alpha1.ModelName(modelOf(name))}, MaxSessions: 3}
	if name == "web" {
		token.Spec.Restart = []v1alpha1.WorkloadReference{{Kind: v1alpha1.KindDeployment, Name: workloadName}}
	}
	return token
}

// sessionForms are the sessions that people run: the program, when it begins again, how long it may run in all, its
// credential, and whether its pods are queued.
var sessionForms = []string{
	"short/Never/0/TokenFile", "short/Always/0/TokenFile", "long/OnFailure/20m/TokenFile", "long/Never/0/TokenFile", "fails/OnFailure/0/TokenFile",
	"fails/Always/30m/TokenFile", "forgetful/Always/0/TokenFile", "forgetful/OnFailure/1h/TokenFile", "deaf/OnFailure/15m/TokenFile", "deaf/Always/0/TokenFile",
	"short/Always/0/TokenFile/queued", "long/OnFailure/20m/TokenFile/queued", "forgetful/Always/25m/TokenFile/queued", "short/Always/10m/APIKeyEnv/queued",
	"crashes/OnFailure/0/TokenFile", "impostor/OnFailure/0/TokenFile", "impostor/Always/30m/TokenFile", "short/Always/0/APIKeyEnv", "forgetful/Always/25m/APIKeyEnv",
}

func newSession(name, form string) *v1alpha1.ReactorSession {
	parts := strings.Split(form, "/")
	session := &v1alpha1.ReactorSession{ObjectMeta: objectMeta(name)}
	session.Spec.Model = v1alpha1.ModelName(modelOf(name))
	session.Spec.APIKeySecretRef.Name = keySecrets[0]
	session.Spec.RestartPolicy = v1alpha1.SessionRestartPolicy(parts[1])
	if parts[2] != "0" {
		session.Spec.MaxDuration = v1alpha1.Duration(parts[2])
	}
	session.Spec.Credentials.Delivery = v1alpha1.CredentialDelivery(parts[3])
	session.Spec.Template.Spec.Containers = []corev1.Container{{Name: "stream", Image: "example.com/stream:1", Args: []string{parts[0]}}}
	if len(parts) > 4 {
		session.Spec.Template.Labels = map[string]string{queueLabel: parts[4]}
	}
	return session
}

// kindOf is an object of a kind that the operator writes, Secrets apart.
func kindOf(kind string) client.Object {
	switch kind {
	case "ReactorToken":
		return &v1alpha1.ReactorToken{}
	case "ReactorSession":
		return &v1alpha1.ReactorSession{}
	case "Pod":
		return &corev1.Pod{}
	case "Deployment":
		return &appsv1.Deployment{}
	}
	return nil
}

func (w *world) create(object client.Object) bool {
	return w.worked(w.people.Create(context.Background(), object))
}

func (w *world) remove(object client.Object, options ...client.DeleteOption) bool {
	return w.worked(w.people.Delete(context.Background(), object, options...))
}

// worked reports whether what somebody did had an effect. What they meet that was there already, or is gone, is no error.
func (w *world) worked(err error) bool {
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsAlreadyExists(err) {
		panic(err)
	}
	return err == nil
}

// edit changes an object, if it is there and somebody does not change it at the same time for ever.
func edit[T client.Object](w *world, object T, change func(T)) bool {
	for {
		if !w.worked(w.people.Get(context.Background(), client.ObjectKeyFromObject(object), object)) {
			return false
		}
		change(object)
		err := w.people.Update(context.Background(), object)
		if !apierrors.IsConflict(err) {
			return w.worked(err)
		}
	}
}

// read is an object of this name as it is stored; nil when there is none.
func read[T any, P interface {
	*T
	client.Object
}](w *world, name string) P {
	object := P(new(T))
	if w.people.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, object) != nil {
		return nil
	}
	return object
}

// token reads a ReactorToken that is not being deleted; nil when there is none.
func (w *world) token(name string) *v1alpha1.ReactorToken {
	token := read[v1alpha1.ReactorToken](w, name)
	if token == nil || token.DeletionTimestamp != nil {
		return nil
	}
	return token
}

// tokensWith names the ReactorTokens of people that read their API key from a Secret.
func (w *world) tokensWith(keySecret string) []string {
	var names []string
	for _, name := range slices.Concat(tokenNames, crowdNames) {
		if token := w.token(name); token != nil && token.Spec.APIKeySecretRef.Name == keySecret {
			names = append(names, name)
		}
	}
	return names
}

func (w *world) isSuspended(name string) bool {
	token := w.token(name)
	return token != nil && token.Spec.Suspended()
}

func (w *world) session(name string) *v1alpha1.ReactorSession {
	return read[v1alpha1.ReactorSession](w, name)
}

func (w *world) secret(name string) *corev1.Secret { return read[corev1.Secret](w, name) }

func (w *world) pod(name string) *corev1.Pod { return read[corev1.Pod](w, name) }

// keyIn is the API key in a Secret; empty when there is none.
func (w *world) keyIn(name string) string {
	if secret := w.secret(name); secret != nil {
		return string(secret.Data[v1alpha1.DefaultAPIKeyKey])
	}
	return ""
}
