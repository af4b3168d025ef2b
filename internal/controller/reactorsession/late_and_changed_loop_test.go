package reactorsession

import (
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/capacity"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// What changes while an attempt waits: the next attempt has what the spec asks for.

func TestAnotherKeySecretHelpsASessionWhoseKeyIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		w.create(newSession("night"))
		w.start()
		w.pass(time.Minute)
		w.create(secretIn(namespace, "other-key", v1alpha1.DefaultAPIKeyKey, secondKey))
		w.edit("night", func(s *v1alpha1.ReactorSession) { s.Spec.APIKeySecretRef.Name = "other-key" })
		w.settle()
		w.want("night", "Ready=True/Running")
		if got, want := w.ended("night"), "1 Stopped SpecChanged NotNeeded"; got != want {
			w.Errorf("attempts %q, want %q", got, want)
		}
	})
}

func TestTheDeliveryCanBeChangedWhileASessionWaits(t *testing.T) {
	for name, test := range map[string]struct{ from, to v1alpha1.CredentialDelivery }{
		"to a token": {v1alpha1.DeliveryAPIKeyEnv, v1alpha1.DeliveryTokenFile},
		"to the key": {v1alpha1.DeliveryTokenFile, v1alpha1.DeliveryAPIKeyEnv},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.tune = func(o *Options) { o.SessionsPerKey = 1 }
				w.node.runNow(runs(10 * time.Minute))
				w.create(newSession("first"))
				w.start()
				w.create(newSession("second", func(s *v1alpha1.ReactorSession) { s.Spec.Credentials.Delivery = test.from }))
				w.settle()
				w.want("second", "Ready=False/WaitingForCapacity")
				w.edit("second", func(s *v1alpha1.ReactorSession) { s.Spec.Credentials.Delivery = test.to })
				w.pass(12 * time.Minute)
				w.want("second", "Ready=True/Running")
			})
		})
	}
}

func TestTheTokenOfAnAttemptThatWaitsFollowsMaxDuration(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tune = func(o *Options) { o.SessionsPerKey = 1 }
		w.node.runNow(runs(5 * time.Minute))
		w.create(newSession("first"))
		w.start()
		w.create(newSession("second", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "20h" }))
		w.settle()
		w.want("second", "Ready=False/WaitingForCapacity")
		w.node.runNow(func(m *machine) { m.begin(); m.said = ""; <-m.Done() })
		w.edit("second", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "10m" })
		w.pass(30 * time.Minute)
		w.want("second", "Complete=True/DurationReached")
		w.wantOpen(0)
	})
}

func TestALongerMaxDurationHoldsFromTheNextAttemptOn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(runs(10 * time.Hour))
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "30m" }))
		w.start()
		w.edit("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "2h" })
		w.pass(time.Hour)
		w.want("night", "Ready=True/Running", "Complete=")
		w.pass(2 * time.Hour)
		w.want("night", "Complete=True/DurationReached")
		if ran := w.session("night").Status.RunningSeconds; ran < 2*60*60-5 || ran > 2*60*60+60 {
			w.Errorf("it ran for %d s in all", ran)
		}
	})
}

func TestASessionWhoseLimitIsTakenAwayGoesOn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(runs(10 * time.Hour))
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "30m" }))
		w.start()
		w.edit("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "" })
		w.pass(2 * time.Hour)
		w.want("night", "Ready=True/Running", "Complete=")
	})
}

// A session that somebody deletes before the operator has put its finalizer there is gone at once, and a cache may show it for long.
func TestASessionThatIsGoneIsNoHotLoop(t *testing.T) {
	inWorld(t, func(w *world) {
		w.api.KindLag["ReactorSession"] = time.Minute
		w.start()
		w.create(newSession("night"))
		w.pass(30 * time.Second)
		w.remove(w.session("night"))
		w.pass(2 * time.Minute)
		if got := w.writesOf("ReactorSession"); got == 0 || got > 10 {
			t.Errorf("%d writes in the minute in which the cache shows a session that is gone, want a few", got)
		}
		if got := w.count("night", v1alpha1.ReasonWaitingForToken); got > 1 {
			t.Errorf("of a session that is gone it was told %d times that it waits for its token", got)
		}
	})
}

// What comes after the end does not change what the end was.

func TestAProgramThatHasCompletedIsNotRunAgain(t *testing.T) {
	for name, then := range map[string]func(w *world){
		"its pod is deleted while the operator is away": func(w *world) {
			w.stop()
			w.pass(5 * time.Minute)
			w.remove(&w.pods()[0])
			w.start()
		},
		"its pod is deleted while its clean-up waits for Reactor": func(w *world) {
			w.reactor.SetFaults(emulator.Fault{Route: "GET /sessions/{id}", Status: http.StatusServiceUnavailable})
			w.pass(90 * time.Second)
			w.remove(&w.pods()[0])
			w.reactor.ClearFaults()
		},
		"its pod is deleted as soon as it has ended, while its clean-up waits for Reactor": func(w *world) {
			w.reactor.SetFaults(emulator.Fault{Route: "GET /sessions/{id}", Status: http.StatusServiceUnavailable})
			w.pass(64 * time.Second)
			w.remove(&w.pods()[0])
			w.pass(time.Minute)
			w.reactor.ClearFaults()
		},
		"it is suspended between the end of its container and that of its pod, and resumed": func(w *world) {
			for w.pods()[0].Status.ContainerStatuses[0].State.Terminated == nil {
				w.pass(tick / 4)
			}
			w.pass(tick / 4) // the operator has seen it, and the pod has not ended yet
			w.edit("night", suspend(true))
			w.pass(10 * time.Second)
			w.edit("night", suspend(false))
		},
		"it is suspended while the operator is away, and resumed": func(w *world) {
			w.stop()
			w.pass(5 * time.Minute)
			w.edit("night", suspend(true))
			w.start()
			w.edit("night", suspend(false))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.node.runNow(leaves(time.Minute, 0))
				w.create(newSession("night"))
				w.start()
				w.want("night", "Ready=True/Running")
				then(w)
				w.pass(time.Minute)
				w.want("night", "Complete=True/Completed")
				if sessions := len(w.reactor.Ledger().Sessions); sessions != 1 {
					w.Errorf("%d Reactor sessions", sessions)
				}
			})
		})
	}
}

func TestOneBadAnswerAfterAnOutageDoesNotEndTheCleanUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(time.Minute, 1))
		w.create(newSession("night", apiKeyEnv))
		w.start()
		w.stop()
		w.pass(10 * time.Minute)
		w.reactor.SetFaults(emulator.Fault{Route: "GET /sessions/{id}", Status: http.StatusServiceUnavailable, Times: 1})
		w.start()
		w.pass(time.Minute)
		if got, want := w.ended("night"), "1 Failed ExitCode Ended"; got != want {
			w.Errorf("attempts %q, want %q", got, want)
		}
		w.wantOpen(0)
	})
}

func TestASessionThatCannotBeEndedDoesNotKeepTheOthersOpen(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		want   string
	}{
		"Reactor fails for it":                 {http.StatusInternalServerError, "1 Failed ExitCode Unverified"},
		"no token may act on it":               {http.StatusForbidden, "1 Failed ExitCode Unverified"},
		"Reactor does not know it, or no more": {http.StatusNotFound, "1 Failed ExitCode Ended"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.node.runNow(func(m *machine) {
					_, answer := m.call("POST", "/tokens", m.env["REACTOR_API_KEY"], "")
					token, _ := answer["jwt"].(string)
					for _, model := range []string{"reactor/bad", "reactor/helios"} {
						_, answer = m.call("POST", "/sessions", token, `{"model":{"name":"`+model+`"}}`)
						id, _ := answer["session_id"].(string)
						m.tell(`{"sessionId":"` + id + `"}`)
					}
					m.leave(1)
					<-time.After(time.Minute)
				})
				w.create(newSession("night", apiKeyEnv))
				w.start()
				w.wantOpen(2)
				w.reactor.SetFaults(emulator.Fault{Route: "GET /sessions/{id}", Model: "reactor/bad", Status: test.status})
				w.pass(20 * time.Minute)
				if got := w.ended("night"); got != test.want {
					w.Errorf("attempts %q, want %q", got, test.want)
				}
				w.wantOpen(1)
			})
		})
	}
}

func TestALostPodThatWasNeverSeenRunningIsUnverified(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.be(func(k *kubelet) { k.stuck = true })
		w.node.runNow(leaves(time.Hour, 1))
		w.create(newSession("night"))
		w.start()
		w.stop()
		w.node.be(func(k *kubelet) { k.stuck = false })
		w.pass(time.Minute)
		w.wantOpen(1)
		pod := &w.pods()[0]
		pod.Finalizers = nil
		if err := w.api.Update(w.Context(), pod); err != nil {
			w.Fatal(err)
		}
		if err := w.api.Delete(w.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
			w.Fatal(err)
		}
		w.start()
		w.settle()
		if got, want := w.ended("night"), "1 Ignored PodLost Unverified"; got != want {
			w.Errorf("attempts %q, want %q", got, want)
		}
	})
}

// Clocks, and tokens that are not what was asked for.

func TestAClockThatIsAheadOfReactorsDoesNotKeepASessionFromStarting(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(runs(5 * time.Hour))
		w.reactor.SetDateSkew(-2 * time.Minute)
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "8h" }))
		w.start()
		w.want("night", "Ready=True/Running")
		if mints := len(w.reactor.IssuedJWTs()); mints != 1 {
			w.Errorf("%d mints", mints)
		}
	})
}

func TestATokenThatReactorShortenedIsRenewedWhileItsAttemptRuns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetLifetimes(time.Hour, time.Hour)
		w.node.runNow(runs(5 * time.Hour))
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "4h" }))
		w.start()
		w.pass(2 * time.Hour)
		w.want("night", "Ready=True/Running", "TokenReady=True/TokenValid")
	})
}

// Pods that status does not speak of.

// forgetAttempt takes the attempt out of status, as somebody may who edits it.
func (w *world) forgetAttempt(name string) {
	w.Helper()
	session := w.session(name)
	session.Status.CurrentAttempt = nil
	if err := w.api.Status().Update(w.Context(), session); err != nil {
		w.Fatal(err)
	}
}

func TestAStrayPodOnALostNodeDoesNotKeepADeletedSession(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night"))
		w.start()
		w.node.be(func(k *kubelet) { k.lost = true })
		w.stop()
		w.forgetAttempt("night")
		w.start()
		w.remove(w.session("night"))
		w.pass(attempts.DeletionBound + 2*time.Minute)
		if !w.gone("night") {
			w.Error("the session is still there")
		}
	})
}

func TestThatAStrayPodMayHaveLeftASessionOpenIsTold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(time.Hour, 1))
		w.create(newSession("night"))
		w.start()
		w.stop()
		w.forgetAttempt("night")
		w.start()
		w.pass(time.Minute)
		if told := w.count("night", "CleanupUnverified"); told != 1 {
			w.Errorf("it was told %d times", told)
		}
	})
}

func TestASlotIsGivenBackWhenASessionIsCreatedAgain(t *testing.T) {
	slots := capacity.New(1, 0, func(...types.NamespacedName) {})
	known := newStateStore()
	old, again := newSession("night"), newSession("night")
	old.UID, again.UID = "old", "new"
	known.of(old)
	key := capacity.KeyUse{Fingerprint: "key", Current: "key"}
	slots.Acquire(capacityOf(old), key)
	_, replaced := known.of(again) // the pass that finds both, its deletion and its creation
	slots.Forget(replaced)
	if slots.Admit(capacityOf(again), key, nil, noon) != nil {
		t.Error("the slot of the session that is gone is held for ever")
	}
}

// Under APIKeyEnv the kubelet reads the key when the pod starts.
func TestAnAttemptThatWaitsHasTheKeyThatIsInTheSecretNow(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.be(func(k *kubelet) { k.stuck = true })
		w.tune = func(o *Options) { o.SessionStartsPerMinute = 1 }
		w.create(newSession("first"))
		w.start()
		w.create(newSession("second", apiKeyEnv))
		w.settle()
		w.want("second", "Ready=False/WaitingForCapacity")
		w.reactor.RevokeKey(secondKey)
		if err := w.api.Update(t.Context(), secretIn(namespace, keySecret, v1alpha1.DefaultAPIKeyKey, secondKey)); err != nil {
			t.Fatal(err)
		}
		w.node.be(func(k *kubelet) { k.stuck = false })
		w.pass(time.Hour)
		w.want("second", "Ready=False/APIKeyRefused")
		if got, want := w.ended("second"), "1 KeyRefused APIKeyRefused Unverified"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		if got, want := w.session("second").Status.RecentAttempts[0].KeyFingerprint, apikey.FingerprintOf(secondKey); got != want {
			t.Errorf("the attempt had the key %s, want %s", got, want)
		}
	})
}
