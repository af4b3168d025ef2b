package reactortoken

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

func TestARestartWithValidTokensDoesNothing(t *testing.T) {
	const count = 100
	inWorld(t, func(w *world) {
		w.workers = 1
		w.tune = func(o *Options) { o.Mint.QPS = 1000 }
		for i := range count {
			w.create(newToken(fmt.Sprintf("web-%d", i)))
		}
		w.start()
		w.wantMints(count)
		w.pass(time.Minute)
		asked, writes := w.api.Asked(call{}), w.api.Writes()
		w.stop()
		w.start()
		w.pass(time.Minute)
		if got := w.attempts(); got != count {
			t.Errorf("%d requests to Reactor", got-count)
		}
		if got := w.api.Writes(); got != writes {
			t.Errorf("%d writes", got-writes)
		}
		if got := w.api.Asked(call{}) - asked; got != 1 {
			t.Errorf("%d reads past the cache, want 1: the API key that all of them share", got)
		}
		w.wantNoErrors()
	})
}

func TestARestartMendsExactlyWhatWasSpoiltMeanwhile(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 10 {
			w.create(newToken(fmt.Sprintf("web-%d", i)))
		}
		w.start()
		w.stop()
		versions := map[string]string{}
		for i := range 10 {
			name := fmt.Sprintf("web-%d", i)
			versions[name] = w.secret(name).ResourceVersion
		}
		w.editSecret("web-3", func(secret *corev1.Secret) { secret.Data[targetsecret.JWTKey] = []byte("spoilt") })
		w.remove(w.secret("web-7"))
		w.start()
		w.wantMints(12)
		for name, version := range versions {
			w.wantValid(name)
			if mended := w.secret(name).ResourceVersion != version; mended != (name == "web-3" || name == "web-7") {
				t.Errorf("%s was written: %v", name, mended)
			}
		}
	})
}

// The API server refuses to write what a changed spec asks for. Status is of the changed spec then. The operator that starts later must
// not conclude that the Secret is as that spec wants it.
func TestARestartWritesWhatAChangedSpecAsksFor(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		w.api.MeddleWith(forbidden)
		w.edit("web", func(token *v1alpha1.ReactorToken) {
			token.Spec.Secret.AdditionalKeys = []v1alpha1.AdditionalKey{{Name: "header", Format: v1alpha1.FormatAuthorizationHeader}}
		})
		w.settle()
		w.stop()
		w.api.MeddleWith(nil)
		w.start()
		w.pass(writeBackoffCap)
		if len(w.secret("web").Data["header"]) == 0 {
			t.Error("the Secret has no header")
		}
		w.wantMints(1)
	})
}

// What a wait after a failure needs stands in status, and outlives the operator.
func TestARestartKeepsABackoff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Status: 503})
		w.create(newToken("web"))
		w.start()
		w.pass(time.Hour)
		// Just after an attempt, so that none is due while the operator starts again.
		w.passUntil(w.token("web").Status.NextAttemptTime.Add(5 * time.Second))
		w.stop()
		before := w.token("web").Status
		attempts := w.attempts()
		w.start()
		if diff := cmp.Diff(before, w.token("web").Status); diff != "" {
			t.Errorf("status (-before +after the restart):\n%s", diff)
		}
		w.passUntil(before.NextAttemptTime.Add(-time.Second))
		if got := w.attempts(); got != attempts {
			t.Errorf("%d requests before the instant in status", got-attempts)
		}
		w.pass(3 * time.Second)
		if got := w.attempts(); got != attempts+1 {
			t.Errorf("%d requests at the instant in status, want 1", got-attempts)
		}
	})
}

func TestARestartUnderARefusedKeyCostsOneRequest(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		names := w.createFive()
		w.start()
		w.stop()
		before := w.attemptsOf(firstKey)
		w.start()
		if got := w.attemptsOf(firstKey); got != before+1 {
			t.Errorf("%d requests with the refused key after a restart, want 1", got-before)
		}
		w.pass(10 * time.Minute) // in which one token tries it again after 30 s, 1, 2 and 4 minutes
		if got := w.attemptsOf(firstKey); got != before+1+4 {
			t.Errorf("%d requests with the refused key in ten minutes", got-before)
		}
		for _, name := range names {
			w.want(name, "Ready=False/APIKeyRefused", "Stalled=True/APIKeyRefused")
			if got := w.count(name, "APIKeyRefused"); got != 1 {
				t.Errorf("the refusal was told %d times of %s", got, name)
			}
		}
	})
}

// A crash is the moment from which on nothing reaches the API server. Wherever it falls, the next run ends with a valid
// token, and at most one was minted in vain.
func TestACrashLosesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		at        call
		after     bool // the call reaches the API server, and the operator does not live to see its answer
		wantMints int
	}{
		"before the first write of the Secret": {at: call{Verb: "create", Kind: "Secret", Name: "web"}, wantMints: 2},
		"after the first write of the Secret":  {at: call{Verb: "create", Kind: "Secret", Name: "web"}, after: true, wantMints: 1},
		"before the first write of the status": {at: call{Verb: "update status", Kind: "ReactorToken", Name: "web"}, wantMints: 1},
		"after the first write of the status":  {at: call{Verb: "update status", Kind: "ReactorToken", Name: "web"}, after: true, wantMints: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.crashAt(test.at, test.after)
				w.create(newToken("web"))
				w.start()
				w.pass(time.Minute)
				w.wantCrashed()
				w.start()
				w.wantMints(test.wantMints)
				w.wantValid("web")
				w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
			})
		})
	}
}

func TestACrashDuringARenewalLosesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		at        call
		after     bool
		wantMints int
	}{
		"before the write of the Secret": {at: call{Verb: "apply", Kind: "Secret", Name: "web"}, wantMints: 3},
		"after the write of the Secret":  {at: call{Verb: "apply", Kind: "Secret", Name: "web"}, after: true, wantMints: 2},
		"before the write of the status": {at: call{Verb: "update status", Kind: "ReactorToken", Name: "web"}, wantMints: 2},
		"after the write of the status":  {at: call{Verb: "update status", Kind: "ReactorToken", Name: "web"}, after: true, wantMints: 2},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newToken("web"))
				w.start()
				old := w.token("web").Status
				w.crashAt(test.at, test.after)
				w.passUntil(old.RenewalTime.Add(time.Minute))
				w.wantCrashed()
				w.wantValid("web")
				w.start()
				w.wantMints(test.wantMints)
				w.wantValid("web")
				w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
				if got := w.token("web").Status; !got.ExpirationTime.After(old.ExpirationTime.Time) || got.DeliveredTokenID == old.DeliveredTokenID {
					t.Errorf("status still tells of the old token: %+v", got)
				}
			})
		})
	}
}

// crashAt crashes the operator at its next such call.
func (w *world) crashAt(at call, after bool) {
	w.api.MeddleWith(func(made call, do func() error) error {
		if made != at {
			return do()
		}
		var err error
		if after {
			err = do()
		}
		w.run.Crash()
		w.api.MeddleWith(nil)
		return errors.Join(err, errors.New("crashed"))
	})
}

func (w *world) wantCrashed() {
	w.Helper()
	if !w.run.Crashed() {
		w.Fatal("the operator has not crashed: the call did not come")
	}
}

func TestAnObjectThatIsCreatedAgainUnderItsNameStartsAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web"))
		w.start()
		first := w.token("web")
		if err := w.api.Delete(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		w.create(newToken("web")) // before the garbage collector came
		w.settle()
		w.want("web", "Ready=False/"+v1alpha1.ReasonSecretTerminating)
		if err := w.api.Delete(t.Context(), w.secret("web")); err != nil {
			t.Fatal(err)
		}
		w.settle()
		w.wantMints(2)
		w.wantValid("web")
		if !targetsecret.OwnedBy(w.secret("web").OwnerReferences, w.token("web").UID) {
			t.Error("the Secret is not owned by the new object")
		}
	})
}
