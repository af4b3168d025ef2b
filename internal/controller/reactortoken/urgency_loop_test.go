package reactortoken

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// model makes a ReactorToken recognisable in Reactor's ledger.
func model(name string) func(*v1alpha1.ReactorToken) {
	return func(token *v1alpha1.ReactorToken) {
		token.Spec.Scope = &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{v1alpha1.ModelName(name)}}
	}
}

// served lists whose requests Reactor saw since the given number of them, in their order.
func (w *world) served(since int) []string {
	var names []string
	for _, made := range w.reactor.Ledger().Calls[since:] {
		names = append(names, made.Models...)
	}
	return names
}

func TestAtASmallRateTheMostUrgentGoFirst(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, name := range []string{"deleted", "expiring", "edited", "changed", "due"} {
			token := newToken(name, model(name))
			switch name {
			case "expiring":
				token.Spec.Lifetime = "1h"
			case "due":
				token.Spec.Lifetime = "80m" // its last third begins before that hour is over
			}
			w.create(token)
		}
		w.start()
		w.wantMints(5)
		// Everything comes to be due while the operator is away.
		w.stop()
		w.passUntil(w.token("expiring").Status.ExpirationTime.Add(-5 * time.Minute))
		w.remove(w.secret("deleted"))
		w.editSecret("edited", func(secret *corev1.Secret) { secret.Data[targetsecret.JWTKey] = nil })
		w.edit("changed", lifetime("2h"))
		w.create(newToken("new", model("new")))
		w.pass(5*time.Minute - 2*time.Second)
		w.create(newToken("blocker", model("blocker")))

		w.workers = 1
		w.tune = func(o *Options) { o.Mint.QPS, o.Mint.Burst = 0.1, 1 }
		served := w.attempts()
		w.start()
		queued := 0
		for _, name := range []string{"changed", "due"} {
			if w.condition(name, "Ready") != "True/TokenValid" {
				t.Errorf("%s is not Ready while it waits for its turn", name)
			}
		}
		for _, name := range []string{"deleted", "edited", "new", "blocker"} {
			if w.condition(name, "Ready") == "False/Queued" {
				queued++
			}
		}
		if queued < 2 {
			t.Errorf("%d of those without a token say that they wait for their turn", queued)
		}
		w.pass(2 * time.Minute)
		got := w.served(served)
		level := map[string]int{"deleted": 0, "edited": 0, "expiring": 0, "changed": 1, "new": 2, "blocker": 2, "due": 3}
		if len(got) != len(level) {
			t.Fatalf("served %q", got)
		}
		// The first took the free place before the line began.
		if !slices.IsSortedFunc(got[1:], func(a, b string) int { return level[a] - level[b] }) {
			t.Errorf("served in the order %q", got)
		}
	})
}

func TestOneTenantsManyTokensDoNotStarveAnothersOne(t *testing.T) {
	const many = 30
	inWorld(t, func(w *world) {
		for i := range many {
			w.create(newToken(fmt.Sprintf("web-%d", i), model(fmt.Sprintf("web-%d", i))))
		}
		other := newToken("only", model("only"))
		other.Namespace = "small"
		key := secretIn("small", keySecret, v1alpha1.DefaultAPIKeyKey, secondKey)
		w.create(key, other)
		w.tune = func(o *Options) { o.Mint.QPS, o.Mint.Burst = 1, 1 }
		w.start()
		w.pass(many * time.Second)
		got := w.served(0)
		if at := slices.Index(got, "only"); at < 0 || at > 5 {
			t.Errorf("the one token of the small tenant was served in place %d of %d", at, len(got))
		}
		slices.Sort(got)
		if diff := cmp.Diff(many+1, len(slices.Compact(got))); diff != "" {
			t.Errorf("how many were served (-want +got):\n%s", diff)
		}
	})
}

func TestTheRateIsKeptAfterTheBurst(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 40 {
			w.create(newToken(fmt.Sprintf("web-%d", i)))
		}
		w.tune = func(o *Options) { o.Mint.QPS, o.Mint.Burst = 2, 5 }
		w.start()
		w.pass(time.Minute)
		w.wantMints(40)
		calls := w.reactor.Ledger().Calls
		for i := range calls {
			window := 0
			for _, other := range calls[i:] {
				if other.Time.Sub(calls[i].Time) < 5*time.Second {
					window++
				}
			}
			if window > 5+2*5+1 {
				t.Errorf("%d requests within 5 s of request %d", window, i)
			}
		}
	})
}

func TestAnObjectThatWantsNoTokenAnyMoreTakesNoSlot(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tune = func(o *Options) { o.Mint.QPS, o.Mint.Burst = 0.1, 1 }
		w.create(newToken("first", model("first")))
		w.start()
		w.create(newToken("leaver", model("leaver")))
		w.settle()
		w.create(newToken("stayer", model("stayer")))
		w.settle()
		w.want("leaver", "Ready=False/Queued")
		w.edit("leaver", func(token *v1alpha1.ReactorToken) { token.Spec.Suspend = new(true) })
		w.pass(6 * time.Second)
		if diff := cmp.Diff([]string{"first", "stayer"}, w.served(0)); diff != "" {
			t.Errorf("served (-want +got):\n%s", diff)
		}
	})
}
