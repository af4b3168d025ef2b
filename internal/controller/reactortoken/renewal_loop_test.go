package reactortoken

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

func TestAFirstTokenIsWrittenOnceAndThenNothingIsAsked(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.create(newToken("web", lifetime("1h")))
		w.settle()
		w.wantMints(1)
		w.wantValid("web")
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued", "LifetimeClamped=False/AsRequested", "Stalled=")
		if diff := cmp.Diff([]string{"TokenIssued"}, w.eventsOf("web")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		status := w.token("web").Status
		if status.SecretName != "web" || status.RequestedLifetime != "1h" || status.GrantedLifetime != "1h" || status.DeliveredTokenID == "" {
			t.Errorf("status %+v", status)
		}
		asked := w.api.Asked(call{})
		w.pass(30 * time.Minute)
		if more := w.api.Asked(call{}) - asked; more != 0 {
			t.Errorf("%d more requests in half an hour in which nothing was due", more)
		}
	})
}

func TestEachTokenIsRenewedAtTheTimeInStatusForDays(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		started := time.Now()
		for mints := 1; time.Since(started) < 3*24*time.Hour; mints++ {
			w.passUntil(w.token("web").Status.RenewalTime.Add(-time.Second))
			w.wantMints(mints)
			asked := w.api.Asked(call{})
			w.pass(3 * time.Second)
			w.wantMints(mints + 1)
			w.wantValid("web")
			w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
			if got := w.api.Asked(call{}) - asked; got != 3 {
				t.Errorf("a renewal cost %d requests, want 3: the key, the Secret and the status", got)
			}
		}
		if got := w.count("web", "TokenIssued"); got != w.mints() {
			t.Errorf("%d events for %d tokens", got, w.mints())
		}
		w.wantNoErrors()
	})
}

func TestAShortGrantIsShownAndRenewedByWhatWasGranted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetLifetimes(0, 10*time.Minute)
		w.create(newToken("web", lifetime("6h"), func(token *v1alpha1.ReactorToken) { token.Spec.RenewBefore = "30m" }))
		w.start()
		w.want("web", "LifetimeClamped=True/RenewBeforeIgnored", "Ready=True/TokenValid")
		w.pass(time.Hour)
		if got := w.mints(); got < 8 || got > 11 { // each lives for 10 minutes, less a third, less a jitter
			t.Errorf("%d tokens in an hour", got)
		}
		w.wantValid("web")
	})
}

// The two transitions of a renewal that fails are at the instants where they belong: Renewed when it failed, and Ready not
// before the token that is there has really expired.
func TestAFailedRenewalKeepsTheOldTokenReadyUntilItExpires(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1h")))
		w.start()
		before := w.token("web").Status
		old := w.secret("web").Data[targetsecret.JWTKey]
		w.reactor.SetFaults(emulator.Fault{Status: 503})

		w.passUntil(before.RenewalTime.Add(2 * time.Second))
		w.want("web", "Ready=True/TokenValid", "Renewed=False/ReactorUnavailable", "Stalled=")
		w.wantTransition("web", "Renewed", before.RenewalTime.Time)

		w.passUntil(before.ExpirationTime.Add(-time.Second))
		w.want("web", "Ready=True/TokenValid", "Renewed=False/ReactorUnavailable", "Stalled=")
		if diff := cmp.Diff(old, w.secret("web").Data[targetsecret.JWTKey]); diff != "" {
			t.Error("the old token was touched before it expired")
		}

		w.pass(3 * time.Second)
		w.want("web", "Ready=False/TokenExpired", "Renewed=False/ReactorUnavailable", "Stalled=")
		w.wantTransition("web", "Ready", before.ExpirationTime.Time)

		w.reactor.ClearFaults()
		w.pass(mintBackoffCap)
		w.wantValid("web")
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
		status := w.token("web").Status
		if status.ConsecutiveFailures != 0 || status.NextAttemptTime != nil || status.LastFailure != nil {
			t.Errorf("after a success, status still tells of failures: %+v", status)
		}
		if diff := cmp.Diff([]string{"TokenIssued", "ReactorUnavailable", "TokenExpired", "TokenIssued"}, w.eventsOf("web")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// wantTransition checks when a condition changed, to the second.
func (w *world) wantTransition(name, kind string, want time.Time) {
	w.Helper()
	found := meta.FindStatusCondition(w.token(name).Status.Conditions, kind)
	if found == nil || found.LastTransitionTime.Sub(want).Abs() > time.Second {
		w.Errorf("the condition %s of %s changed at %v, want %s", kind, name, found, want)
	}
}

func TestAttemptsBackOffAndNeverSleepPastTheExpiry(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		status := w.token("web").Status
		w.reactor.SetFaults(emulator.Fault{Status: 500})
		w.passUntil(status.ExpirationTime.Add(time.Hour))

		attempts := w.reactor.Ledger().Calls[1:]
		if len(attempts) > 110 { // three hours and a half, at least four minutes each; more of them in the last minutes
			t.Errorf("%d attempts in %s", len(attempts), time.Since(status.RenewalTime.Time))
		}
		for i := range attempts[1:] {
			wait, left := attempts[i+1].Time.Sub(attempts[i].Time), status.ExpirationTime.Sub(attempts[i].Time)
			switch {
			case wait > mintBackoffCap+time.Second:
				t.Errorf("attempt %d came %s after the one before", i+1, wait)
			case left > 0 && wait > max(left/4, backoffFloor)+2*time.Second:
				t.Errorf("%s before the expiry, %s were slept", left, wait)
			case left > time.Hour && i > 0 && i < 5 && wait < attempts[i].Time.Sub(attempts[i-1].Time):
				t.Errorf("the wait after attempt %d is shorter than the one before", i)
			}
		}
		if got, want := w.token("web").Status.ConsecutiveFailures, int32(len(attempts)); got != want {
			t.Errorf("status counts %d failures, and there were %d", got, want)
		}
	})
}

func TestAnAnswerThatCannotBeUsedIsTriedAgainAndTheTokenStays(t *testing.T) {
	garbled := "<html>gateway</html>"
	for name, fault := range map[string]emulator.Fault{
		"a request timeout":       {Status: 408},
		"a server error":          {Status: 502},
		"a page of a proxy":       {Body: &garbled},
		"an answer that is cut":   {Cut: true},
		"no answer":               {Hang: true},
		"no token in the answer":  {OmitJWT: true},
		"no expiry in the answer": {OmitExpiresAt: true},
		"a token that expired":    {ExpiresIn: new(-time.Hour)},
		"a token with 5 s left":   {ExpiresIn: new(5 * time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newToken("web"))
				w.start()
				w.reactor.SetFaults(fault)
				w.passUntil(w.token("web").Status.RenewalTime.Add(time.Hour))
				w.want("web", "Ready=True/TokenValid", "Renewed=False/ReactorUnavailable", "Stalled=")
				w.wantValid("web")
				if got := w.attempts() - 1; got < 10 || got > 20 {
					t.Errorf("%d attempts in an hour", got)
				}
				w.reactor.ClearFaults()
				w.pass(mintBackoffCap + 15*time.Second)
				w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
			})
		})
	}
}

func TestAFirstTokenThatIsExpiredOnArrivalIsNeitherWrittenNorRequestedInALoop(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{ExpiresIn: new(time.Duration(0))})
		w.create(newToken("web"))
		w.start()
		w.pass(time.Hour)
		if w.secret("web") != nil {
			t.Error("an expired token was written")
		}
		if got := w.attempts(); got < 10 || got > 20 {
			t.Errorf("%d attempts in an hour", got)
		}
		w.want("web", "Ready=False/ReactorUnavailable", "Renewed=False/ReactorUnavailable", "Stalled=")
	})
}

func TestASuspendedTokenIsKeptAndNotRenewed(t *testing.T) {
	suspend := func(is bool) func(*v1alpha1.ReactorToken) {
		return func(token *v1alpha1.ReactorToken) { token.Spec.Suspend = new(is) }
	}
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1h")), newToken("never", suspend(true)))
		w.start()
		w.wantMints(1)
		w.want("never", "Ready=False/Suspended", "Renewed=False/Suspended", "Stalled=")
		w.edit("web", suspend(true))
		w.settle()
		w.want("web", "Ready=True/TokenValid", "Renewed=False/Suspended")
		expires := w.token("web").Status.ExpirationTime
		w.passUntil(expires.Add(-time.Second))
		w.want("web", "Ready=True/TokenValid", "Renewed=False/Suspended")
		w.pass(2 * time.Second)
		w.want("web", "Ready=False/TokenExpired", "Renewed=False/Suspended", "Stalled=")
		w.wantTransition("web", "Ready", expires.Time)
		w.pass(6 * time.Hour)
		w.wantMints(1)
		if w.secret("web") == nil {
			t.Error("the Secret of a suspended ReactorToken was deleted")
		}
		w.edit("web", suspend(false))
		w.edit("never", suspend(false))
		w.settle()
		w.wantMints(3)
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
		w.want("never", "Ready=True/TokenValid", "Renewed=True/Issued")
	})
}

func TestAMintThatIsUnderWayIsFinishedWhenTheOperatorStops(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Latency: 10 * time.Second})
		w.create(newToken("web"))
		w.start()
		w.stop()
		w.wantMints(1)
		w.wantValid("web")
		w.want("web", "Ready=True/TokenValid")
	})
}

func TestEveryConditionHasTheObservedGeneration(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		w.edit("web", lifetime("2h"))
		w.settle()
		token := w.token("web")
		if token.Generation != 2 || token.Status.ObservedGeneration != 2 {
			t.Errorf("generation %d, observed %d", token.Generation, token.Status.ObservedGeneration)
		}
		for _, condition := range token.Status.Conditions {
			if condition.ObservedGeneration != 2 || condition.Status == metav1.ConditionUnknown {
				t.Errorf("condition %+v", condition)
			}
		}
	})
}
