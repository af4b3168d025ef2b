package e2e

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// token creates a ReactorToken.
func (w *world) token(name string, spec v1alpha1.ReactorTokenSpec) {
	w.t.Helper()
	spec.APIKeySecretRef.Name = keySecret
	w.create(&v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: spec})
}

// waitForToken waits until a Secret holds a token that Reactor takes for valid and that is another one than this, and returns its
// id, which is the token's jti.
func (w *world) waitForToken(secret, other string) (jti string) {
	w.t.Helper()
	w.eventually("a valid token in Secret "+secret, func() error {
		object := &corev1.Secret{}
		if err := w.get(secret, object); err != nil {
			return err
		}
		claims, err := w.reactor.Verify(string(object.Data["jwt"]))
		if err != nil {
			return err
		}
		if claims.ID == other {
			return errors.New("the token is still the old one")
		}
		jti = claims.ID
		return nil
	})
	return jti
}

// renew asks for a new token.
func (w *world) renew(name string) {
	w.t.Helper()
	w.kubectl("annotate", "rtok", name, "--overwrite", v1alpha1.RenewRequestedAtAnnotation+"="+time.Now().String())
}

func TestARenewedTokenReachesTheFileInARunningPod(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"app": "worker"}
	for name, prompt := range map[string]*v1alpha1.PromptDelivery{
		"without promptDelivery": nil,
		"with promptDelivery":    {PodSelector: &metav1.LabelSelector{MatchLabels: labels}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "--allow-prompt-delivery")
			// The pod first: it waits for the Secret, as it does when both are applied from one file.
			w.runPod("worker", labels, mounting("token"))
			w.token("token", v1alpha1.ReactorTokenSpec{PromptDelivery: prompt})
			latest := w.waitForToken("token", "")
			before := w.runningPod("worker")
			seen := w.follow("worker")
			w.eventually("the first token in the pod", func() error { return seen.latest(latest) })
			w.renew("token")
			latest = w.waitForToken("token", latest)
			changed := time.Now()
			w.eventually("the renewed token in the pod", func() error { return seen.latest(latest) })
			t.Logf("%s: the file changed %s after the Secret; a kubelet looks at a pod that has just started, and then every %s",
				name, time.Since(changed).Round(10*time.Millisecond), *syncFrequency)

			after := w.runningPod("worker")
			if after.UID != before.UID || restarts(after) != 0 {
				t.Errorf("the pod is another one, or its container was started again %d times", restarts(after))
			}
			if prompt == nil {
				if told := after.Annotations[v1alpha1.TokenIDAnnotation]; told != "" {
					t.Errorf("the pod was told of token %s", told)
				}
				return
			}
			secret := &corev1.Secret{}
			if err := w.get("token", secret); err != nil {
				t.Fatal(err)
			}
			w.eventually("the pod to be told of the token", func() error { // the kubelet may have looked by itself before
				told, want := w.runningPod("worker").Annotations[v1alpha1.TokenIDAnnotation], secret.Annotations[v1alpha1.TokenIDAnnotation]
				if told != want || want == "" {
					return fmt.Errorf("it was told of %q, and not yet of %q", told, want)
				}
				return nil
			})
		})
	}
}

func TestADeploymentThatReadsItsTokenOnceIsRolledForANewOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--allow-restart")
	labels := map[string]string{"app": "web"}
	w.create(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: inEnvironment("token")},
		},
	})
	w.token("token", v1alpha1.ReactorTokenSpec{Restart: []v1alpha1.WorkloadReference{{Kind: v1alpha1.KindDeployment, Name: "web"}}})
	first := w.waitForToken("token", "")
	old := w.onlyPod(labels, "")
	seenByOld := w.follow(old)
	w.eventually("the first token in the environment", func() error { return seenByOld.latest(first) })

	w.renew("token")
	second := w.waitForToken("token", first)
	changed := time.Now()
	next := w.onlyPod(labels, old)
	seenByNext := w.follow(next)
	w.eventually("the second token in the environment of another pod", func() error { return seenByNext.latest(second) })
	t.Logf("the Deployment was rolled %s after the Secret changed", time.Since(changed).Round(10*time.Millisecond))
	if err := seenByOld.latest(first); err != nil {
		t.Errorf("the old pod: %v", err)
	}
}

// onlyPod waits until exactly one pod has the labels, runs, and is not this other one, and returns its name.
func (w *world) onlyPod(labels map[string]string, other string) string {
	w.t.Helper()
	var name string
	w.eventually("a pod of its own for the token", func() error {
		pods := &corev1.PodList{}
		if err := cluster.kube.List(w.t.Context(), pods, client.InNamespace(w.namespace), client.MatchingLabels(labels)); err != nil {
			return err
		}
		running := slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool {
			return pod.Status.Phase != corev1.PodRunning || pod.Name == other
		})
		if len(pods.Items) != 1 || len(running) != 1 {
			return fmt.Errorf("%d pods, of which %d run", len(pods.Items), len(running))
		}
		name = running[0].Name
		return nil
	})
	return name
}

func TestAnOperatorThatComesBackServesPodsAsBefore(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*world){"after a crash": (*world).killOperator, "after an orderly end": (*world).stopOperator} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "--allow-prompt-delivery")
			labels := map[string]string{"app": "worker"}
			w.runPod("worker", labels, mounting("token"))
			w.token("token", v1alpha1.ReactorTokenSpec{
				PromptDelivery: &v1alpha1.PromptDelivery{PodSelector: &metav1.LabelSelector{MatchLabels: labels}},
			})
			first := w.waitForToken("token", "")
			w.runningPod("worker")
			seen := w.follow("worker")
			w.eventually("the first token in the pod", func() error { return seen.latest(first) })
			end(w)
			w.renew("token")
			w.startOperator()
			second := w.waitForToken("token", first)
			w.eventually("the second token in the pod", func() error { return seen.latest(second) })
			if mints := w.reactor.Ledger().Mints(); mints != 2 {
				t.Errorf("%d mints, want the first and the renewal", mints)
			}
		})
	}
}
