package reactorsession

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
)

// denyPodPatches is a webhook that denies each patch of a pod.
func (w *world) denyPodPatches() {
	w.api.MeddleWith(func(made call, do func() error) error {
		if made.Verb == "patch" && made.Kind == "Pod" {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, made.Name, errors.New(`admission webhook "pods.example.com" denied the request`))
		}
		return do()
	})
}

const denied = `admission webhook "pods.example.com" denied the request`

func TestThatTheFinalizerOfAPodCannotBeRemovedIsReported(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(time.Minute, 1))
		w.create(newSession("night", policy(v1alpha1.RestartAlways)))
		w.start()
		w.denyPodPatches()
		w.pass(30 * time.Minute)
		w.want("night", "Ready=False/WriteRefused", "Stalled=True/WriteRefused")
		w.wantMessage("night", v1alpha1.ConditionReady, denied, "retries")
		if got := w.api.Asked(call{Verb: "patch", Kind: "Pod"}); got < 10 || got > 60 {
			t.Errorf("%d attempts in half an hour", got)
		}
		if got := w.count("night", v1alpha1.ReasonWriteRefused); got != 1 {
			t.Errorf("it was reported in %d events", got)
		}
		w.api.MeddleWith(nil)
		w.node.runNow(runs(time.Hour))
		w.pass(2 * time.Minute)
		w.want("night", "Ready=True/Running", "Stalled=")
	})
}

func TestASessionThatHasCompletedStaysReadyWhileThePodsFinalizerCannotBeRemoved(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(runs(time.Minute))
		w.create(newSession("night"))
		w.start()
		w.denyPodPatches()
		w.pass(30 * time.Minute)
		w.want("night", "Ready=True/Completed", "Complete=True/Completed", "Stalled=")
		w.wantMessage("night", v1alpha1.ConditionReady, denied)
		w.api.MeddleWith(nil)
		w.pass(2 * time.Minute)
		if got, want := w.message("night", v1alpha1.ConditionReady), w.message("night", v1alpha1.ConditionComplete); got != want {
			t.Errorf("Ready says %q, want %q", got, want)
		}
	})
}

func TestADeletedSessionIsNotKeptByAPodWhoseFinalizerCannotBeRemoved(t *testing.T) {
	for name, between := range map[string]func(w *world){
		"":                                 func(*world) {},
		"and the operator is started anew": func(w *world) { w.start() },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newSession("night"))
				w.start()
				w.denyPodPatches()
				w.remove(w.session("night"))
				w.pass(attempts.DeletionBound)
				if w.gone("night") {
					t.Fatal("the session is gone before its bound")
				}
				w.want("night", "Ready=False/WriteRefused", "Stalled=True/WriteRefused")
				w.wantMessage("night", v1alpha1.ConditionReady, denied)
				w.pass(3 * time.Minute)
				if !w.gone("night") {
					t.Error("the session is still there")
				}
				if got := w.count("night", v1alpha1.ReasonPodLeftBehind); got != 1 {
					t.Errorf("that the pod is left behind was reported %d times", got)
				}
				between(w)
				asked := w.api.Asked(call{Verb: "patch", Kind: "Pod"})
				w.pass(time.Hour)
				if got := w.api.Asked(call{Verb: "patch", Kind: "Pod"}) - asked; got < 30 || got > 80 || len(w.pods()) != 1 {
					t.Errorf("%d attempts in an hour, %d pods", got, len(w.pods()))
				}
				w.api.MeddleWith(nil)
				w.pass(2 * time.Minute)
				if len(w.pods()) != 0 {
					t.Error("the pod is still there")
				}
				w.wantOpen(0)
			})
		})
	}
}

// The finalizer that keeps the session while a pod of it may run is written before the pod is.
func TestThatTheFinalizerOfASessionCannotBeWrittenIsReported(t *testing.T) {
	inWorld(t, func(w *world) {
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Verb == "patch" && made.Kind == "ReactorSession" {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "reactorsessions"}, made.Name, errors.New(denied))
			}
			return do()
		})
		w.create(newSession("night"))
		w.start()
		w.want("night", "Ready=False/WriteRefused", "Stalled=True/WriteRefused")
		w.wantMessage("night", v1alpha1.ConditionReady, denied)
		w.api.MeddleWith(nil)
		w.pass(retryCap + 10*time.Second)
		w.want("night", "Ready=True/Running", "Stalled=")
	})
}

func TestAPodWithoutLabelsThatCannotBeGivenThemBackIsReported(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(time.Minute, 1))
		w.create(newSession("night"))
		w.start()
		w.denyPodPatches()
		w.changePod(func(pod *corev1.Pod) { pod.Labels = nil })
		w.pass(20 * time.Minute)
		w.want("night", "Ready=False/BackoffLimitExceeded", "Stalled=True/BackoffLimitExceeded")
		w.wantMessage("night", v1alpha1.ConditionReady, denied)
		w.wantOpen(0)
		w.remove(w.session("night"))
		w.pass(attempts.DeletionBound + 3*time.Minute)
		if !w.gone("night") {
			t.Error("the deleted session is still there")
		}
	})
}

// A webhook gates the pods that it does not know, and denies their patches: the pod cannot even be annotated as gated.
func TestADeletedSessionIsNotKeptByAGatedPodThatCannotBePatched(t *testing.T) {
	inWorld(t, func(w *world) {
		w.kueue(true)
		w.denyPodPatches()
		w.create(newSession("night"))
		w.start()
		pod := w.onePod("night")
		w.remove(w.session("night"))
		w.pass(time.Minute)
		w.release(pod)
		w.pass(attempts.DeletionBound + 3*time.Minute)
		if !w.gone("night") {
			t.Error("the session is still there")
		}
	})
}

// No condition can report that the status cannot be written. The session cannot be stopped meanwhile, so an event reports it.
func TestThatTheStatusCannotBeWrittenIsReportedInOneEvent(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night"))
		w.start()
		w.pass(time.Minute)
		w.want("night", "Ready=True/Running")
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Verb == "update status" && made.Kind == "ReactorSession" {
				return apierrors.NewForbidden(schema.GroupResource{Group: "reactor.inc", Resource: "reactorsessions/status"}, made.Name, errors.New("a policy denies it"))
			}
			return do()
		})
		w.edit("night", func(session *v1alpha1.ReactorSession) { session.Spec.Suspend = new(true) })
		w.pass(30 * time.Minute)
		if got := w.count("night", v1alpha1.ReasonWriteRefused); got != 1 {
			t.Errorf("it was reported in %d events, want 1", got)
		}
		w.api.MeddleWith(nil)
		w.pass(20 * time.Minute)
		w.want("night", "Ready=False/Suspended")
	})
}
