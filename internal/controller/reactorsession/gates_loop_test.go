package reactorsession

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

func tenMinutes(session *v1alpha1.ReactorSession) { session.Spec.MaxDuration = "10m" }

// wantMints checks how many tokens were minted.
func (w *world) wantMints(want int) {
	w.Helper()
	if mints := w.reactor.Ledger().Mints(); mints != want {
		w.Errorf("%d mints, want %d", mints, want)
	}
}

func TestAPodThatAQueueHoldsBackRunsWithAFreshToken(t *testing.T) {
	for name, deliver := range map[string]func(*v1alpha1.ReactorSession){"TokenFile": func(*v1alpha1.ReactorSession) {}, "APIKeyEnv": apiKeyEnv} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.kueue(false)
				w.node.runNow(runs(9 * time.Minute))
				w.create(newSession("night", queued, tenMinutes, deliver))
				w.start()
				w.pass(45 * time.Minute)
				w.want("night", "Ready=False/SchedulingGated")
				w.wantMints(0)
				w.admit("night")
				w.settle()
				w.want("night", "Ready=True/Running")
				w.wantMints(1)
				tolerated := func(toleration corev1.Toleration) bool { return toleration.Key == "spot" }
				if pod := w.onePod("night"); pod.Spec.NodeSelector["example.com/flavor"] != "spot" || !slices.ContainsFunc(pod.Spec.Tolerations, tolerated) || pod.Labels["kueue.x-k8s.io/podset"] != "main" {
					t.Errorf("what Kueue set is lost: %v, %v, %v", pod.Spec.NodeSelector, pod.Spec.Tolerations, pod.Labels)
				}
				w.pass(2 * time.Hour)
				w.want("night", "Complete=True/Completed")
				if got, want := w.ended("night"), "1 Succeeded Completed AlreadyOver"; got != want {
					t.Errorf("attempts %q, want %q", got, want)
				}
				if name == "TokenFile" { // another cleanup requests an unscoped token
					w.wantMints(1)
				}
			})
		})
	}
}

// A queued session costs one write more than another one: the removal of the gate. What the bench counts for a session that is not queued is 11
// writes, without the one that reports that the program runs.
func TestWhatASessionCosts(t *testing.T) {
	for name, test := range map[string]struct {
		form   func(*v1alpha1.ReactorSession)
		writes int
	}{
		"that is not queued": {func(*v1alpha1.ReactorSession) {}, 12},
		"that is queued":     {queued, 13},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.kueue(false)
				w.node.runNow(runs(9 * time.Minute))
				w.create(newSession("night", test.form))
				w.start()
				if pod := w.onePod("night"); attempts.IsGated(pod) {
					w.pass(45 * time.Minute)
					w.admit("night")
				}
				w.pass(time.Hour)
				w.want("night", "Complete=True/Completed")
				var writes []call
				for _, made := range w.api.Calls() {
					if made.Writes() && (made.Verb != "delete" || !slices.Contains(writes, made)) { // the cache may show for a moment what is gone
						writes = append(writes, made)
					}
				}
				if len(writes) > test.writes {
					t.Errorf("%d writes, want at most %d: %v", len(writes), test.writes, writes)
				}
				const most = 3
				if events := w.events("night"); len(events) > most {
					t.Errorf("events %v, want at most %d", events, most)
				}
			})
		})
	}
}

// Whoever waits in a queue takes no capacity, even after the operator was started again.
func TestAPodThatAQueueHoldsBackTakesNoCapacity(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tune = oneSlot
		w.kueue(false)
		w.node.runNow(runs(10 * time.Minute))
		for i := range 5 {
			w.create(newSession(fmt.Sprintf("queued-%d", i), queued))
		}
		w.start()
		w.create(newSession("first"))
		w.settle()
		w.want("first", "Ready=True/Running")
		w.start()
		w.create(newSession("second"))
		w.pass(15 * time.Minute)
		w.want("first", "Complete=True/Completed")
		w.want("second", "Ready=True/Running")
		w.admit("queued-0") // there is one slot, and the second session has it
		w.settle()
		w.want("queued-0", "Ready=False/WaitingForCapacity")
		w.wantMints(2)
		w.pass(10 * time.Minute)
		w.want("queued-0", "Ready=True/Running")
		w.want("queued-1", "Ready=False/SchedulingGated")
		w.wantMints(3)
	})
}

// Kueue preempts a pod, before or after its program has begun.
func TestAPodThatAQueueTakesBackIsFollowedByTheNextOne(t *testing.T) {
	for name, test := range map[string]struct {
		before func(*world)
		want   string
	}{
		"while it waits for a slot": {func(*world) {}, "1 Ignored NeverStarted NotNeeded"},
		"while it runs": {func(w *world) {
			w.remove(w.session("blocks"))
			w.pass(time.Minute)
			w.want("night", "Ready=True/Running")
		}, "1 Ignored PodDeleted AlreadyOver"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.tune = oneSlot
				w.create(newSession("blocks"))
				w.start()
				w.kueue(false)
				w.create(newSession("night", queued, tenMinutes))
				w.settle()
				w.admit("night")
				w.settle()
				test.before(w)
				w.preempt("night")
				w.pass(2 * time.Minute)
				if got := w.ended("night"); got != test.want {
					t.Errorf("attempts %q, want %q", got, test.want)
				}
				w.want("night", "Ready=False/SchedulingGated")
				if got := w.onePod("night").Name; got != attempts.Name(w.session("night"), 2) {
					t.Errorf("pod %s", got)
				}
			})
		})
	}
}

// While the operator's own gate is there, no program has a token, and everything may be changed yet.
func TestASessionThatIsChangedInItsQueueStartsAgainWithWhatItAsksForNow(t *testing.T) {
	for name, test := range map[string]struct {
		form       func(*v1alpha1.ReactorSession)
		change     func(*world)
		want       string
		wantMaxOf  string
		wantGone   bool
		wantReason string
	}{
		"another scope": {change: func(w *world) {
			w.edit("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "20m" })
		}, want: "1 Stopped SpecChanged NotNeeded", wantMaxOf: "25m", wantReason: "False/SchedulingGated"},
		"another delivery": {change: func(w *world) { w.edit("night", apiKeyEnv) }, want: "1 Stopped SpecChanged NotNeeded", wantReason: "False/SchedulingGated"},
		"another key under APIKeyEnv": {form: apiKeyEnv, change: func(w *world) {
			w.create(secretIn(namespace, "other", v1alpha1.DefaultAPIKeyKey, secondKey))
			w.edit("night", func(s *v1alpha1.ReactorSession) { s.Spec.APIKeySecretRef.Name = "other" })
		}, want: "1 Stopped SpecChanged NotNeeded", wantReason: "False/SchedulingGated"},
		"suspended": {change: func(w *world) { w.edit("night", suspend(true)) }, want: "1 Stopped Suspended NotNeeded", wantReason: "False/Suspended"},
		"deleted":   {change: func(w *world) { w.remove(w.session("night")) }, wantGone: true},
		"its pod is deleted": {change: func(w *world) {
			pod := w.onePod("night")
			w.remove(pod)
			w.release(pod)
		}, want: "1 Ignored NeverStarted NotNeeded", wantReason: "False/SchedulingGated"},
	} {
		for _, admitted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, admitted %t", name, admitted), func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.tune = oneSlot
					w.create(newSession("blocks"))
					w.start()
					w.kueue(false)
					form := test.form
					if form == nil {
						form = tenMinutes
					}
					w.create(newSession("night", queued, form))
					w.settle()
					if admitted { // and there is no slot
						w.admit("night")
						w.settle()
					}
					test.change(w)
					w.settle()
					pods := w.pods()
					for i := range pods { // Kueue's finalizer, from a pod that is being deleted
						if pods[i].DeletionTimestamp != nil {
							w.release(&pods[i])
						}
					}
					w.pass(time.Minute)
					if test.wantGone {
						if !w.gone("night") {
							t.Error("the session is still there")
						}
						return
					}
					if got := w.ended("night"); got != test.want {
						t.Errorf("attempts %q, want %q", got, test.want)
					}
					if got := w.condition("night"); got != test.wantReason {
						t.Errorf("the session is %s, want %s", got, test.wantReason)
					}
					if test.wantMaxOf == "" {
						return
					}
					w.remove(w.session("blocks"))
					w.admit("night")
					w.pass(2 * time.Minute)
					w.want("night", "Ready=True/Running")
					if got := w.child("night", 2).Spec.Scope.MaxSessionDuration; got != v1alpha1.Duration(test.wantMaxOf) {
						t.Errorf("its token is for %s, want %s", got, test.wantMaxOf)
					}
				})
			})
		}
	}
}

// A webhook gates the pod, and the template says nothing of it: slot and token came first.
func TestAPodThatAWebhookHoldsBackGivesItsSlotBackAndKeepsItsToken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tune = oneSlot
		w.kueue(true)
		w.node.runNow(runs(9 * time.Minute))
		w.create(newSession("night", tenMinutes))
		w.start()
		w.want("night", "Ready=False/SchedulingGated", "TokenReady=True/TokenValid")
		w.api.MutateWith(nil)
		w.node.runNow(runs(2 * time.Hour))
		w.create(newSession("other"))
		w.settle()
		w.want("other", "Ready=True/Running")
		w.pass(45 * time.Minute)
		if token := w.child("night", 1); token.Spec.Suspended() {
			t.Error("the token of a pod that waits is suspended")
		}
		w.node.runNow(runs(9 * time.Minute))
		w.admit("night")
		w.pass(time.Minute)
		w.want("night", "Ready=True/Running") // above the limit
		w.pass(10 * time.Minute)
		w.want("night", "Complete=True/Completed")
		if got, want := w.ended("night"), "1 Succeeded Completed AlreadyOver"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
	})
}

// A key that is rotated in the queue is the key of the attempt.
func TestAKeyThatIsRotatedInTheQueueIsTheOneOfTheAttempt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.kueue(false)
		w.create(newSession("night", queued, tenMinutes))
		w.start()
		if err := w.api.Update(t.Context(), secretIn(namespace, keySecret, v1alpha1.DefaultAPIKeyKey, secondKey)); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Hour)
		w.admit("night")
		w.settle()
		w.want("night", "Ready=True/Running")
		attempt, token := w.session("night").Status.CurrentAttempt, w.child("night", 1)
		if attempt.PodUID == "" || attempt.TokenIssuedTime == nil || !attempt.TokenIssuedTime.Equal(token.Status.IssuedTime) {
			t.Errorf("status says %+v of a token of %s", attempt, token.Status.IssuedTime)
		}
		if mints := w.reactor.Ledger().Mints(); mints != 1 {
			t.Errorf("%d mints", mints)
		}
	})
}

// The operator crashes before or after each write of a queued attempt.
func TestACrashAtAnyWriteOfAQueuedAttemptCostsNoSecondPodOrToken(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at := range 14 {
			t.Run(fmt.Sprintf("write %d, after it %t", at, after), func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.kueue(false)
					w.node.runNow(runs(9 * time.Minute))
					var writes atomic.Int32
					w.api.MeddleWith(func(made call, do func() error) error {
						if !made.Writes() || int(writes.Add(1)) != at+1 {
							return do()
						}
						if after {
							_ = do()
						}
						w.run.Crash()
						return errors.New("crashed")
					})
					w.create(newSession("night", queued, tenMinutes, ofModel("only/night")))
					w.start()
					again := func() {
						if w.run.Crashed() {
							w.start()
						}
					}
					again()
					w.pass(45 * time.Minute)
					w.want("night", "Ready=False/SchedulingGated")
					w.wantMints(0)
					w.admit("night")
					w.pass(time.Minute)
					again()
					w.pass(20 * time.Minute)
					again()
					w.pass(time.Minute)
					w.want("night", "Complete=True/Completed")
					if got := w.session("night").Status.Attempts; got != 1 || w.reactor.Ledger().MostOpen("only/night") != 1 {
						t.Errorf("%d attempts", got)
					}
					if mints := w.reactor.Ledger().Mints(); mints > 2 { // one that was lost with the crash
						t.Errorf("%d mints", mints)
					}
				})
			})
		}
	}
}

// Another client denies the removal of the gate.
func TestAGateThatCannotBeRemovedIsReportedAndHoldsNoSlot(t *testing.T) {
	inWorld(t, func(w *world) {
		w.tune = oneSlot
		var denied atomic.Bool
		w.api.MeddleWith(func(made call, do func() error) error {
			if denied.Load() && made.Verb == "patch" && made.Kind == "Pod" {
				return errNotAllowed
			}
			return do()
		})
		w.kueue(false)
		denied.Store(true)
		w.create(newSession("night", queued, tenMinutes))
		w.start()
		w.admit("night")
		w.settle()
		w.want("night", "Ready=False/WriteRefused")
		w.create(newSession("other", apiKeyEnv))
		w.pass(retryCap + 10*time.Second)
		w.want("other", "Ready=True/Running")
		denied.Store(false)
		w.remove(w.session("other"))
		w.pass(3 * time.Minute)
		w.want("night", "Ready=True/Running")
	})
}

// A template must not have a gate of the operator's.
func TestAGateOfTheOperatorsInATemplateIsRefused(t *testing.T) {
	session := newSession("night", func(s *v1alpha1.ReactorSession) {
		s.Spec.Template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: attempts.TokenGate}}
	})
	if got := attempts.CheckTemplate(&session.Spec); !strings.Contains(got, attempts.TokenGate) {
		t.Errorf("%q", got)
	}
}

// The token of a queued attempt is changed by a policy.
func TestATokenWithAnotherScopeIsNotGivenToAQueuedPod(t *testing.T) {
	inWorld(t, func(w *world) {
		w.kueue(false)
		w.changedOnCreate(func(token *v1alpha1.ReactorToken) { token.Spec.Scope.MaxSessionDuration = "23h" })
		w.create(newSession("night", queued, tenMinutes))
		w.start()
		w.admit("night")
		w.settle()
		for _, pod := range w.pods() {
			if pod.Spec.NodeName != "" {
				t.Errorf("pod %s was let go", pod.Name)
			}
			w.release(&pod)
		}
		w.pass(time.Minute)
		if got, want := w.ended("night"), "1 Ignored TokenChanged NotNeeded"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		if got := w.session("night").Status.RecentAttempts[0].Message; !strings.Contains(got, "kyverno") {
			t.Errorf("message %q", got)
		}
	})
}

// events are those of an object.
func (w *world) events(name string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.told), func(told string) bool { return !strings.HasPrefix(told, name+"/") })
}

// People take the pod of an attempt away, past its finalizers, when the queue has admitted it and its token exists.
func TestAPodThatIsTakenAwayWhenItIsAdmittedJoinsItsQueueAgainWithoutAToken(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Status: http.StatusServiceUnavailable}) // the token does not come
		w.kueue(false)
		w.create(newSession("night", queued, tenMinutes))
		w.start()
		w.admit("night")
		w.settle()
		w.want("night", "Ready=False/WaitingForToken")
		pod := w.onePod("night")
		pod.Finalizers = nil
		if err := w.api.Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		w.remove(pod)
		w.settle()
		w.want("night", "Ready=False/SchedulingGated")
		tokens := &v1alpha1.ReactorTokenList{}
		if err := w.api.List(t.Context(), tokens); err != nil || len(tokens.Items) != 0 {
			t.Errorf("%d tokens for a pod that waits, %v", len(tokens.Items), err)
		}
		w.reactor.ClearFaults()
		w.admit("night")
		w.settle()
		w.want("night", "Ready=True/Running")
	})
}

// Another client removes the operator's own gate, too: the pod is bound, and the kubelet waits for the Secret of its token.
func TestAPodWhoseGatesAnotherClientRemovesGetsItsToken(t *testing.T) {
	for name, test := range map[string]struct {
		mutate func(client.Object)
		remove bool
	}{
		"all of them, by hand": {remove: true},
		"by a policy that allows none": {mutate: func(created client.Object) {
			if pod, ok := created.(*corev1.Pod); ok {
				pod.Spec.SchedulingGates = nil
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.kueue(false)
				if test.mutate != nil {
					w.api.MutateWith(test.mutate)
				}
				w.node.runNow(runs(9 * time.Minute))
				w.create(newSession("night", queued, tenMinutes))
				w.start()
				if test.remove {
					pod := w.onePod("night")
					before := pod.DeepCopy()
					pod.Spec.SchedulingGates = nil
					if err := w.api.Patch(t.Context(), pod, client.MergeFrom(before)); err != nil {
						t.Fatal(err)
					}
				}
				w.pass(time.Minute)
				w.want("night", "Ready=True/Running", "TokenReady=True/TokenValid")
				w.pass(time.Hour)
				if got, want := w.ended("night"), "1 Succeeded Completed AlreadyOver"; got != want {
					t.Errorf("attempts %q, want %q", got, want)
				}
			})
		})
	}
}

// A webhook replaces the reference to the API key by a path in a vault.
func TestAQueuedPodWhoseKeyAWebhookInjectsIsNotStartedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.kueue(false)
		gate := w.api.Mutate()
		w.api.MutateWith(func(created client.Object) {
			gate(created)
			if pod, ok := created.(*corev1.Pod); ok {
				for i := range pod.Spec.Containers[0].Env {
					if variable := &pod.Spec.Containers[0].Env[i]; variable.Name == "REACTOR_API_KEY" {
						variable.Value, variable.ValueFrom = "vault:reactor#key", nil
					}
				}
			}
		})
		w.create(newSession("night", queued, apiKeyEnv))
		w.start()
		w.pass(10 * time.Minute)
		if got := w.session("night").Status.Attempts; got != 1 {
			t.Errorf("%d attempts in 10 minutes: %s", got, w.ended("night"))
		}
	})
}
