package reactorsession

import (
	"context"
	"errors"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/drain"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// drain does what `manager drain` does.
func (w *world) drain(ctx context.Context, timeout time.Duration) error {
	w.Helper()
	api, err := reactor.NewClient(reactor.Options{BaseURL: "https://reactor.test", Transport: w.reactor.Transport()})
	if err != nil {
		w.Fatal(err)
	}
	access := w.api.ClientFor(func() bool { return false })
	sessions := New(Options{Client: access, Cache: access, Lister: LiveLister(access), APIReader: access, Reactor: api, APIURL: "https://reactor.test", Recorder: w, Clock: clock.RealClock{}})
	drainer := drain.Drainer{Client: access, Sessions: sessions, Recorder: w}
	return drainer.Run(ctx, nil, timeout)
}

// wantNothingKept checks that our finalizers are nowhere.
func (w *world) wantNothingKept(sessions ...string) {
	w.Helper()
	for _, name := range sessions {
		if session := w.session(name); len(session.Finalizers) > 0 {
			w.Errorf("the session %s is kept by %v", name, session.Finalizers)
		}
	}
	for _, pod := range w.pods() {
		if len(pod.Finalizers) > 0 {
			w.Errorf("the pod %s is kept by %v", pod.Name, pod.Finalizers)
		}
	}
}

func TestADrainEndsWhatRunsWithoutAnOperator(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("ends"), newSession("waits", func(s *v1alpha1.ReactorSession) { s.Spec.APIKeySecretRef.Name = "missing" }))
		w.start()
		w.node.runNow(leaves(time.Hour, 0))
		w.create(newSession("leaves", apiKeyEnv))
		w.settle()
		w.wantOpen(2)
		w.stop()
		if err := w.drain(w.Context(), 4*time.Minute); err != nil {
			w.Fatal(err)
		}
		w.wantOpen(0)
		w.wantNothingKept("ends", "leaves", "waits")
		for name, want := range map[string]string{"ends": "1 Stopped Suspended AlreadyOver", "leaves": "1 Stopped Suspended Ended", "waits": ""} {
			w.want(name, "Ready=False/Suspended", "Suspended=True/Suspended")
			if got := w.ended(name); got != want || !w.session(name).Spec.Suspended() {
				w.Errorf("%s has ended as %q, want %q, suspended: %t", name, got, want, w.session(name).Spec.Suspended())
			}
		}
		for _, name := range []string{"ends", "leaves", "waits"} {
			w.remove(w.session(name))
			if !w.gone(name) {
				w.Errorf("%s cannot be deleted without the operator", name)
			}
		}
	})
}

func TestADrainBesideAnOperatorDoesNothingTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night", ofModel("only/night")), newSession("day", ofModel("only/day")))
		w.start()
		if err := w.drain(w.Context(), 4*time.Minute); err != nil {
			w.Fatal(err)
		}
		w.settle()
		w.wantOpen(0)
		w.wantNothingKept("night", "day")
		for _, name := range []string{"night", "day"} {
			w.want(name, "Ready=False/Suspended", "Suspended=True/Suspended")
			if got, want := w.ended(name), "1 Stopped Suspended AlreadyOver"; got != want {
				w.Errorf("%s has ended as %q, want %q", name, got, want)
			}
		}
		// The operator is installed again: the sessions go on where somebody wants them to.
		w.edit("night", suspend(false))
		w.settle()
		w.want("night", "Ready=True/Running")
	})
}

func TestASessionThatIsResumedDuringADrainIsSuspendedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(func(m *machine) { m.begin(); <-m.Done(); time.Sleep(20 * time.Second) })
		w.create(newSession("night"))
		w.start()
		w.stop()
		go func() {
			time.Sleep(10 * time.Second)
			w.edit("night", suspend(false))
		}()
		if err := w.drain(w.Context(), 4*time.Minute); err != nil {
			w.Fatal(err)
		}
		if session := w.session("night"); !session.Spec.Suspended() || session.Status.Attempts != 1 {
			w.Errorf("suspended: %t, attempts: %d", session.Spec.Suspended(), session.Status.Attempts)
		}
		w.wantNothingKept("night")
	})
}

func TestADrainLetsGoOfWhatDoesNotEndInTime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night"))
		w.start()
		w.stop()
		w.node.be(func(k *kubelet) { k.lost = true })
		pod, began := w.session("night").Status.CurrentAttempt.PodName, time.Now()
		if err := w.drain(w.Context(), 4*time.Minute); err != nil {
			w.Fatal(err)
		}
		if took := time.Since(began); took < 4*time.Minute || took > 5*time.Minute {
			w.Errorf("it took %s", took)
		}
		w.wantNothingKept("night")
		if w.count(pod, "CleanupUnverified") != 1 {
			w.Error("that the clean-up could not be verified was not told once")
		}
	})
}

func TestADrainSaysWhenItWasInterruptedOrCouldNotDoItsWork(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night"))
		w.start()
		w.stop()
		interrupted, stop := context.WithCancel(w.Context())
		stop()
		if err := w.drain(interrupted, time.Minute); !errors.Is(err, context.Canceled) {
			w.Errorf("interrupted: %v", err)
		}
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Writes() {
				return errAway
			}
			return do()
		})
		if err := w.drain(w.Context(), time.Minute); err == nil {
			w.Error("no error, though nothing could be written")
		}
	})
}

// Somebody takes the finalizer off a session by hand, while the operator is away or works.
func TestPodsWhoseSessionIsGoneAreLetGo(t *testing.T) {
	for name, again := range map[string]bool{"the session is gone": false, "another has its name": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newSession("night"))
				w.start()
				w.stop()
				w.edit("night", func(s *v1alpha1.ReactorSession) { s.Finalizers = nil })
				w.remove(w.session("night"))
				if again {
					w.create(newSession("night", suspend(true)))
				}
				w.start()
				w.pass(time.Minute)
				if pods := w.pods(); len(pods) != 0 {
					w.Errorf("pods are left: %+v", pods)
				}
			})
		})
	}
}
