package reactortoken

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// In a large or busy cluster a cache may lag by many seconds behind the operator's own writes. It then shows neither the
// Secret nor the status that the operator wrote, and must not be taken for the truth.
func TestACacheThatLagsCostsNoMintAndRepeatsNoEvent(t *testing.T) {
	for _, lag := range []time.Duration{5 * time.Second, 40 * time.Second} {
		t.Run(fmt.Sprint(lag), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.api.CacheLag = lag
				w.create(newToken("web", dressed, lifetime("1h")))
				w.start()
				w.pass(2 * time.Minute)
				w.wantMints(1)
				for range 3 { // passes that meet a stale cache
					w.edit("web", annotate("reactor.inc/renew-requested-at", fmt.Sprint(time.Now())))
					w.pass(lag + time.Second)
				}
				w.pass(2 * time.Minute)
				w.wantMints(4)
				w.wantValid("web")
				if got := w.count("web", "TokenIssued"); got != 4 {
					t.Errorf("%d events for 4 tokens", got)
				}
				w.editSecret("web", func(secret *corev1.Secret) { secret.Labels["team"] = "theirs" })
				w.pass(2 * time.Minute)
				w.wantMints(4)
				w.wantAsAsked("web")
				w.passUntil(w.token("web").Status.RenewalTime.Add(2 * time.Minute))
				w.wantMints(5)
				w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
			})
		})
	}
}

func TestAStatusThatIsNotVisibleYetIsNotForgotten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.api.CacheLag = 10 * time.Minute
		w.create(newToken("web"))
		w.reactor.SetFaults(emulator.Fault{Status: 503})
		w.start()
		w.pass(5 * time.Minute)
		attempts := w.attempts()
		if attempts < 5 || attempts > 12 {
			t.Errorf("%d attempts in five minutes", attempts)
		}
		if got := w.token("web").Status.ConsecutiveFailures; got != int32(attempts) {
			t.Errorf("status counts %d failures, and there were %d", got, attempts)
		}
		if diff := cmp.Diff([]string{"ReactorUnavailable"}, w.eventsOf("web")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestASecretThatIsNotVisibleYetIsNotOverwritten(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.api.CacheLag = 10 * time.Minute
		w.start()
		w.remove(w.secret("web"))
		w.pass(formerLeaderBound / 2) // nothing triggers a reconcile
		w.create(theirs())
		w.edit("web", lifetime("1h"))
		w.pass(11 * time.Minute)
		if got := string(w.secret("web").Data["password"]); got != "kept" || len(w.secret("web").Data) != 1 {
			t.Error("somebody else's Secret was written")
		}
		w.want("web", "Ready=False/SecretNotOwned")
		if got := w.api.Asked(call{Verb: "create"}); got > 2 {
			t.Errorf("%d times it was tried to create what is there", got)
		}
	})
}

func TestASecretThatTheCacheDoesNotShowIsTriedToBeCreatedOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.api.CacheLag = 10 * time.Minute
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Verb == "create" && w.secret("web") == nil {
				w.create(theirs())
			}
			return do()
		})
		w.create(newToken("web"))
		w.start()
		w.pass(time.Minute)
		w.want("web", "Ready=False/SecretNotOwned")
		if got := w.api.Asked(call{Verb: "create"}); got != 1 {
			t.Errorf("%d attempts to create what is there", got)
		}
	})
}
