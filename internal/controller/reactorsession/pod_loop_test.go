package reactorsession

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// changePod changes the one pod that there is.
func (w *world) changePod(change func(*corev1.Pod)) {
	w.Helper()
	pod := w.pods()[0]
	change(&pod)
	if err := w.api.Update(context.Background(), &pod); err != nil {
		w.Fatal(err)
	}
}

// Kueue adds its gate by a webhook: the template has none. What counts is when the pod is let into the cluster.
func TestAPodThatAWebhookHeldBackHasItsWholeTimeToStart(t *testing.T) {
	for name, between := range map[string]func(*world){
		"and the operator watches":       func(*world) {},
		"and the operator is begun anew": func(w *world) { w.start() },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.node.be(func(k *kubelet) { k.stuck = true })
				w.api.MutateWith(func(created client.Object) {
					if pod, ok := created.(*corev1.Pod); ok {
						pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/queue"}}
					}
				})
				w.create(newSession("night"))
				w.start()
				w.pass(time.Hour)
				w.changePod(func(pod *corev1.Pod) { pod.Spec.SchedulingGates = nil })
				between(w)
				w.pass(time.Minute) // its image is pulled
				w.node.be(func(k *kubelet) { k.stuck = false })
				w.settle()
				w.want("night", "Ready=True/Running")
				if ended := w.ended("night"); ended != "" {
					t.Errorf("attempts %q", ended)
				}
			})
		})
	}
}

func TestAPodThatHasLostItsLabelsIsFound(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "10m" }))
		w.start()
		w.changePod(func(pod *corev1.Pod) { pod.Labels = nil })
		w.settle()
		w.want("night", "Ready=True/Running")
		if pod := w.pods()[0]; pod.Labels[attempts.SessionUIDLabel] == "" || attempts.LabeledNumber(&pod) != 1 {
			t.Errorf("labels %v", pod.Labels)
		}
		w.pass(15 * time.Minute)
		w.want("night", "Complete=True/DurationReached")
		w.wantOpen(0)
	})
}

func TestAPodOfSomebodyElseUnderTheNextNameIsToldAndLeftAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.be(func(k *kubelet) { k.stuck = true })
		w.create(newSession("night"), newSession("unwanted"))
		for _, session := range []string{"night", "unwanted"} {
			w.create(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: attempts.Name(w.session(session), 1)}})
		}
		w.start()
		w.want("night", "Ready=False/PodsConflict", "Stalled=True/PodsConflict")
		w.remove(w.session("unwanted"))
		w.settle()
		if pods := w.pods(); !w.gone("unwanted") || len(pods) != 2 {
			t.Errorf("gone: %t; %d pods", w.gone("unwanted"), len(pods))
		}
		for _, pod := range w.pods() {
			w.remove(&pod)
		}
		w.node.be(func(k *kubelet) { k.stuck = false })
		w.pass(retryCap)
		w.settle()
		w.want("night", "Ready=True/Running", "Stalled=")
	})
}

// A namespace that goes takes a Role with it at any time: nothing in it may wait for the operator then.
func TestASessionIsNotKeptInANamespaceThatGoes(t *testing.T) {
	for _, kind := range []string{"ReactorToken", "Pod"} {
		t.Run(kind, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.api.MeddleWith(func(made call, do func() error) error {
					if made.Verb != "create" || made.Kind != kind {
						return do()
					}
					refused := apierrors.NewForbidden(schema.GroupResource{Resource: strings.ToLower(kind)}, made.Name, nil)
					refused.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
					return refused
				})
				w.create(newSession("night"))
				w.start()
				for range 20 {
					w.pass(7 * time.Second)
					if attempts.HasFinalizer(w.session("night"), attempts.CleanupFinalizer) {
						t.Fatal("it is kept")
					}
				}
			})
		})
	}
}

// What a program tells is its own word, and may not be turned into requests without end.
func TestACleanUpOfManySessionsTakesOneToken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(func(m *machine) {
			m.begin()
			for i := range 40 {
				m.tell(fmt.Sprintf(`{"sessionId":"unknown-%d"}`, i))
			}
			m.leave(1)
		})
		w.create(newSession("night", apiKeyEnv))
		w.reactor.SetFaults(emulator.Fault{Route: "GET /sessions/{id}", Status: 503})
		w.start()
		w.pass(10 * time.Minute)
		if got, want := w.ended("night"), "1 Failed ExitCode Unverified"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		if mints := w.reactor.Ledger().Mints(); mints > 20 {
			t.Errorf("%d tokens for one clean-up", mints)
		}
	})
}

// The bound of a deletion is for pods that do not end. One that was not even asked to end, since the operator was away, has its time.
func TestASessionThatWasDeletedWhileTheOperatorWasAwayIsSeenTo(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(10*time.Hour, 1))
		w.create(newSession("night"))
		w.start()
		w.want("night", "Ready=True/Running")
		w.stop()
		w.remove(w.session("night"))
		w.pass(20 * time.Minute)
		w.wantOpen(1)
		w.start()
		w.pass(2 * time.Minute)
		if !w.gone("night") || w.count("night", "CleanupUnverified") != 0 {
			t.Errorf("gone: %t; %d clean-ups that are not verified", w.gone("night"), w.count("night", "CleanupUnverified"))
		}
		w.wantOpen(0)
	})
}
