package reactorsession

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
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
				if got, want := w.ended("night"), "1 Counted ExitCode Unverified"; got != want {
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
		if got, want := w.ended("night"), "1 Counted ExitCode Ended"; got != want {
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
		if got, want := w.ended("night"), "1 Counted ExitCode Ended"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		w.wantOpen(0)
	})
}
