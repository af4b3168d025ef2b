package reactortoken

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

const otherKeySecret = "other-api-key"

func withOtherKey(token *v1alpha1.ReactorToken) { token.Spec.APIKeySecretRef.Name = otherKeySecret }

// createFive creates four ReactorTokens of the first key and one of the second.
func (w *world) createFive() []string {
	w.Helper()
	w.create(secretIn(namespace, otherKeySecret, v1alpha1.DefaultAPIKeyKey, secondKey), newToken("other", withOtherKey))
	var names []string
	for i := range 4 {
		names = append(names, fmt.Sprintf("web-%d", i))
		w.create(newToken(names[i], lifetime("1h")))
	}
	return names
}

// attemptsOf is how many requests Reactor has seen with a key.
func (w *world) attemptsOf(key string) int {
	return w.reactor.Ledger().CallsByKey()[emulator.Fingerprint(key)]
}

// transitions are the conditions of a ReactorToken with the instants of their last changes.
func (w *world) transitions(name string) map[string]string {
	w.Helper()
	seen := map[string]string{}
	for _, condition := range w.token(name).Status.Conditions {
		seen[condition.Type] = fmt.Sprint(condition.Status, "/", condition.Reason, " since ", condition.LastTransitionTime.UTC().Format(time.TimeOnly))
	}
	return seen
}

func TestARefusedKeyParksAllItsTokensWithOneProbe(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		names := w.createFive()
		w.start()
		if got := w.attemptsOf(firstKey); got != 1 {
			t.Errorf("%d requests with the refused key, want 1", got)
		}
		before := map[string]map[string]string{}
		for _, name := range names {
			w.want(name, "Ready=False/APIKeyRefused", "Renewed=False/APIKeyRefused", "Stalled=True/APIKeyRefused")
			if w.token(name).Status.NextAttemptTime == nil {
				t.Errorf("status of %s does not say when the key is tried again", name)
			}
			before[name] = w.transitions(name)
		}
		w.want("other", "Ready=True/TokenValid")

		w.pass(2*time.Hour + time.Minute)
		if got := w.attemptsOf(firstKey); got != 1+8 {
			t.Errorf("%d requests in two hours, want one each 15 minutes", got)
		}
		for _, name := range names {
			if diff := cmp.Diff(before[name], w.transitions(name)); diff != "" {
				t.Errorf("the conditions of %s flap (-at first +later):\n%s", name, diff)
			}
			if diff := cmp.Diff([]string{"APIKeyRefused"}, w.eventsOf(name)); diff != "" {
				t.Errorf("events of %s (-want +got):\n%s", name, diff)
			}
		}

		w.rotate(secondKey)
		w.settle()
		for _, name := range names {
			w.want(name, "Ready=True/TokenValid", "Renewed=True/Issued", "Stalled=")
			w.wantValid(name)
		}
	})
}

func TestAKeyThatReactorTakesAgainFreesAllItsTokens(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		names := w.createFive()
		w.start()
		w.reactor.AddKey(firstKey)
		w.pass(refusedProbeInterval)
		for _, name := range names {
			w.want(name, "Ready=True/TokenValid", "Stalled=")
		}
		if got := w.attemptsOf(firstKey); got != 1+len(names) {
			t.Errorf("%d requests, want the refused one and one for each token", got)
		}
	})
}

// A key that was refused may be good again: who comes while another token tries it is told that, not the refusal of an hour ago.
func TestWhoComesWhileARefusedKeyIsTriedIsNotToldThatItIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		w.create(newToken("early"))
		w.start()
		w.reactor.AddKey(firstKey)
		w.reactor.SetFaults(emulator.Fault{Hang: true})
		w.pass(refusedProbeInterval)
		told := w.transitions("early")
		w.create(newToken("late"))
		w.settle()
		w.want("late", "Ready=False/Pending", "Renewed=Unknown/Pending", "Stalled=")
		w.want("early", "Ready=False/APIKeyRefused", "Stalled=True/APIKeyRefused")
		if diff := cmp.Diff(told, w.transitions("early")); diff != "" {
			t.Errorf("the conditions of the token that tries the key flap (-before +now):\n%s", diff)
		}
		w.reactor.ClearFaults()
		w.pass(5 * time.Minute)
		for _, name := range []string{"early", "late"} {
			w.want(name, "Ready=True/TokenValid", "Stalled=")
		}
		if got := w.eventsOf("late"); slices.Contains(got, v1alpha1.ReasonAPIKeyRefused) {
			t.Errorf("events of a token whose key was never refused to it: %v", got)
		}
	})
}

// After a restart nothing is known of a key. What status says of it stays until Reactor has answered, for all its tokens.
func TestARestartTellsNothingNewOfARefusedKey(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		names := w.createFive()
		w.start()
		before := map[string]map[string]string{}
		for _, name := range names {
			before[name] = w.transitions(name)
		}
		w.stop()
		w.reactor.SetFaults(emulator.Fault{Hang: true, Key: emulator.Fingerprint(firstKey)})
		w.start()
		for _, name := range names {
			if diff := cmp.Diff(before[name], w.transitions(name)); diff != "" {
				t.Errorf("the conditions of %s changed with the restart (-before +after):\n%s", name, diff)
			}
		}
	})
}

func TestARefusedKeyLeavesValidTokensReady(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1h")))
		w.start()
		status := w.token("web").Status
		w.reactor.RevokeKey(firstKey)
		w.passUntil(status.ExpirationTime.Add(-time.Second))
		w.want("web", "Ready=True/TokenValid", "Renewed=False/APIKeyRefused", "Stalled=")
		w.pass(2 * time.Second)
		w.want("web", "Ready=False/TokenExpired", "Renewed=False/APIKeyRefused", "Stalled=True/APIKeyRefused")
	})
}

func TestARateLimitHoldsAllTokensOfTheKeyAndNoOther(t *testing.T) {
	for name, test := range map[string]struct {
		fault emulator.Fault
		hold  time.Duration
	}{
		"for the seconds that Reactor names":     {emulator.Fault{Status: 429, RetryAfter: 5 * time.Minute}, 5 * time.Minute},
		"until the date that Reactor names":      {emulator.Fault{Status: 429, RetryAfter: 5 * time.Minute, RetryAfterAsDate: true}, 5 * time.Minute},
		"for a while when Reactor names nothing": {emulator.Fault{Status: 429}, defaultHold},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				test.fault.Key = emulator.Fingerprint(firstKey)
				w.reactor.SetFaults(test.fault)
				names := w.createFive()
				begin := time.Now()
				w.start()
				if got := w.attemptsOf(firstKey); got != 1 {
					t.Errorf("%d requests with the limited key, want 1", got)
				}
				for _, name := range names {
					w.want(name, "Ready=False/RateLimited", "Renewed=False/RateLimited", "Stalled=")
					if next := w.token(name).Status.NextAttemptTime; next == nil || next.Sub(begin.Add(test.hold)).Abs() > 2*time.Second {
						t.Errorf("the next attempt of %s is at %v, want %s after the begin", name, next, test.hold)
					}
				}
				w.want("other", "Ready=True/TokenValid")
				w.reactor.ClearFaults()
				w.passUntil(begin.Add(test.hold - 2*time.Second))
				if got := w.attemptsOf(firstKey); got != 1 {
					t.Errorf("%d requests during the hold, want 1", got)
				}
				w.pass(5 * time.Second)
				for _, name := range names {
					w.want(name, "Ready=True/TokenValid", "Renewed=True/Issued")
				}
				if got := w.attemptsOf(firstKey); got != 1+len(names) {
					t.Errorf("%d requests, want the refused one and one for each token", got)
				}
			})
		})
	}
}

func TestALimitThatGoesOnCostsFewerAndFewerRequests(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Status: 429})
		w.createFive()
		w.start()
		w.pass(2 * time.Hour)
		// 30 s, 1, 2, 4, 8 minutes, and then every ten.
		if got := w.attemptsOf(firstKey); got < 10 || got > 20 {
			t.Errorf("%d requests in two hours", got)
		}
	})
}

func TestOneTenantsBadRequestHoldsNobodyElse(t *testing.T) {
	for _, status := range []int{400, 403, 404, 409, 422, 307} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			inWorld(t, func(w *world) {
				fault := emulator.Fault{Model: "acme/forbidden", Status: status}
				if status == 307 {
					fault.RedirectTo = "https://elsewhere.test/tokens"
				}
				w.reactor.SetFaults(fault)
				w.create(newToken("bad", func(token *v1alpha1.ReactorToken) {
					token.Spec.Scope = &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{"acme/forbidden"}}
				}))
				w.start()
				w.create(newToken("good"))
				w.settle()
				w.want("good", "Ready=True/TokenValid")
				w.want("bad", "Ready=False/RequestRefused", "Renewed=False/RequestRefused", "Stalled=True/RequestRefused")

				attempts := w.attempts()
				w.pass(2 * time.Hour)
				if got := w.attempts(); got != attempts {
					t.Errorf("%d more requests for what is parked", got-attempts)
				}
				w.stop()
				w.start()
				if got := w.attempts(); got != attempts {
					t.Errorf("%d more requests after a restart for what is parked", got-attempts)
				}
				w.edit("bad", func(token *v1alpha1.ReactorToken) { token.Spec.Scope.Models[0] = "acme/allowed" })
				w.settle()
				w.want("bad", "Ready=True/TokenValid", "Renewed=True/Issued", "Stalled=")
				w.wantMints(2)
			})
		})
	}
}

func TestWhatIsParkedIsTriedAgainWhenSomebodyDidSomething(t *testing.T) {
	for name, act := range map[string]func(w *world){
		"the key was changed": func(w *world) { w.rotate(secondKey) },
		"a renewal was asked for": func(w *world) {
			w.edit("web", func(token *v1alpha1.ReactorToken) {
				metav1.SetMetaDataAnnotation(&token.ObjectMeta, v1alpha1.RenewRequestedAtAnnotation, "now")
			})
		},
		"the spec was changed": func(w *world) { w.edit("web", lifetime("30m")) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.reactor.SetFaults(emulator.Fault{Status: 400, Times: 1})
				w.create(newToken("web"))
				w.start()
				w.want("web", "Stalled=True/RequestRefused")
				act(w)
				w.settle()
				w.want("web", "Ready=True/TokenValid", "Stalled=")
				w.wantMints(1)
			})
		})
	}
}

// Old failures, with another key or for another request, make no new backoff longer.
func TestABackoffBeginsAnewWithANewKeyOrRequest(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"another key":      func(w *world) { w.rotate(secondKey) },
		"another lifetime": func(w *world) { w.edit("web", lifetime("1h")) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.reactor.SetFaults(emulator.Fault{Status: 503})
				w.create(newToken("web"))
				w.start()
				w.pass(10 * time.Minute)
				if got := w.token("web").Status.ConsecutiveFailures; got < 5 {
					t.Errorf("%d failures in ten minutes", got)
				}
				change(w)
				w.settle()
				if got := w.token("web").Status; got.ConsecutiveFailures != 1 || time.Until(got.NextAttemptTime.Time) > mintBackoffBase {
					t.Errorf("%d failures, the next attempt in %s", got.ConsecutiveFailures, time.Until(got.NextAttemptTime.Time))
				}
			})
		})
	}
}

// What failed and is tried again is one request for a new token, not many.
func TestAttemptsThatFailDoNotSpendTheMintBudget(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1h")))
		w.start()
		w.reactor.SetFaults(emulator.Fault{Status: 503})
		w.edit("web", lifetime("2h"))
		w.pass(40 * time.Minute)
		if got := w.attempts(); got < 2*budgetBurst/2 {
			t.Errorf("only %d attempts", got)
		}
		if got := w.count("web", v1alpha1.ReasonMintBudgetSpent); got != 0 {
			t.Errorf("a spent budget was told %d times", got)
		}
	})
}

func TestAMendedKeyEndsABackoffAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Status: 503, Key: emulator.Fingerprint(firstKey)})
		w.create(newToken("web"))
		w.start()
		w.pass(time.Hour)
		w.rotate(secondKey)
		w.settle()
		w.want("web", "Ready=True/TokenValid")
	})
}

func TestAMissingOrBadKeyIsToldAndItsArrivalIsNoticed(t *testing.T) {
	for name, test := range map[string]struct {
		spoil  func(w *world)
		reason string
	}{
		"no Secret": {func(w *world) { w.remove(w.secret(keySecret)) }, v1alpha1.ReasonAPIKeyNotFound},
		"no key in the Secret": {func(w *world) {
			secret := w.secret(keySecret)
			w.remove(secret)
			w.create(secretIn(namespace, keySecret, "other", firstKey))
		}, v1alpha1.ReasonAPIKeyNotFound},
		"something else under the key": {func(w *world) { w.rotate("password") }, v1alpha1.ReasonAPIKeyInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				test.spoil(w)
				w.create(newToken("web"))
				w.start()
				w.want("web", "Ready=False/"+test.reason, "Renewed=False/"+test.reason, "Stalled=True/"+test.reason)
				if w.attempts() != 0 {
					t.Error("Reactor was asked without a key")
				}
				if secret := w.secret(keySecret); secret != nil {
					w.remove(secret)
				}
				w.create(secretIn(namespace, keySecret, v1alpha1.DefaultAPIKeyKey, firstKey+"\n"))
				w.settle()
				w.want("web", "Ready=True/TokenValid", "Stalled=")

				test.spoil(w)
				w.settle()
				w.want("web", "Ready=True/TokenValid", "Renewed=False/"+test.reason, "Stalled=")
				if got := meta.IsStatusConditionTrue(w.token("web").Status.Conditions, v1alpha1.ConditionReady); !got {
					t.Error("a token that is valid went with its key")
				}
			})
		})
	}
}
