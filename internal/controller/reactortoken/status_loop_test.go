package reactortoken

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// overwriteStatus is what a late write of a former leader does, or kubectl edit --subresource=status.
func (w *world) overwriteStatus(name string, change func(*v1alpha1.ReactorTokenStatus)) {
	w.Helper()
	token := w.token(name)
	change(&token.Status)
	if err := w.api.Status().Update(w.Context(), token); err != nil {
		w.Fatal(err)
	}
}

func TestAStatusThatSomebodyElseWroteIsPutRightInTheNextPass(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		want := w.token("web").Status
		w.overwriteStatus("web", func(status *v1alpha1.ReactorTokenStatus) {
			*status = v1alpha1.ReactorTokenStatus{SecretName: "other", ConsecutiveFailures: 7}
		})
		w.pass(maxWait)
		got := w.token("web").Status
		for i := range got.Conditions { // the instants are of the correction
			got.Conditions[i].LastTransitionTime = want.Conditions[i].LastTransitionTime
		}
		got.LastHandledRenewRequest = want.LastHandledRenewRequest
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("status (-want +got):\n%s", diff)
		}
		w.wantMints(1)
	})
}

// A leader that lost its lease finishes the reconciles that it has started, and may write what its own clock says over the status of the new one.
func TestAStatusThatAFormerLeaderWroteIsCorrected(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		w.pass(time.Minute)
		w.stop()
		w.start()
		w.pass(5 * time.Second)
		w.overwriteStatus("web", func(status *v1alpha1.ReactorTokenStatus) {
			meta.SetStatusCondition(&status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonTokenExpired})
		})
		w.pass(formerLeaderBound)
		w.want("web", "Ready=True/TokenValid")
		w.wantMints(1)
	})
}

// A status that the operator has not seen is not overwritten by what it derived from an older one.
func TestAStatusIsWrittenOnlyOverTheObservedVersion(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		meddled := 0
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Verb == "update status" && meddled == 0 {
				meddled++
				w.edit("web", annotate("example.com/note", "in between"))
				if err := do(); err == nil {
					t.Error("the status was written over a version that nobody had seen")
				} else {
					return err
				}
				return nil
			}
			return do()
		})
		w.start()
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
		w.wantMints(1)
		if diff := cmp.Diff([]string{"TokenIssued"}, w.eventsOf("web")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		w.wantNoErrors()
	})
}

// The times of the next attempts are in status. While it cannot be written, they live in memory.
func TestWhatCannotBeWrittenIntoTheStatusIsNotForgotten(t *testing.T) {
	for name, test := range map[string]struct {
		status          int
		atLeast, atMost int
		wantWhenBack    string
	}{
		"a backoff": {http.StatusBadGateway, 12, 20, "Renewed=False/ReactorUnavailable"},
		"a refusal": {http.StatusBadRequest, 4, 5, "Renewed=False/RequestRefused"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.reactor.SetFaults(emulator.Fault{Status: test.status})
				w.api.MeddleWith(withoutStatus)
				w.create(newToken("web"))
				w.start()
				w.pass(time.Hour)
				if got := w.attempts(); got < test.atLeast || got > test.atMost {
					t.Errorf("%d attempts in an hour, want %d to %d", got, test.atLeast, test.atMost)
				}
				w.api.MeddleWith(nil)
				w.pass(retryCap)
				w.want("web", test.wantWhenBack)
			})
		})
	}
}

func TestEventsWaitForTheStatusAndAreNotLost(t *testing.T) {
	inWorld(t, func(w *world) {
		w.api.MeddleWith(withoutStatus)
		w.create(newToken("web"))
		w.start()
		if got := w.eventsOf("web"); len(got) != 0 {
			t.Errorf("events %q before the status", got)
		}
		w.api.MeddleWith(nil)
		w.pass(retryCap)
		if diff := cmp.Diff([]string{"TokenIssued"}, w.eventsOf("web")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}
