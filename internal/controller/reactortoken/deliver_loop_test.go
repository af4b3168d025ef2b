package reactortoken

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }

// rolled is the token id on the pod template of each workload; "" for one that was not rolled.
func (w *world) rolled() map[string]string {
	w.Helper()
	ids := map[string]string{}
	for _, object := range []client.Object{
		&appsv1.Deployment{ObjectMeta: named("web")},
		&appsv1.StatefulSet{ObjectMeta: named("db")},
		&appsv1.DaemonSet{ObjectMeta: named("agent")},
		&appsv1.Deployment{ObjectMeta: named("bystander")},
	} {
		if err := w.api.Get(w.Context(), client.ObjectKeyFromObject(object), object); client.IgnoreNotFound(err) != nil {
			w.Fatal(err)
		}
		switch workload := object.(type) {
		case *appsv1.Deployment:
			ids[workload.Name] = workload.Spec.Template.Annotations[v1alpha1.TokenIDAnnotation]
		case *appsv1.StatefulSet:
			ids[workload.Name] = workload.Spec.Template.Annotations[v1alpha1.TokenIDAnnotation]
		case *appsv1.DaemonSet:
			ids[workload.Name] = workload.Spec.Template.Annotations[v1alpha1.TokenIDAnnotation]
		}
	}
	return ids
}

// all are the ids of rolled when the three workloads that are listed were rolled for a token.
func all(id string) map[string]string {
	return map[string]string{"web": id, "db": id, "agent": id, "bystander": ""}
}

func (w *world) createWorkloads() {
	w.create(&appsv1.Deployment{ObjectMeta: named("web")}, &appsv1.StatefulSet{ObjectMeta: named("db")},
		&appsv1.DaemonSet{ObjectMeta: named("agent")}, &appsv1.Deployment{ObjectMeta: named("bystander")})
}

func rolling(token *v1alpha1.ReactorToken) {
	token.Spec.Restart = []v1alpha1.WorkloadReference{
		{Kind: v1alpha1.KindDeployment, Name: "web"},
		{Kind: v1alpha1.KindStatefulSet, Name: "db"},
		{Kind: v1alpha1.KindDaemonSet, Name: "agent"},
		{Kind: v1alpha1.KindDeployment, Name: "not-there-yet"},
	}
}

func (w *world) tokenID() string { return w.secret("web").Annotations[v1alpha1.TokenIDAnnotation] }

func TestWorkloadsAreRolledForAChangedTokenAndNotForTheFirst(t *testing.T) {
	inWorld(t, func(w *world) {
		w.createWorkloads()
		w.create(newToken("web", rolling))
		w.start()
		if diff := cmp.Diff(all(""), w.rolled()); diff != "" {
			t.Errorf("after the first token (-want +got):\n%s", diff)
		}
		w.passUntil(w.token("web").Status.RenewalTime.Add(5 * time.Second))
		if diff := cmp.Diff(all(w.tokenID()), w.rolled()); diff != "" {
			t.Errorf("after a renewal (-want +got):\n%s", diff)
		}
		if got := w.count("web", "Restarted"); got != 3 {
			t.Errorf("%d restarts were told, want 3", got)
		}
		patches := w.api.Asked(call{Verb: "patch", Kind: "Deployment"})
		w.editSecret("web", func(secret *corev1.Secret) { secret.Data[targetsecret.ExpiresAtKey] = nil })
		w.settle()
		w.stop()
		w.start()
		w.pass(time.Hour)
		if got := w.api.Asked(call{Verb: "patch", Kind: "Deployment"}); got != patches {
			t.Errorf("%d more patches without a changed token", got-patches)
		}
	})
}

// A delivery that failed, or that the operator did not live to finish, is made up for.
func TestADeliveryIsNotLost(t *testing.T) {
	for name, meddle := range map[string]func(w *world) func(call, func() error) error{
		"when the API server refuses": func(*world) func(call, func() error) error {
			return func(made call, do func() error) error {
				if made.Kind == "StatefulSet" {
					return apierrors.NewForbidden(schema.GroupResource{Resource: "statefulsets"}, made.Name, errors.New("no Role"))
				}
				return do()
			}
		},
		"when the operator crashes": func(w *world) func(call, func() error) error {
			return func(made call, do func() error) error {
				if made.Kind != "StatefulSet" {
					return do()
				}
				w.run.Crash()
				return errors.New("crashed")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.createWorkloads()
				w.create(newToken("web", rolling))
				w.start()
				first := w.token("web").Status.DeliveredTokenID
				w.api.MeddleWith(meddle(w))
				w.passUntil(w.token("web").Status.RenewalTime.Add(time.Minute))
				w.wantValid("web")
				if got := w.token("web").Status.DeliveredTokenID; got != first {
					t.Errorf("status calls token %q delivered", got)
				}
				w.api.MeddleWith(nil)
				if w.run.Crashed() {
					w.start()
				}
				w.pass(15 * time.Minute)
				w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
				if diff := cmp.Diff(all(w.tokenID()), w.rolled()); diff != "" {
					t.Errorf("rolled (-want +got):\n%s", diff)
				}
				w.wantMints(2)
			})
		})
	}
}

func TestADeliveryThatIsRefusedIsReportedOnceAndRetriedSeldom(t *testing.T) {
	inWorld(t, func(w *world) {
		w.createWorkloads()
		w.create(newToken("web", rolling))
		w.start()
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Kind == "StatefulSet" {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "statefulsets"}, made.Name, errors.New("no Role"))
			}
			return do()
		})
		w.passUntil(w.token("web").Status.RenewalTime.Add(time.Hour))
		w.wantMints(2)
		if got := w.api.Asked(call{Verb: "patch", Kind: "StatefulSet"}); got < 4 || got > 5 {
			t.Errorf("%d attempts in an hour", got)
		}
		if diff := cmp.Diff([]string{"TokenIssued", "TokenIssued", "Restarted", "DeliveryRefused", "Restarted"}, w.eventsOf("web")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		w.api.MeddleWith(nil)
		w.edit("web", func(token *v1alpha1.ReactorToken) { token.Spec.Restart = token.Spec.Restart[:2] }) // whoever mends it need not wait
		w.settle()
		if got := w.rolled()["db"]; got != w.tokenID() {
			t.Errorf("the StatefulSet was rolled for %q", got)
		}
	})
}

// Prompt delivery is best effort: that it is refused from the first token on must not make each later one a first one.
func TestPodsThatMayNotBeAnnotatedKeepNoWorkloadFromBeingRolled(t *testing.T) {
	inWorld(t, func(w *world) {
		w.createWorkloads()
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Kind == "Pod" {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, made.Name, errors.New("no Role"))
			}
			return do()
		})
		w.create(podWith("web", mounting("web")), newToken("web", rolling, prompt))
		w.start()
		for range 2 {
			w.passUntil(w.token("web").Status.RenewalTime.Add(5 * time.Second))
			if diff := cmp.Diff(all(w.tokenID()), w.rolled()); diff != "" {
				t.Errorf("after a renewal (-want +got):\n%s", diff)
			}
		}
		if got := w.count("web", "DeliveryRefused"); got != 3 {
			t.Errorf("the refusal was told %d times for three tokens", got)
		}
	})
}

// A webhook that takes its time, and then fails, is asked again with a backoff, and keeps no worker for itself.
func TestAWorkloadThatCannotBePatchedInTimeIsTriedAgainWithABackoff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.createWorkloads()
		w.create(newToken("web", rolling))
		w.start()
		refused := false
		w.api.MeddleWith(func(made call, do func() error) error {
			switch {
			case made.Kind == "StatefulSet":
				time.Sleep((5 * time.Second))
				return context.DeadlineExceeded
			case made.Kind == "DaemonSet" && !refused:
				refused = true
				return apierrors.NewForbidden(schema.GroupResource{Resource: "daemonsets"}, made.Name, errors.New("no Role"))
			}
			return do()
		})
		w.passUntil(w.token("web").Status.RenewalTime.Add(10 * time.Minute))
		if got := w.api.Asked(call{Verb: "patch", Kind: "StatefulSet"}); got < 8 || got > 20 {
			t.Errorf("%d attempts in ten minutes", got)
		}
		if got := w.api.Asked(call{Verb: "patch", Kind: "DaemonSet"}); got != 1 {
			t.Errorf("what was refused was tried %d times in ten minutes", got)
		}
		w.api.MeddleWith(nil)
		w.pass(retryCap)
		if rolled := w.rolled(); rolled["db"] != w.tokenID() || rolled["agent"] != "" {
			t.Errorf("rolled %v: what was not refused waits for what was", rolled)
		}
		w.pass(15 * time.Minute)
		if diff := cmp.Diff(all(w.tokenID()), w.rolled()); diff != "" {
			t.Errorf("rolled (-want +got):\n%s", diff)
		}
	})
}

func TestTheStatusDoesNotWaitForADelivery(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(podWith("web", mounting("web")), newToken("web", prompt))
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Kind == "Pod" {
				w.want("web", "Ready=True/TokenValid")
			}
			return do()
		})
		w.start()
		if diff := cmp.Diff(map[string]string{"web": w.tokenID()}, w.promptedPods()); diff != "" {
			t.Errorf("annotated (-want +got):\n%s", diff)
		}
	})
}

// createPods creates so many running pods that mount the Secret.
func (w *world) createPods(many int) {
	w.Helper()
	for i := range many {
		w.create(podWith(fmt.Sprint("web-", i), mounting("web")))
	}
}

func TestADeliveryToManyPodsDelaysNoOtherObject(t *testing.T) {
	const pods = 20 * 50
	inWorld(t, func(w *world) {
		w.createPods(pods)
		w.workers = 1
		w.create(newToken("web", prompt))
		w.start()
		w.create(newToken("other"))
		w.pass(2 * (5 * time.Second)) // the pass that runs, and one that was queued before
		w.want("other", "Ready=True/TokenValid")
		w.pass(30 * time.Second)
		if got := len(w.promptedPods()); got != pods {
			t.Errorf("%d pods were annotated, want %d", got, pods)
		}
		if got := w.token("web").Status.DeliveredTokenID; got != w.tokenID() {
			t.Errorf("status calls token %q delivered", got)
		}
		w.wantNoErrors()
	})
}

func TestWithoutTheFlagsNothingIsDeliveredAndThatIsReported(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tune = func(o *Options) { o.AllowRestart, o.AllowPromptDelivery = false, false }
		w.createWorkloads()
		w.create(podWith("web", mounting("web")), newToken("web", rolling, prompt))
		w.start()
		w.passUntil(w.token("web").Status.RenewalTime.Add(5 * time.Second))
		w.wantMints(2)
		if diff := cmp.Diff(all(""), w.rolled()); diff != "" {
			t.Errorf("rolled (-want +got):\n%s", diff)
		}
		if got := w.promptedPods(); len(got) != 0 {
			t.Errorf("annotated %q", got)
		}
		if w.count("web", "RestartNotAllowed") == 0 || w.count("web", "PromptDeliveryNotAllowed") == 0 {
			t.Errorf("events %q", w.eventsOf("web"))
		}
		if got := w.api.Asked(call{Kind: "Pod"}) + w.api.Asked(call{Kind: "Deployment"}); got != 0 {
			t.Errorf("%d requests that the operator has no right to", got)
		}
	})
}

func prompt(token *v1alpha1.ReactorToken) {
	token.Spec.PromptDelivery = &v1alpha1.PromptDelivery{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}
}

func podWith(name string, changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: named(name), Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	pod.Labels = map[string]string{"app": "web"}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func mounting(secret string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: secret,
			VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}})
	}
}

func projecting(secret string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		source := &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: secret, VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{}, {Secret: source}}}}})
	}
}

func inPhase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Status.Phase = phase }
}

// promptedPods are the pods that have the annotation, with its value.
func (w *world) promptedPods() map[string]string {
	w.Helper()
	pods := &corev1.PodList{}
	if err := w.api.List(w.Context(), pods); err != nil {
		w.Fatal(err)
	}
	ids := map[string]string{}
	for i := range pods.Items {
		if id, ok := pods.Items[i].Annotations[v1alpha1.TokenIDAnnotation]; ok {
			ids[pods.Items[i].Name] = id
		}
	}
	return ids
}

func TestPromptDeliveryAnnotatesOnlyRunningPodsThatMountTheSecret(t *testing.T) {
	inWorld(t, func(w *world) {
		foreign := podWith("foreign", mounting("web"))
		foreign.Namespace = "elsewhere"
		w.create(
			podWith("mounts", mounting("other"), mounting("web")),
			podWith("projects", projecting("web")),
			podWith("mounts-another", mounting("other")),
			podWith("mounts-nothing"),
			podWith("not-selected", mounting("web"), func(pod *corev1.Pod) { pod.Labels = nil }),
			podWith("starting", mounting("web"), inPhase(corev1.PodPending)),
			podWith("done", mounting("web"), inPhase(corev1.PodSucceeded)),
			foreign,
			newToken("web", prompt),
		)
		w.start()
		id := w.tokenID()
		if diff := cmp.Diff(map[string]string{"mounts": id, "projects": id}, w.promptedPods()); diff != "" {
			t.Errorf("after the first token (-want +got):\n%s", diff)
		}
		lists := w.api.Asked(call{Verb: "list", Kind: "Pod"})
		w.pass(time.Hour)
		if got := w.api.Asked(call{Verb: "list", Kind: "Pod"}); got != lists {
			t.Error("pods were listed without a new token")
		}
		w.passUntil(w.token("web").Status.RenewalTime.Add(5 * time.Second))
		id = w.tokenID()
		if diff := cmp.Diff(map[string]string{"mounts": id, "projects": id}, w.promptedPods()); diff != "" {
			t.Errorf("after a renewal (-want +got):\n%s", diff)
		}
	})
}

func TestManyPodsAreAnnotatedAtALimitedRate(t *testing.T) {
	const pods = 3 * 50
	inWorld(t, func(w *world) {
		w.createPods(pods)
		w.create(newToken("web", prompt))
		var patched []time.Time
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Verb == "patch" && made.Kind == "Pod" {
				patched = append(patched, time.Now())
			}
			return do()
		})
		w.start()
		if got := len(w.promptedPods()); got != pods {
			t.Errorf("%d pods were annotated, want %d", got, pods)
		}
		// A second's worth at once, and the others in two more.
		if took := patched[len(patched)-1].Sub(patched[0]); took < 1900*time.Millisecond || took > 3*time.Second {
			t.Errorf("%d patches took %s", len(patched), took)
		}
	})
}

// A token that expired before it could be delivered is handed to nobody: programs would be restarted for nothing.
func TestAnExpiredTokenIsNotDelivered(t *testing.T) {
	inWorld(t, func(w *world) {
		w.createWorkloads()
		w.create(newToken("web", rolling, lifetime("1h")))
		w.start()
		w.crashAt(call{Verb: "patch", Kind: "Deployment", Name: "web"}, false)
		w.passUntil(w.token("web").Status.RenewalTime.Add(time.Minute))
		w.wantCrashed()
		w.pass(2 * time.Hour)
		w.reactor.SetFaults(emulator.Fault{Status: 503})
		w.start()
		w.want("web", "Ready=False/TokenExpired")
		if diff := cmp.Diff(all(""), w.rolled()); diff != "" {
			t.Errorf("rolled (-want +got):\n%s", diff)
		}
		w.reactor.ClearFaults()
		w.pass(mintBackoffCap)
		if diff := cmp.Diff(all(w.tokenID()), w.rolled()); diff != "" {
			t.Errorf("rolled for the next token (-want +got):\n%s", diff)
		}
	})
}
