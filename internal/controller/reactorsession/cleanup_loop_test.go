package reactorsession

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/cleanup"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// victimOf waits until another program runs, and returns the id of that one's Reactor session.
func (w *world) victimOf(name string) string {
	w.Helper()
	w.want(name, "Ready=True/Running")
	for _, s := range w.reactor.Ledger().Open() {
		if s.Model == "only/"+name {
			return s.ID
		}
	}
	w.Fatalf("%s has no Reactor session", name)
	return ""
}

// unscopedMints counts the tokens without a scope.
func (w *world) unscopedMints() int {
	count := 0
	for _, call := range w.reactor.Ledger().Calls {
		if call.JTI != "" && len(call.Models) == 0 {
			count++
		}
	}
	return count
}

// A program may write any id into its termination message. The operator's unscoped token could end every session of the account.
func TestASessionOfAnotherProgramIsNeverEnded(t *testing.T) {
	for name, test := range map[string]struct {
		own  bool
		open int
	}{
		"that is all it reports":        {false, 1},
		"in addition to one of its own": {true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newSession("day", ofModel("only/day")))
				w.start()
				victim := w.victimOf("day")
				w.node.runNow(func(m *machine) {
					token := m.token()
					if test.own {
						token, _ = m.begin()
					}
					if status, _ := m.call("GET", "/sessions/"+victim, token, ""); status != http.StatusForbidden {
						t.Errorf("Reactor answers %d to the attempt's own token", status)
					}
					m.tell(fmt.Sprintf(`{"sessionId":%q}`, victim))
					m.leave(1)
				})
				w.create(newSession("night", ofModel("only/night"), policy(v1alpha1.RestartNever), func(s *v1alpha1.ReactorSession) { s.Spec.BackoffLimit = new(int32(0)) }))
				w.pass(time.Minute)
				if got, want := w.ended("night"), "1 Failed ExitCode Unverified"; got != want {
					t.Errorf("attempts %q, want %q", got, want)
				}
				if told := w.count("night", "CleanupUnverified"); told != 1 {
					t.Errorf("that the cleanup could not be verified was reported %d times", told)
				}
				if mints := w.unscopedMints(); mints != 0 {
					t.Errorf("%d unscoped tokens were requested", mints)
				}
				w.want("day", "Ready=True/Running")
				w.wantOpen(test.open)
			})
		})
	}
}

// A renewed token is another grant: 403 is its answer for the session that the token before it started.
func TestASessionThatATokenBeforeARenewalStartedIsEnded(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(5*time.Hour, 1))
		w.create(newSession("night"))
		w.start()
		first := w.session("night").Status.CurrentAttempt.TokenIssuedTime
		if first == nil {
			t.Fatal("the attempt does not tell when its token was issued")
		}
		w.pass(5*time.Hour + time.Minute)
		if got, want := w.ended("night"), "1 Failed ExitCode Ended"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		if mints := w.unscopedMints(); mints != 1 {
			t.Errorf("%d unscoped tokens were requested, want 1", mints)
		}
	})
}

// Reactor, or what stands before it, refuses a valid API key for a moment.
func TestACleanupSurvivesARefusalOfItsKeyThatIsAMistake(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(30*time.Second, 1))
		w.create(newSession("night"))
		w.start()
		w.reactor.SetFaults(
			emulator.Fault{Route: "GET /sessions/{id}", Status: http.StatusUnauthorized, Times: 4}, // three times to the attempt's own token, once to an unscoped one
			emulator.Fault{Route: "POST /tokens", Status: http.StatusUnauthorized, Times: 2},
		)
		w.pass(2 * time.Minute)
		if got, want := w.ended("night"), "1 Failed ExitCode Ended"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		w.wantOpen(0)
	})
}

// Reactor answers a DELETE with 200, and the session is CLOSED a moment later. Until then it is billed, and takes one of the account's slots.
func TestACleanupEndsWhenReactorShowsTheSessionAsClosed(t *testing.T) {
	for name, test := range map[string]struct {
		closeAfter time.Duration
		want       string
	}{
		"a moment later":              {emulator.DefaultCloseAfter, "1 Failed ExitCode Ended"},
		"half a minute later":         {30 * time.Second, "1 Failed ExitCode Ended"},
		"not as long as one can wait": {time.Hour, "1 Failed ExitCode Unverified"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.reactor.SetSessionTimes(0, 0, test.closeAfter)
				w.node.runNow(leaves(10*time.Second, 1))
				w.create(newSession("night", policy(v1alpha1.RestartNever), func(s *v1alpha1.ReactorSession) { s.Spec.BackoffLimit = new(int32(0)) }))
				w.start()
				for range int((cleanup.Bound + 2*time.Minute) / time.Second) {
					if w.ended("night") != "" {
						break
					}
					w.pass(time.Second)
				}
				if got := w.ended("night"); got != test.want {
					t.Errorf("attempts %q, want %q", got, test.want)
				}
				if test.closeAfter < time.Hour {
					w.wantOpen(0)
				}
			})
		})
	}
}

// A program that could not start a session has none to clean up.
func TestAProgramThatARateLimitLetStartNoSessionIsNoReasonToWarn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Route: "POST /sessions", Status: http.StatusTooManyRequests})
		w.create(newSession("night"))
		w.start()
		if got, want := w.ended("night"), "1 Ignored RateLimited NotNeeded"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		if told := w.count("night", "CleanupUnverified"); told != 0 {
			t.Errorf("a warning was emitted %d times", told)
		}
	})
}

// The node starts the container after nobody could reach it any more, and is deleted then. What status shows is older than that.
func TestAPodThatWasLostWhileItPulledMayHaveStarted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.be(func(k *kubelet) { k.stuck = true })
		w.create(newSession("night"))
		w.start()
		pod := &w.pods()[0]
		if err := w.node.bind(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		pod.Status = corev1.PodStatus{Phase: corev1.PodFailed,
			Conditions:        []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC"}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "stream", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}},
		}
		if err := w.api.Status().Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		w.remove(pod)
		w.settle()
		if got, want := w.ended("night"), "1 Ignored DeletionByPodGC Unverified"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		if told := w.count("night", "CleanupUnverified"); told != 1 {
			t.Errorf("that the cleanup could not be verified was reported %d times", told)
		}
	})
}

// Another client may edit the status of a token.
func TestATokenThatIsReadyAndTellsNoTimesIsNotUsed(t *testing.T) {
	token := &v1alpha1.ReactorToken{}
	token.Status.ObservedGeneration = 1
	token.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTokenValid}}
	session := newSession("night")
	observed := &observation{now: noon, token: token, status: v1alpha1.ReactorSessionStatus{CurrentAttempt: &v1alpha1.SessionAttempt{Number: 1, TokenName: "night-1"}}}
	if planned := firstStep(session, observed); planned.do != doNothing || planned.ready == nil || planned.ready.reason != v1alpha1.ReasonWaitingForToken {
		t.Errorf("the plan is %q, %+v", planned.do, planned.ready)
	}
}

// By a key of another account, Reactor knows no session of this one.
func TestASessionThatIsUnknownByAnotherKeyIsNotOver(t *testing.T) {
	for name, test := range map[string]struct {
		rotate bool
		want   string
	}{
		"the key of the attempt": {false, "1 Failed ExitCode AlreadyOver"},
		"another key":            {true, "1 Failed ExitCode Unverified"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.node.runNow(func(m *machine) {
					m.tell(`{"sessionId":"00000000-0000-4000-8000-000000000000"}`)
					time.Sleep(time.Minute)
					m.leave(1)
				})
				w.create(newSession("night", apiKeyEnv))
				w.start()
				w.want("night", "Ready=True/Running")
				if test.rotate {
					if err := w.api.Update(t.Context(), secretIn(namespace, keySecret, v1alpha1.DefaultAPIKeyKey, secondKey)); err != nil {
						t.Fatal(err)
					}
				}
				w.pass(70 * time.Second)
				if got := w.ended("night"); got != test.want {
					t.Errorf("attempts %q, want %q", got, test.want)
				}
			})
		})
	}
}

// A wrong route in a proxy, or a replica of Reactor that lags, answers 404 for a session that is open.
func TestA404IsCheckedAgainBeforeASessionCountsAsOver(t *testing.T) {
	for name, test := range map[string]struct {
		answers int // of 404
		want    string
	}{
		"one":          {1, "1 Failed ExitCode Ended"},
		"all of them":  {0, "1 Failed ExitCode AlreadyOver"},
		"none of them": {-1, "1 Failed ExitCode Ended"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.node.runNow(leaves(time.Minute, 1))
				w.create(newSession("night"))
				w.start()
				if test.answers >= 0 {
					w.reactor.SetFaults(emulator.Fault{Route: "GET /sessions/{id}", Status: http.StatusNotFound, Times: test.answers})
				}
				w.pass(80 * time.Second)
				if got := w.ended("night"); got != test.want {
					t.Errorf("attempts %q, want %q", got, test.want)
				}
			})
		})
	}
}

// A user removes the finalizers of a pod, and deletes it by force, while Reactor does not answer the cleanup.
func TestWhatWasSeenOfAPodThatIsLostDuringTheCleanupCounts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(time.Minute, 0))
		w.create(newSession("night", policy(v1alpha1.RestartOnFailure)))
		w.start()
		w.reactor.SetFaults(emulator.Fault{Route: "GET /sessions/{id}", Status: http.StatusInternalServerError})
		w.pass(90 * time.Second)
		pod := &w.pods()[0]
		pod.Finalizers = nil
		if err := w.api.Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		w.remove(pod)
		w.settle()
		w.reactor.SetFaults()
		w.pass(2 * time.Minute)
		if got, want := w.ended("night"), "1 Succeeded Completed Ended"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		w.wantOpen(0)
	})
}

// The attempt, its pod, its start and its end are written. That a session which is closed a second later is still open is not: nobody could do
// anything about it, and each session would cost a write more.
func TestACleanupOfASecondCostsNoWrite(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(10*time.Second, 0))
		w.create(newSession("night"))
		w.start()
		w.pass(time.Minute)
		w.want("night", "Ready=True/Completed")
		if got := w.ended("night"); got != "1 Succeeded Completed Ended" {
			t.Errorf("attempts %q", got)
		}
		if got := w.api.Asked(call{Verb: "update status", Kind: "ReactorSession"}); got != 4 {
			t.Errorf("%d writes of the status, want 4", got)
		}
	})
}
