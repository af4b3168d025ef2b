package integration

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// asked are the two ways to come to a new token, and the request that then writes it.
var asked = map[string]struct {
	write matcher
	ask   func(w *world)
}{
	"the first token": {
		write: writeOf(http.MethodPost, "secrets"),
		ask:   func(w *world) { w.create("web") },
	},
	"a renewal": {
		write: writeOf(http.MethodPatch, "secrets"),
		ask:   func(w *world) { w.requestRenewal("web", "now") },
	},
}

// newWorldFor makes a world in which the next token of "web" is the one that is asked for.
func newWorldFor(t *testing.T, name string) (w *world, o *process, mints int) {
	t.Helper()
	w = newWorld(t)
	o = w.start()
	if name == "a renewal" {
		w.create("web")
		w.waitUntilReady("web")
		w.settle(o)
	}
	return w, o, w.mints()
}

func TestACrashBetweenTheMintAndTheWriteCostsAtMostOneSpareToken(t *testing.T) {
	t.Parallel()
	for name, test := range asked {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, o, before := newWorldFor(t, name)
			write := w.api.stopNext(t, test.write)
			test.ask(w)
			write.waitUntilReached("the write of the token")
			o.kill()
			write.goOn(loseRequest)
			o = w.start()
			w.waitFor("web", "the request to be answered", answered)
			w.waitUntilReady("web")
			w.settle(o)
			if mints := w.mints() - before; mints != 2 {
				t.Errorf("%d mints, want the lost one and another", mints)
			}
		})
	}
}

func TestACrashBetweenTheWriteAndTheStatusCostsNothing(t *testing.T) {
	t.Parallel()
	for name, test := range asked {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, o, before := newWorldFor(t, name)
			status := w.api.stopNext(t, writeOf(http.MethodPut, "reactortokens/status"))
			test.ask(w)
			status.waitUntilReached("the status")
			o.kill()
			status.goOn(loseRequest)
			written := w.secret("web")
			o = w.start()
			w.waitFor("web", "the request to be answered", answered)
			w.settle(o)
			if after := w.waitUntilReady("web"); after.ResourceVersion != written.ResourceVersion {
				t.Error("the Secret was written again")
			}
			if mints := w.mints() - before; mints != 1 {
				t.Errorf("%d mints", mints)
			}
		})
	}
}

// answered objects to a request to renew that status does not tell the answer of.
func answered(token *v1alpha1.ReactorToken) error {
	if got, want := token.Status.LastHandledRenewRequest, token.Annotations[v1alpha1.RenewRequestedAtAnnotation]; got != want {
		return fmt.Errorf("the last handled request is %q, want %q", got, want)
	}
	return nil
}

func TestAWriteWhoseAnswerIsLostIsNotPaidForTwice(t *testing.T) {
	t.Parallel()
	for name, test := range asked {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, o, before := newWorldFor(t, name)
			write := w.api.stopNext(t, test.write)
			test.ask(w)
			write.waitUntilReached("the write of the token")
			write.goOn(loseAnswer)
			w.waitFor("web", "the request to be answered", answered)
			w.waitUntilReady("web")
			w.settle(o)
			if mints := w.mints() - before; mints != 1 {
				t.Errorf("%d mints", mints)
			}
		})
	}
}

func TestATokenWhoseWriteLostItsAnswerIsRenewedLikeAnyOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.reactor.SetLifetimes(0, 20*time.Second)
	w.start()
	write := w.api.stopNext(t, writeOf(http.MethodPost, "secrets"))
	w.create("web", func(token *v1alpha1.ReactorToken) { token.Spec.RenewBefore = "15s" })
	write.waitUntilReached("the write of the token")
	write.goOn(loseAnswer)
	secret := w.waitUntilReady("web")
	for range 2 {
		secret = w.waitForAnother("web", idOf(secret))
	}
	if writes := w.api.since(0, writeOf(http.MethodPatch, "secrets")); len(writes) != 2 {
		t.Errorf("two renewals took %d writes of the Secret", len(writes))
	}
}
