package reactorsession

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

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
	w.api.sessionLag = sessionLag
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
		w.api.meddleWith(func(made call, do func() error) error {
			if made.verb == "get" && made.kind == "Pod" && made.name == pod {
				return errNotAllowed
			}
			return do()
		})
		w.pass(30 * time.Minute)
		w.want("younger", "Complete=True/Completed")
		w.api.meddleWith(nil)
		w.pass(45 * time.Minute)
		w.want("older", "Complete=True/Completed")
	})
}

func TestPodsThatAreRefusedUseUpNoStarts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.api.meddleWith(func(made call, do func() error) error {
			if made.verb == "create" && made.kind == "Pod" && strings.HasPrefix(made.name, "refused") {
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
			w.api.meddleWith(func(made call, do func() error) error {
				if made.verb == "update status" && made.kind == "ReactorToken" {
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
				w.api.meddleWith(nil)
				w.reactor.ClearFaults()
				w.pass(3 * time.Hour)
				w.want("older", "Complete=True/Completed")
			})
		})
	}
}
