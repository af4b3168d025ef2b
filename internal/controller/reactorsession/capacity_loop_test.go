package reactorsession

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

func TestSessionsOfOneKeyShareItsCapacity(t *testing.T) {
	for name, lag := range map[string]time.Duration{
		"with caches that are equally late":       0,
		"with sessions that are seen after pods":  25 * time.Millisecond,
		"with sessions that are seen long after":  900 * time.Millisecond,
		"with sessions that are seen before pods": 5 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) { inWorld(t, func(w *world) { w.shareCapacity(lag) }) })
	}
}

// shareCapacity has more sessions run than there may be at once.
func (w *world) shareCapacity(sessionLag time.Duration) {
	if sessionLag > 0 {
		w.api.KindLag["ReactorSession"] = sessionLag
	}
	const many = 20
	w.node.runNow(runs(time.Minute))
	for i := range many {
		w.create(newSession(fmt.Sprintf("night-%02d", i)))
	}
	w.start()
	waiting := 0
	for i := range many {
		if w.condition(fmt.Sprintf("night-%02d", i)) == "False/WaitingForCapacity" {
			waiting++
		}
	}
	if waiting < many-5 {
		w.Errorf("%d of %d wait", waiting, many)
	}
	w.pass(30 * time.Minute)
	for i := range many {
		w.want(fmt.Sprintf("night-%02d", i), "Complete=True/Completed")
	}
	ledger := w.reactor.Ledger()
	for _, call := range ledger.SessionCalls {
		if call.Status == http.StatusTooManyRequests {
			w.Errorf("a pod was burnt on a 429 at %s", call.Time)
		}
	}
	if got := ledger.MostOpen(""); got > 5 || len(ledger.Sessions) != many {
		w.Errorf("%d open at once, %d in all", got, len(ledger.Sessions))
	}
}

// twoSlots lets two sessions run at a time.
func twoSlots(o *Options) { o.SessionsPerKey = 2 }

// running counts the pods that run.
func (w *world) running() int {
	count := 0
	for _, pod := range w.pods() {
		if pod.Status.Phase == corev1.PodRunning {
			count++
		}
	}
	return count
}

// putKey writes an API key into a Secret that exists.
func (w *world) putKey(secret, key string) {
	w.Helper()
	if err := w.api.Update(context.Background(), secretIn(namespace, secret, v1alpha1.DefaultAPIKeyKey, key)); err != nil {
		w.Fatal(err)
	}
}

func TestARotatedKeyStaysInThePoolOfItsPredecessor(t *testing.T) {
	for name, happen := range map[string]func(*world){
		"while the operator runs":     func(*world) {},
		"and the operator is started": (*world).start,
		"with another operator": func(w *world) {
			w.stop()
			w.create(newSession("late"))
			w.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.tune = twoSlots
				w.node.runNow(runs(20 * time.Minute))
				w.create(newSession("old-1"), newSession("old-2"))
				w.start()
				w.create(newSession("new-1"), newSession("new-2"))
				w.settle()
				w.putKey(keySecret, secondKey)
				happen(w)
				w.pass(5 * time.Minute)
				if got := w.running(); got != 2 {
					t.Errorf("after the rotation %d sessions run, want 2", got)
				}
				w.want("new-1", "Ready=False/WaitingForCapacity")
				w.pass(20 * time.Minute)
				w.want("new-1", "Ready=True/Running")
				w.want("new-2", "Ready=True/Running")
				if most := w.reactor.Ledger().MostOpen(""); most > 2 {
					t.Errorf("%d were open at the same time", most)
				}
			})
		})
	}
}

// Two Secrets hold one key. Each is rotated, and what runs has the old one.
func TestSecretsWithTheSameKeyShareAPool(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tune = twoSlots
		w.node.runNow(runs(20 * time.Minute))
		other := func(s *v1alpha1.ReactorSession) { s.Spec.APIKeySecretRef.Name = "other-key" }
		w.create(secretIn(namespace, "other-key", v1alpha1.DefaultAPIKeyKey, firstKey), newSession("old-1", other), newSession("old-2", other))
		w.start()
		w.create(newSession("new-1"))
		w.settle()
		w.want("new-1", "Ready=False/WaitingForCapacity")
		w.putKey("other-key", secondKey)
		w.pass(time.Second)
		w.putKey(keySecret, secondKey)
		w.create(newSession("new-2", other))
		w.pass(5 * time.Minute)
		if got := w.running(); got != 2 {
			t.Errorf("after the rotation %d sessions run, want 2", got)
		}
		w.pass(20 * time.Minute)
		w.want("new-1", "Ready=True/Running")
		w.want("new-2", "Ready=True/Running")
	})
}

// oneSlot lets one session run at a time.
func oneSlot(o *Options) { o.SessionsPerKey = 1 }

var errNotAllowed = apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("not allowed"))

// Such as one whose namespace has lost its Role.
func TestASessionThatCannotBePassedOverDoesNotKeepTheOthersWaiting(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tune = oneSlot
		w.node.runNow(runs(10 * time.Minute))
		w.create(newSession("runs"))
		w.start()
		w.create(newSession("older"))
		w.pass(10 * time.Second)
		w.create(newSession("younger"))
		w.settle()
		w.want("older", "Ready=False/WaitingForCapacity")
		pod := w.session("older").Status.CurrentAttempt.PodName
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Verb == "get" && made.Kind == "Pod" && made.Name == pod {
				return errNotAllowed
			}
			return do()
		})
		w.pass(30 * time.Minute)
		w.want("younger", "Complete=True/Completed")
		w.api.MeddleWith(nil)
		w.pass(45 * time.Minute)
		w.want("older", "Complete=True/Completed")
	})
}

func TestPodsThatAreRefusedUseUpNoStarts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Verb == "create" && made.Kind == "Pod" && strings.HasPrefix(made.Name, "refused") {
				return errNotAllowed
			}
			return do()
		})
		for i := range 15 {
			w.create(newSession(fmt.Sprintf("refused-%02d", i)))
		}
		w.start()
		w.pass(10 * time.Minute)
		w.create(newSession("night"))
		w.pass(2 * time.Minute)
		w.want("night", "Ready=True/Running")
		w.want("refused-07", "Ready=False/PodRefused")
	})
}

// A session requests its token when it has a slot, so that no token becomes too old in the queue.
func TestASessionThatWaitsForASlotRequestsNoToken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tune = oneSlot
		w.node.runNow(runs(5 * time.Hour))
		w.create(newSession("night-00", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "5h10m" }))
		w.start()
		w.node.runNow(runs(time.Minute))
		short := func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration, s.Spec.StartDeadline = "5m", "1m" }
		w.create(newSession("night-01", short), newSession("night-02", short))
		w.pass(5*time.Hour + 5*time.Minute)
		const many = 3
		for i := range many {
			w.want(fmt.Sprintf("night-%02d", i), "Complete=True/Completed")
		}
		if mints := w.reactor.Ledger().Mints(); mints != many {
			t.Errorf("%d mints for %d pods in five hours", mints, many)
		}
	})
}

func TestSessionsTakeTheirSlotsInTheOrderOfTheirAge(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tune = oneSlot
		w.node.runNow(runs(15 * time.Minute))
		hour := func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "1h" }
		const many = 10
		for i := range many {
			w.create(newSession(fmt.Sprintf("night-%02d", i), hour))
			if i == 0 {
				w.start()
			}
			w.pass(time.Second)
		}
		last := time.Time{}
		w.pass(many * 16 * time.Minute)
		for i := range many {
			name := fmt.Sprintf("night-%02d", i)
			w.want(name, "Complete=True/Completed")
			if finished := w.session(name).Status.FinishedTime; finished == nil || finished.Before(&metav1.Time{Time: last}) {
				t.Errorf("%s was overtaken", name)
			} else {
				last = finished.Time
			}
		}
		if mints := w.reactor.Ledger().Mints(); mints != many {
			t.Errorf("%d mints for %d sessions", mints, many)
		}
	})
}

// A token that does not come frees the slot: immediately while it waits for its key, and otherwise after two minutes.
func TestASlotIsNotKeptForATokenThatDoesNotCome(t *testing.T) {
	for name, test := range map[string]struct {
		happen func(*world)
		within time.Duration
	}{
		"Reactor refuses the key":  {func(w *world) { w.reactor.SetFaults(emulator.Fault{Status: http.StatusUnauthorized}) }, 20 * time.Second},
		"Reactor is not available": {func(w *world) { w.reactor.SetFaults(emulator.Fault{Status: http.StatusServiceUnavailable}) }, 20 * time.Second},
		"its controller is away": {func(w *world) {
			w.api.MeddleWith(func(made call, do func() error) error {
				if made.Verb == "update status" && made.Kind == "ReactorToken" {
					return errAway
				}
				return do()
			})
		}, 2*time.Minute + 10*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.tune = oneSlot
				w.create(newSession("older"))
				test.happen(w)
				w.start()
				w.create(newSession("younger", apiKeyEnv))
				w.pass(test.within)
				w.want("older", "Ready=False/WaitingForToken")
				if got := w.condition("younger"); got == "False/WaitingForCapacity" || got == "" {
					t.Errorf("after %s the younger session is %q", test.within, got)
				}
				w.api.MeddleWith(nil)
				w.reactor.ClearFaults()
				w.pass(3 * time.Hour)
				w.want("older", "Complete=True/Completed")
			})
		})
	}
}

// The API server does what it was asked, and its answer is lost.
func TestTheSlotIsKeptUntilItIsKnownWhetherThePodMayRun(t *testing.T) {
	for name, test := range map[string]struct {
		verb string
		form func(*v1alpha1.ReactorSession)
	}{
		"when it is created":       {"create", func(*v1alpha1.ReactorSession) {}},
		"when its gate is removed": {"patch", queued},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.tune = oneSlot
				w.kueue(false)
				var lost atomic.Int32
				w.api.MeddleWith(func(made call, do func() error) error {
					err := do()
					if made.Verb == test.verb && made.Kind == "Pod" && lost.Add(1) == 1 {
						return errAway
					}
					return err
				})
				w.create(newSession("first", test.form), newSession("second"))
				if test.verb == "patch" {
					w.remove(w.session("second"))
				}
				w.start()
				if test.verb == "patch" {
					w.admit("first")
					w.create(newSession("second"))
				}
				w.pass(3 * time.Minute)
				if lost.Load() == 0 {
					w.Error("no answer was lost")
				}
				w.wantOpen(1)
			})
		})
	}
}
