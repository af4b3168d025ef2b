package reactorsession

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// refuseSessions has Reactor refuse all sessions that are started from now on.
func (w *world) refuseSessions(refusal emulator.Refusal) {
	w.reactor.SetFaults(emulator.Fault{Route: "POST /sessions", Refusal: refusal})
}

func TestASessionWaitsUntilAPersonPays(t *testing.T) {
	for refusal, reason := range map[emulator.Refusal]string{
		emulator.RefusalCreditsDepleted: v1alpha1.ReasonCreditsDepleted, emulator.RefusalBillingNotSetUp: v1alpha1.ReasonBillingNotSetUp,
	} {
		t.Run(reason, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.node.runNow(runs(time.Minute))
				w.refuseSessions(refusal)
				w.create(newSession("night"))
				w.start()
				w.pass(time.Minute)
				w.want("night", "Ready=False/"+reason, "Stalled=True/"+reason, "Failed=")
				if got, want := w.ended("night"), "1 Ignored "+reason+" NotNeeded"; got != want {
					t.Errorf("attempts %q, want %q", got, want)
				}
				ready := meta.FindStatusCondition(w.session("night").Status.Conditions, v1alpha1.ConditionReady)
				if !strings.Contains(ready.Message, billingURL) {
					t.Errorf("the message does not say where to pay: %s", ready.Message)
				}
				w.pass(4*15*time.Minute + 2*time.Minute) // four times every 15 minutes
				if got := w.session("night").Status.Attempts; got != 5 {
					t.Errorf("%d attempts in an hour", got)
				}
				w.start() // another operator waits no shorter
				w.pass(3 * time.Hour)
				status := w.session("night").Status
				if status.Attempts != 8 || status.Failures != 0 || status.IgnoredFailures != 0 {
					t.Errorf("%d attempts, %d counted failures, %d others", status.Attempts, status.Failures, status.IgnoredFailures)
				}
				w.reactor.ClearFaults()
				w.pass(time.Hour + 2*time.Minute)
				w.want("night", "Complete=True/Completed", "Stalled=")
			})
		})
	}
}

func TestAModelWithoutFreeServersIsTriedAgainSoonAndCostsNoCapacity(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(runs(time.Hour))
		w.create(newSession("runs"))
		w.start()
		w.refuseSessions(emulator.RefusalNoCapacity)
		w.create(newSession("night"))
		w.pass(5 * time.Minute)
		status := w.session("night").Status
		if status.Attempts < 4 || status.Failures != 0 || status.IgnoredFailures != 0 {
			t.Errorf("%d attempts in 5 minutes, %d counted failures, %d others", status.Attempts, status.Failures, status.IgnoredFailures)
		}
		w.reactor.ClearFaults()
		w.create(newSession("day"))
		w.pass(90 * time.Second)
		w.want("night", "Ready=True/Running")
		w.want("day", "Ready=True/Running")
	})
}

// Sessions that nobody knows of here take the rest of the account's quota.
func TestAReportedQuotaKeepsTheNextSessionsWaitingAndGrowsBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetQuotas(emulator.Quotas{Concurrent: 2})
		w.node.runNow(runs(3 * time.Hour))
		for i := range 3 {
			w.create(newSession(fmt.Sprintf("night-%d", i)))
		}
		w.start()
		w.pass(30 * time.Second)
		w.create(newSession("late"))
		w.pass(time.Minute)
		waiting := 0
		for _, name := range []string{"night-0", "night-1", "night-2", "late"} {
			ready := meta.FindStatusCondition(w.session(name).Status.Conditions, v1alpha1.ConditionReady)
			if ready.Reason == v1alpha1.ReasonWaitingForCapacity {
				waiting++
				if !strings.Contains(ready.Message, "at most 2 run at the same time") {
					t.Errorf("%s: %s", name, ready.Message)
				}
			}
		}
		if waiting != 2 {
			t.Errorf("%d sessions wait for capacity, want 2", waiting)
		}
		before := len(w.pods())
		w.pass(30 * time.Minute)
		if spent := len(w.pods()) - before; spent > 12 {
			t.Errorf("%d pods were spent on the quota in half an hour", spent)
		}
		w.reactor.SetQuotas(emulator.Quotas{})
		w.pass(16 * time.Minute)
		for _, name := range []string{"night-0", "night-1", "night-2", "late"} {
			w.want(name, "Ready=True/Running")
		}
	})
}

func TestAModelWithAQuotaOfOneIsRunOneAfterTheOther(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetQuotas(emulator.Quotas{ConcurrentPerModel: 1})
		w.node.runNow(runs(20 * time.Minute))
		w.create(newSession("first"), newSession("second"), newSession("other", ofModel("reactor/other")))
		w.start()
		w.pass(time.Minute)
		w.want("other", "Ready=True/Running")
		w.pass(50 * time.Minute)
		w.want("first", "Complete=True/Completed")
		w.want("second", "Complete=True/Completed")
	})
}

// Reactor names a wait that is longer than the operator's own.
func TestTheNextAttemptIsNotBeforeReactorAllowsIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Route: "POST /sessions", Status: 429, RetryAfter: 90 * time.Second, Times: 1})
		w.create(newSession("night"))
		w.start()
		w.pass(time.Minute)
		w.want("night", "Ready=False/BackingOff")
		w.pass(time.Minute)
		w.want("night", "Ready=True/Running")
	})
}
