package reactorsession

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// addPod starts a second pod of a session, as a backup that was restored does.
func (w *world) addPod() {
	w.Helper()
	first := w.pods()[0]
	spec := first.Spec
	spec.NodeName = "" // it is scheduled anew
	w.create(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: first.Namespace, Name: first.Name + "-restored", Labels: first.Labels, Annotations: first.Annotations,
			Finalizers: first.Finalizers, OwnerReferences: first.OwnerReferences,
		},
		Spec: spec,
	})
}

func TestTwoPodsAreStoppedWhenTheSessionIsAndOtherwiseLeftAlone(t *testing.T) {
	for name, stop := range map[string]func(w *world){
		"suspended": func(w *world) { w.edit("night", suspend(true)) },
		"deleted":   func(w *world) { w.remove(w.session("night")) },
		"drained": func(w *world) {
			if err := w.drain(w.Context(), 4*time.Minute); err != nil {
				w.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.node.runNow(runs(10 * time.Hour))
				w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.Credentials.MaxSessions = 2 }))
				w.start()
				w.addPod()
				w.pass(time.Hour)
				w.want("night", "Ready=False/PodsConflict", "Stalled=True/PodsConflict")
				w.wantOpen(2)
				if got := w.api.Asked(call{Verb: "delete", Kind: "Pod"}); got != 0 {
					t.Errorf("%d pods were deleted, and nobody stopped the session", got)
				}
				stop(w)
				w.pass(2 * time.Minute)
				w.wantOpen(0)
				for _, pod := range w.pods() {
					if !outcome.HasEnded(&pod) || attempts.HasFinalizer(&pod, attempts.TrackingFinalizer) {
						t.Errorf("pod %s has ended: %t; finalizers %v", pod.Name, outcome.HasEnded(&pod), pod.Finalizers)
					}
				}
				if name == "suspended" {
					w.want("night", "Ready=False/Suspended", "Suspended=True/Suspended", "Stalled=")
				}
			})
		})
	}
}

// One of the two is on a node that does not answer. The other one is stopped all the same.
func TestOfTwoPodsOneThatDoesNotEndKeepsNotTheOtherRunning(t *testing.T) {
	session := aSession(suspend(true))
	attempt := session.Status.CurrentAttempt
	pod := func(name string) corev1.Pod {
		pod := *built(session)
		pod.Name, pod.UID = name, "uid-of-"+pod.UID
		pod.Spec.NodeName, pod.Status.Phase = "worker-3", corev1.PodRunning
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "stream", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(noon)}}}}
		return pod
	}
	lost := pod("night-restored")
	lost.DeletionTimestamp = new(metav1.NewTime(noon.Add(-time.Hour)))
	observed := &observation{now: noon, status: session.Status, pod: new(pod(attempt.PodName))}
	observed.add(session, &lost)
	if got := decide(session, observed); got.do != doStop {
		t.Errorf("%q, want %q: %+v", got.do, doStop, got.ready)
	}
	attempt.StopReason = outcome.StopSuspended
	if got := decide(session, observed); got.do != doLowerDeadline {
		t.Errorf("%q, want %q: %+v", got.do, doLowerDeadline, got.ready)
	}
	observed.pod = nil
	if got := decide(session, observed); got.do != doNothing || got.ready == nil || got.ready.reason != v1alpha1.ReasonStopping {
		t.Errorf("%q, and it shows %+v, want it to wait for the pod that does not end", got.do, got.ready)
	}
}
