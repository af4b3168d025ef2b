package reactortoken

import (
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// spoil edits what is around the token in the target Secret.
func (w *world) spoil() {
	w.Helper()
	w.editSecret("web", func(secret *corev1.Secret) { secret.Data[targetsecret.ExpiresAtKey] = []byte("0") })
}

func TestASecretIsRepairedEvenWhileNoNewTokenIsAvailable(t *testing.T) {
	for name, test := range map[string]struct {
		obstruct func(w *world)
		renewed  string
	}{
		"the key is refused":     {func(w *world) { w.reactor.RevokeKey(firstKey) }, v1alpha1.ReasonAPIKeyRefused},
		"the key is limited":     {func(w *world) { w.reactor.SetFaults(emulator.Fault{Status: http.StatusTooManyRequests}) }, v1alpha1.ReasonRateLimited},
		"the request is refused": {func(w *world) { w.reactor.SetFaults(emulator.Fault{Status: http.StatusBadRequest}) }, v1alpha1.ReasonRequestRefused},
		"Reactor is away":        {func(w *world) { w.reactor.SetFaults(emulator.Fault{Status: http.StatusBadGateway}) }, v1alpha1.ReasonReactorUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newToken("web"))
				w.start()
				test.obstruct(w)
				w.edit("web", annotate(v1alpha1.RenewRequestedAtAnnotation, "now"))
				w.settle()
				for range 3 {
					w.spoil()
					w.settle()
					w.wantValid("web")
					w.want("web", "Ready=True/TokenValid", "Renewed=False/"+test.renewed)
				}
				w.wantMints(1)
			})
		})
	}
}

// The operator comes back, and finds a Secret that drifted and a renewal that Reactor refuses.
func TestASecretIsRepairedInTheReconcileWhoseMintFails(t *testing.T) {
	for name, test := range map[string]struct {
		meddle func(call, func() error) error
		right  bool
	}{
		"and the API server takes it":                         {nil, true},
		"and of two failures in one pass, the mint's is told": {forbidden, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newToken("web"))
				w.start()
				w.stop()
				w.reactor.SetFaults(emulator.Fault{Status: http.StatusBadRequest})
				w.edit("web", annotate(v1alpha1.RenewRequestedAtAnnotation, "now"))
				w.spoil()
				w.api.MeddleWith(test.meddle)
				w.start()
				w.want("web", "Ready=True/TokenValid", "Renewed=False/RequestRefused")
				if right := string(w.secret("web").Data[targetsecret.ExpiresAtKey]) != "0"; right != test.right {
					t.Errorf("the Secret was put right: %t", right)
				}
				w.wantMints(1)
			})
		})
	}
}

// A repair whose budget is spent comes when the budget allows it, also where a mint waits for something without an instant.
func TestARepairThatHasToWaitIsRequeuedEvenWhileAMintIsDelayed(t *testing.T) {
	for name, holdBack := range map[string]func(w *world){
		"suspended": func(w *world) { w.edit("web", func(token *v1alpha1.ReactorToken) { token.Spec.Suspend = new(true) }) },
		"a refused request": func(w *world) {
			w.reactor.SetFaults(emulator.Fault{Status: http.StatusBadRequest})
			w.edit("web", annotate(v1alpha1.RenewRequestedAtAnnotation, "now"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newToken("web"))
				w.start()
				holdBack(w)
				w.settle()
				for range repairBurst + 1 {
					w.spoil()
					w.pass(100 * time.Millisecond)
				}
				w.pass(2 * repairRefill)
				w.wantValid("web")
			})
		})
	}
}

// One failure does not take the place of the other: what Reactor refused is retried as slowly as before, and the repair by itself.
func TestARefusedRepairDoesNotHastenTheRetryOfARefusedRequest(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		w.reactor.SetFaults(emulator.Fault{Status: http.StatusBadRequest})
		w.edit("web", annotate(v1alpha1.RenewRequestedAtAnnotation, "now"))
		w.settle()
		asked := w.attempts()
		w.api.MeddleWith(forbidden)
		w.spoil()
		w.pass(80 * time.Minute)
		if got := w.attempts() - asked; got < 5 || got > 6 {
			t.Errorf("Reactor was asked %d times more, want once every 15 minutes", got)
		}
		w.want("web", "Ready=True/TokenValid", "Renewed=False/RequestRefused")
		if got := w.count("web", v1alpha1.ReasonRequestRefused); got != 1 {
			t.Errorf("the refusal was told %d times", got)
		}
		w.api.MeddleWith(nil)
		w.pass(writeBackoffCap + time.Second)
		w.wantValid("web")
	})
}

// A webhook that does not answer, and is to fail closed, refuses each write with a 500 or a 504.
func TestAWriteThatFailsForAnyReasonIsReported(t *testing.T) {
	for name, failure := range map[string]error{
		"a webhook that is down":   apierrors.NewInternalError(errAway),
		"a webhook that is slow":   apierrors.NewTimeoutError("context deadline exceeded", 1),
		"a busy API server":        apierrors.NewTooManyRequestsError("busy"),
		"an API server that stops": apierrors.NewServiceUnavailable("stopping"),
		"no connection":            errAway,
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.api.MeddleWith(func(made call, do func() error) error {
					if made.Kind == "Secret" && made.Writes() {
						return failure
					}
					return do()
				})
				w.create(newToken("web"))
				w.start()
				w.want("web", "Ready=False/SecretWriteRefused", "Renewed=False/SecretWriteRefused", "Stalled=")
				if next := w.token("web").Status.NextAttemptTime; next == nil || time.Until(next.Time) > writeBackoffCap {
					t.Errorf("the next attempt is at %v", next)
				}
				w.pass(time.Hour)
				w.wantMints(1)
				if got := w.count("web", "SecretWriteRefused"); got != 1 {
					t.Errorf("it was told %d times", got)
				}
				w.api.MeddleWith(nil)
				w.pass(writeBackoffCap + time.Second)
				w.wantMints(1)
				w.wantValid("web")
				w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
			})
		})
	}
}
