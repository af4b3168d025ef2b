package reactortoken

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
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
	observed := map[string]string{}
	for _, condition := range w.token(name).Status.Conditions {
		observed[condition.Type] = fmt.Sprint(condition.Status, "/", condition.Reason, " since ", condition.LastTransitionTime.UTC().Format(time.TimeOnly))
	}
	return observed
}

// probers are the ReactorTokens whose status says when they try their key again.
func (w *world) probers(names []string) []string {
	w.Helper()
	var found []string
	for _, name := range names {
		if w.token(name).Status.NextAttemptTime != nil {
			found = append(found, name)
		}
	}
	return found
}

func TestARefusedKeyIsTriedByOneOfItsTokens(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		names := w.createFive()
		w.start()
		if got := w.attemptsOf(firstKey); got != 1 {
			t.Errorf("%d requests with the refused key, want 1", got)
		}
		before := map[string]map[string]string{}
		versions := map[string]string{}
		for _, name := range names {
			w.want(name, "Ready=False/APIKeyRefused", "Renewed=False/APIKeyRefused", "Stalled=True/APIKeyRefused")
			before[name], versions[name] = w.transitions(name), w.token(name).ResourceVersion
		}
		probers := w.probers(names)
		if len(probers) != 1 {
			t.Fatalf("%v say when the key is tried again, want one of them", probers)
		}
		w.want("other", "Ready=True/TokenValid")

		w.pass(2*time.Hour + time.Minute)
		// After 30 s, 1, 2, 4 and 8 minutes, and then every 15.
		if got := w.attemptsOf(firstKey); got != 1+5+7 {
			t.Errorf("%d requests in two hours", got)
		}
		for _, name := range names {
			if diff := cmp.Diff(before[name], w.transitions(name)); diff != "" {
				t.Errorf("the conditions of %s flap (-at first +later):\n%s", name, diff)
			}
			if diff := cmp.Diff([]string{"APIKeyRefused"}, w.eventsOf(name)); diff != "" {
				t.Errorf("events of %s (-want +got):\n%s", name, diff)
			}
			if written := w.token(name).ResourceVersion != versions[name]; written != (name == probers[0]) {
				t.Errorf("the status of %s was written: %v", name, written)
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
		w.pass(mintqueue.MinProbeWait)
		for _, name := range names {
			w.want(name, "Ready=True/TokenValid", "Stalled=")
		}
		if got := w.attemptsOf(firstKey); got != 1+len(names) {
			t.Errorf("%d requests, want the refused one and one for each token", got)
		}
	})
}

// Twenty tokens of ten minutes, one 401 that was a mistake, and a Reactor that is well again a moment later.
func TestOneMistaken401LetsNoTokenExpire(t *testing.T) {
	inWorld(t, func(w *world) {
		var names []string
		for i := range 20 {
			names = append(names, fmt.Sprintf("web-%d", i))
			w.create(newToken(names[i], lifetime("10m")))
		}
		w.start()
		w.pass(time.Minute)
		w.reactor.SetFaults(emulator.Fault{Status: 401, Times: 1})
		for range 20 {
			w.pass(time.Minute)
			for _, name := range names {
				w.want(name, "Ready=True/TokenValid")
			}
		}
	})
}

// The token that tries the key has the duty to do so. When it goes, another one has it.
func TestAnotherTokenTriesTheKeyWhenTheOneThatDidIsDeleted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		names := w.createFive()
		w.start()
		for range len(names) - 1 {
			probers := w.probers(names)
			if len(probers) != 1 {
				t.Fatalf("%v say when the key is tried again, want one of them", probers)
			}
			w.remove(w.token(probers[0]))
			names = slices.DeleteFunc(names, func(name string) bool { return name == probers[0] })
			w.settle()
		}
		w.reactor.AddKey(firstKey)
		w.pass(mintqueue.MinProbeWait)
		w.want(names[0], "Ready=True/TokenValid", "Stalled=")
	})
}

func TestATokenThatExpiresSoonBringsTheNextTryOfTheKeyForward(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("short", lifetime("10m")))
		w.start()
		expiry := w.token("short").Status.ExpirationTime.Time
		w.reactor.RevokeKey(firstKey)
		w.create(newToken("new"))
		w.pass(4 * time.Minute) // the next try is far away by now
		w.passUntil(expiry.Add(-3 * time.Minute))
		w.reactor.AddKey(firstKey)
		w.passUntil(expiry.Add(-2 * time.Minute))
		w.want("short", "Renewed=True/Issued")
		w.want("new", "Ready=True/TokenValid")
	})
}

// A key that was refused may be good again: who comes while another token tries it is told that, not the refusal of an hour ago.
func TestAnObjectThatComesWhileARefusedKeyIsTriedIsNotReportedAsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		w.create(newToken("early"))
		w.start()
		w.reactor.AddKey(firstKey)
		w.reactor.SetFaults(emulator.Fault{Hang: true})
		w.pass(mintqueue.MinProbeWait)
		reported := w.transitions("early")
		w.create(newToken("late"))
		w.settle()
		w.want("late", "Ready=False/Pending", "Renewed=Unknown/Pending", "Stalled=")
		w.want("early", "Ready=False/APIKeyRefused", "Stalled=True/APIKeyRefused")
		if diff := cmp.Diff(reported, w.transitions("early")); diff != "" {
			t.Errorf("the conditions of the token that tries the key flap (-before +now):\n%s", diff)
		}
		if got := w.eventsOf("late"); slices.Contains(got, v1alpha1.ReasonAPIKeyRefused) {
			t.Errorf("events of a token whose key was never refused to it: %v", got)
		}
		w.reactor.ClearFaults()
		w.pass(5 * time.Minute)
		for _, name := range []string{"early", "late"} {
			w.want(name, "Ready=True/TokenValid", "Stalled=")
		}
	})
}

// After a restart nothing is known of a key. What status says of it stays until Reactor has answered, for all its tokens.
func TestARestartReportsNothingNewAboutARefusedKey(t *testing.T) {
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
		wait  time.Duration
	}{
		"for the seconds that Reactor names":     {emulator.Fault{Status: 429, RetryAfter: 5 * time.Minute}, 5 * time.Minute},
		"until the date that Reactor names":      {emulator.Fault{Status: 429, RetryAfter: 5 * time.Minute, RetryAfterAsDate: true}, 5 * time.Minute},
		"for a while when Reactor names nothing": {emulator.Fault{Status: 429}, mintqueue.MinLimitWait},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				test.fault.Key = emulator.Fingerprint(firstKey)
				w.reactor.SetFaults(test.fault)
				names := w.createFive()
				started := time.Now()
				w.start()
				if got := w.attemptsOf(firstKey); got != 1 {
					t.Errorf("%d requests with the limited key, want 1", got)
				}
				for _, name := range names {
					w.want(name, "Ready=False/RateLimited", "Renewed=False/RateLimited", "Stalled=")
				}
				probers := w.probers(names)
				if len(probers) != 1 {
					t.Fatalf("%v say when the key is tried again, want one of them", probers)
				}
				if next := w.token(probers[0]).Status.NextAttemptTime; next.Sub(started.Add(test.wait)).Abs() > 2*time.Second {
					t.Errorf("the next attempt is at %v, want %s after the begin", next, test.wait)
				}
				w.want("other", "Ready=True/TokenValid")
				w.reactor.ClearFaults()
				w.passUntil(started.Add(test.wait - 2*time.Second))
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

func TestALimitThatContinuesCostsFewerAndFewerRequests(t *testing.T) {
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

func TestOneTenantsBadRequestDelaysNoOtherTenant(t *testing.T) {
	for _, status := range []int{400, 403, 404, 409, 422} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.reactor.SetFaults(emulator.Fault{Model: "acme/forbidden", Status: status})
				w.create(newToken("bad", func(token *v1alpha1.ReactorToken) {
					token.Spec.Scope = &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{"acme/forbidden"}}
				}))
				w.start()
				w.create(newToken("good"))
				w.settle()
				w.want("good", "Ready=True/TokenValid")
				w.want("bad", "Ready=False/RequestRefused", "Renewed=False/RequestRefused", "Stalled=True/RequestRefused")

				attempts := w.attempts()
				w.stop()
				w.start()
				if got := w.attempts(); got != attempts {
					t.Errorf("%d more requests after a restart", got-attempts)
				}
				w.edit("bad", func(token *v1alpha1.ReactorToken) { token.Spec.Scope.Models[0] = "acme/allowed" })
				w.settle()
				w.want("bad", "Ready=True/TokenValid", "Renewed=True/Issued", "Stalled=")
				w.wantMints(2)
			})
		})
	}
}

func TestARefusedRequestIsRetriedEvery15MinutesAndLaterEveryHour(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Status: 403})
		w.create(newToken("web"))
		w.start()
		reported := w.transitions("web")
		w.pass(slowRefusalRetryAfter)
		if got := w.attempts() - 1; got < 24 || got > 30 { // up to a fifth sooner
			t.Errorf("%d retries in the first six hours", got)
		}
		attempts := w.attempts()
		w.pass(10 * time.Hour)
		if got := w.attempts() - attempts; got < 9 || got > 13 {
			t.Errorf("%d retries in the next ten hours", got)
		}
		if diff := cmp.Diff(reported, w.transitions("web")); diff != "" {
			t.Errorf("the conditions flap (-at first +later):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"RequestRefused"}, w.eventsOf("web")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		w.reactor.ClearFaults()
		w.pass(slowRefusalRetryInterval)
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued", "Stalled=")
	})
}

// A minute of pages that a proxy, a firewall or a rollout puts before Reactor, or of refusals of Reactor's own, at the time at
// which the token is renewed.
func TestAMinuteOfErrorPagesLetsNoTokenExpire(t *testing.T) {
	page := new("<html>Attention required</html>")
	for name, fault := range map[string]emulator.Fault{
		"a redirect to a page":     {RedirectTo: "https://status.example.com/maintenance", Status: 302},
		"403 with a page":          {Status: 403, Body: page},
		"404 with a page":          {Status: 404, Body: page},
		"405 with a page":          {Status: 405, Body: page},
		"403 with other JSON":      {Status: 403, Body: new(`{"title":"Forbidden","status":403}`)},
		"a page as a success":      {Status: 200, Body: page},
		"403 of Reactor's own":     {Status: 403},
		"404 of Reactor's own":     {Status: 404},
		"502 with a page":          {Status: 502, Body: page},
		"401 with a page, briefly": {Status: 401, Body: page},
	} {
		for _, life := range []v1alpha1.Duration{"10m", "6h"} {
			t.Run(fmt.Sprint(name, ", a token of ", life), func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.create(newToken("web", lifetime(life)))
					w.start()
					expiry := w.token("web").Status.ExpirationTime.Time
					w.passUntil(w.token("web").Status.RenewalTime.Add(-time.Second))
					w.reactor.SetFaults(fault)
					w.pass(time.Minute)
					if w.attempts() < 2 {
						t.Fatal("the renewal did not meet the page")
					}
					w.reactor.ClearFaults()
					w.passUntil(expiry.Add(-time.Second))
					w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
					if w.mints() < 2 {
						t.Error("the token was not renewed")
					}
					w.pass(2 * time.Second)
					w.want("web", "Ready=True/TokenValid")
				})
			})
		}
	}
}

// An account of which Reactor refuses hundreds of requests must leave the rate to those that it grants.
func TestRetriesOfRefusedRequestsTakeATenthOfTheRate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tune = func(o *Options) { o.Mint.QPS, o.Mint.Burst = 1, 1 }
		w.reactor.SetFaults(emulator.Fault{Model: "acme/forbidden", Status: 403})
		const refused = 200
		for i := range refused {
			w.create(newToken(fmt.Sprintf("bad-%d", i), func(token *v1alpha1.ReactorToken) {
				token.Spec.Scope = &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{"acme/forbidden"}}
			}))
		}
		w.start()
		w.pass(10 * time.Minute)
		if got := w.attempts(); got < refused {
			t.Fatalf("%d first attempts, want %d", got, refused)
		}
		w.pass(30 * time.Minute) // all retries are due
		attempts := w.attempts()
		w.pass(10 * time.Minute)
		if got := w.attempts() - attempts; got < 55 || got > 62 {
			t.Errorf("%d retries in ten minutes, want a tenth of one a second", got)
		}
		w.create(newToken("good"))
		w.pass(3 * time.Second)
		w.want("good", "Ready=True/TokenValid")
		for i := range refused {
			if got := w.eventsOf(fmt.Sprintf("bad-%d", i)); slices.Contains(got[1:], v1alpha1.ReasonQueued) || slices.Contains(got, v1alpha1.ReasonPending) {
				t.Fatalf("the conditions of a refused token flap while its retry is queued: %v", got)
			}
		}
	})
}

func TestARefusedRequestIsRetriedImmediatelyAfterAChange(t *testing.T) {
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
func TestABackoffStartsAgainWithANewKeyOrRequest(t *testing.T) {
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

func TestAFixedKeyEndsABackoffImmediately(t *testing.T) {
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

func TestAMissingOrBadKeyIsReportedAndItsArrivalIsNoticed(t *testing.T) {
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

// The token that got the 401 is new, and its try is queued behind hundreds of requests with another key. Those that wait for its
// answer must not expire meanwhile.
func TestATokenDoesNotExpireBecauseTheOneThatTriesItsKeyIsQueued(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tune = func(o *Options) { o.Mint.QPS, o.Mint.Burst = 1, 20 }
		w.create(secretIn(namespace, otherKeySecret, v1alpha1.DefaultAPIKeyKey, secondKey))
		var short []string
		for i := range 6 {
			short = append(short, fmt.Sprintf("short-%d", i)) // all due at the same time, a quarter of their life after their begin
			w.create(newToken(short[i], lifetime("4m"), func(token *v1alpha1.ReactorToken) { token.Spec.RenewBefore = "3m30s" }))
		}
		w.start()
		w.passUntil(w.token("short-0").Status.RenewalTime.Add(-4 * time.Second))
		w.reactor.SetFaults(emulator.Fault{Status: 401, Times: 1, Key: emulator.Fingerprint(firstKey)})
		w.create(newToken("new"))
		w.pass(2 * time.Second)
		w.want("new", "Renewed=False/APIKeyRefused")
		for i := range 250 { // four minutes
			w.create(newToken(fmt.Sprintf("flood-%d", i), withOtherKey))
			synctest.Wait() // a watch of the fake API server holds 100 events
		}
		w.pass(4 * time.Minute)
		for _, name := range short {
			if got := w.eventsOf(name); slices.Contains(got, v1alpha1.ReasonTokenExpired) {
				t.Errorf("events of %s: %v", name, got)
			}
		}
	})
}

// With a short renewBefore, a token is about to expire when it is renewed.
func TestARefusalJustBeforeTheExpiryIsRetriedBeforeIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1h"), func(token *v1alpha1.ReactorToken) { token.Spec.RenewBefore = "1m" }))
		w.start()
		expiry := w.token("web").Status.ExpirationTime.Time
		w.reactor.SetFaults(emulator.Fault{Status: 403, Times: 1})
		w.passUntil(expiry.Add(time.Second))
		w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
	})
}
