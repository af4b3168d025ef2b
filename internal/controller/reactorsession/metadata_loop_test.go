package reactorsession

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// The labels are what the pod is watched by. Taken off while it ends, they must not keep it, or its session, for ever.
func TestAPodThatLosesItsLabelsWhileItEndsIsSeenToAndLetGo(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.ReactorSession){"suspended": suspend(true), "deleted": nil} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.node.runNow(func(m *machine) { // it takes its time, and leaves its session open
					m.begin()
					<-m.Done()
					time.Sleep(20 * time.Second)
				})
				w.create(newSession("night", ofModel("only/night")))
				w.start()
				if change != nil {
					w.edit("night", change)
				} else {
					w.remove(w.session("night"))
				}
				w.pass(5 * time.Second)
				if pod := w.pods()[0]; pod.DeletionTimestamp == nil && !attempts.IsDeadlineLowered(&pod) {
					t.Error("the pod is not being stopped")
				}
				w.changePod(func(pod *corev1.Pod) { pod.Labels = nil })
				w.pass(time.Minute)
				for _, pod := range w.pods() {
					if attempts.HasFinalizer(&pod, attempts.TrackingFinalizer) || change == nil {
						t.Errorf("pod %s is kept by %v", pod.Name, pod.Finalizers)
					}
				}
				if change == nil && !w.gone("night") {
					t.Error("the session is kept")
				}
				w.wantOpen(0)
			})
		})
	}
}

// No watch shows a pod without its labels, and the API server may refuse for a while to have it let go of: it must not be kept for ever then.
func TestAPodThatLosesItsLabelsAfterItsEndIsLetGo(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.ReactorSession){
		"another attempt follows": policy(v1alpha1.RestartAlways), "none does": policy(v1alpha1.RestartNever),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.node.runNow(runs(time.Minute))
				w.api.MeddleWith(func(made call, do func() error) error {
					if made.Verb == "patch" && made.Kind == "Pod" {
						return errors.New("a quota is being changed")
					}
					return do()
				})
				w.create(newSession("night", change))
				w.start()
				w.pass(2 * time.Minute)
				w.changePod(func(pod *corev1.Pod) { pod.Labels = nil })
				w.api.MeddleWith(nil)
				w.pass(2 * time.Minute)
				first := w.pods()[0]
				if !outcome.HasEnded(&first) || attempts.HasFinalizer(&first, attempts.TrackingFinalizer) {
					t.Errorf("pod %s, %s, is kept by %v", first.Name, first.Status.Phase, first.Finalizers)
				}
				if got := w.count("night", "CleanupUnverified"); got != 0 {
					t.Error("an attempt whose outcome stands in status is told as one that nobody knows")
				}
				w.remove(w.session("night"))
				w.pass(2 * time.Minute)
				if !w.gone("night") || len(w.pods()) > 0 {
					t.Errorf("the session or its pods are kept: %d pods", len(w.pods()))
				}
			})
		})
	}
}

// Whoever takes the labels off may keep them from coming back. That must not keep a session that is being deleted beyond its bound.
func TestAPodWhoseLabelsCannotBePutBackDoesNotKeepItsSession(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night"))
		w.start()
		w.node.be(func(k *kubelet) { k.lost = true })
		w.remove(w.session("night"))
		w.settle()
		w.changePod(func(pod *corev1.Pod) { pod.Labels = nil })
		w.api.MeddleWith(func(made call, do func() error) error {
			if pods := w.pods(); made.Verb == "patch" && made.Kind == "Pod" && len(pods) > 0 && attempts.HasFinalizer(&pods[0], attempts.TrackingFinalizer) && !w.pastBound() {
				return errors.New("a policy refuses the labels")
			}
			return do()
		})
		w.pass(attempts.DeletionBound + 2*time.Minute)
		if !w.gone("night") {
			t.Error("the session is kept")
		}
	})
}

// pastBound reports whether the session is so late that it is let go of.
func (w *world) pastBound() bool {
	pod := w.pods()[0]
	return pod.DeletionTimestamp != nil && time.Since(pod.DeletionTimestamp.Time) >= attempts.DeletionBound
}

func TestASessionThatWasLetGoOfCostsNothingWhileOthersKeepIt(t *testing.T) {
	inWorld(t, func(w *world) {
		counted := &countingClock{}
		w.tune = func(o *Options) { o.Clock = counted }
		w.create(newSession("night"))
		w.start()
		w.edit("night", func(s *v1alpha1.ReactorSession) { s.Finalizers = append(s.Finalizers, "example.com/theirs") })
		w.changePod(func(pod *corev1.Pod) { pod.Finalizers = append(pod.Finalizers, "example.com/theirs") })
		w.node.be(func(k *kubelet) { k.lost = true })
		w.remove(w.session("night"))
		w.pass(attempts.DeletionBound + 5*time.Minute)
		for _, kept := range append(w.session("night").Finalizers, w.pods()[0].Finalizers...) {
			if kept != "example.com/theirs" {
				t.Errorf("our finalizer %s is still there", kept)
			}
		}
		before := counted.looks.Load()
		w.pass(time.Hour)
		if passes := counted.looks.Load() - before; passes > 10 {
			t.Errorf("%d passes were made in an hour in which nothing happened", passes)
		}
	})
}

// countingClock counts how often it is looked at, which a pass does at least once.
type countingClock struct {
	clock.RealClock

	looks atomic.Int64
}

func (c *countingClock) Now() time.Time {
	c.looks.Add(1)
	return c.RealClock.Now()
}

// Another controller allows no labels that it does not know.
func TestLabelsThatAnotherControllerRemovesEachTimeAreNoHotLoop(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(runs(10 * time.Minute))
		var patches atomic.Int32
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Kind != "Pod" || made.Verb != "patch" {
				return do()
			}
			if patches.Add(1) > 500 { // a hot loop would never end here
				return errAway
			}
			err := do()
			for _, pod := range w.pods() {
				pod.Labels = nil
				if updated := w.api.Update(w.Context(), &pod); updated != nil {
					w.Error(updated)
				}
			}
			return err
		})
		w.create(newSession("night"))
		w.start()
		w.changePod(func(pod *corev1.Pod) { pod.Labels = nil })
		w.pass(time.Hour)
		if got := patches.Load(); got > 40 {
			t.Errorf("%d patches of a pod that runs for 10 minutes", got)
		}
		if got, want := w.ended("night"), "1 Succeeded Completed AlreadyOver"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
	})
}
