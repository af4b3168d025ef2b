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

// A token that is too old is renewed when its session has a slot. Sooner, it would be renewed again and again, and the session would lose
// its place each time.
func TestASessionThatRenewsItsTokenKeepsItsTurn(t *testing.T) {
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
		if mints := w.reactor.Ledger().Mints(); mints > 3*many {
			t.Errorf("%d mints for %d sessions", mints, many)
		}
	})
}

// Nobody knows when a token that is being renewed comes. Who has one does not wait for it.
func TestASlotIsNotKeptForATokenThatDoesNotCome(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tune = oneSlot
		w.node.runNow(runs(50 * time.Minute))
		w.create(newSession("runs"))
		w.start()
		w.create(newSession("older", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "1h" }))
		w.pass(time.Second)
		w.create(newSession("younger"))
		w.settle()
		w.reactor.RevokeKey(firstKey) // no further mints; what was minted goes on
		w.pass(55 * time.Minute)
		w.want("older", "Complete=")
		w.want("younger", "Ready=True/Running")
	})
}
