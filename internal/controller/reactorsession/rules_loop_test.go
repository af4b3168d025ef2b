package reactorsession

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/cleanup"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// writesOf counts the writes of the session controller: those of the tokens' own and of the tokens' controller apart.
func (w *world) writesOf(kinds ...string) int {
	count := 0
	for _, made := range w.api.Calls() {
		for _, kind := range kinds {
			if made.Kind == kind && made.Writes() {
				count++
			}
		}
	}
	return count
}

func TestASessionThatCompletesCostsFewWrites(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(runs(time.Minute))
		w.create(newSession("night"))
		w.start()
		w.pass(2 * time.Minute)
		w.want("night", "Complete=True/Completed")
		if got := w.writesOf("ReactorSession", "Pod"); got > 8 {
			t.Errorf("%d writes: %v", got, w.api.Calls())
		}
	})
}

func TestASessionWaitsForItsKeyAndStartsByItself(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.ReactorSession){"token file": ofModel(model), "key in the environment": apiKeyEnv} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.remove(secretIn(namespace, keySecret, "", ""))
				w.create(newSession("night", change))
				w.start()
				w.pass(time.Hour)
				w.want("night", "Ready=False/WaitingForToken", "Stalled=True/WaitingForToken")
				if len(w.pods()) != 0 || w.session("night").Status.Attempts != 0 {
					t.Errorf("%d pods, status %+v", len(w.pods()), w.session("night").Status)
				}
				w.create(secretIn(namespace, keySecret, v1alpha1.DefaultAPIKeyKey, firstKey))
				w.settle()
				w.want("night", "Ready=True/Running", "Stalled=")
			})
		})
	}
}

func TestNoPodBeforeItsTokenIsReady(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		w.create(newSession("night"))
		w.start()
		w.pass(time.Hour)
		w.want("night", "Ready=False/WaitingForToken", "TokenReady=False/APIKeyRefused", "Stalled=True/WaitingForToken")
		if len(w.pods()) != 0 {
			t.Errorf("%d pods", len(w.pods()))
		}
		w.reactor.AddKey(firstKey)
		w.pass(15 * time.Minute)
		w.want("night", "Ready=True/Running", "TokenReady=True/TokenValid")
	})
}

func TestTheTokenOfAnAttemptBoundsWhatItMayCost(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "1h" }))
		w.start()
		tokens := &v1alpha1.ReactorTokenList{}
		if err := w.api.List(t.Context(), tokens, client.InNamespace(namespace)); err != nil || len(tokens.Items) != 1 {
			t.Fatalf("%d tokens, %v", len(tokens.Items), err)
		}
		token := tokens.Items[0]
		scope := token.Spec.Scope
		if scope == nil || scope.Models[0] != model || scope.MaxSessions != 1 || scope.MaxSessionDuration != "1h5m" || token.Spec.Lifetime != "1h25m30s" {
			t.Errorf("token for %s, scope %+v", token.Spec.Lifetime, scope)
		}
		if !token.Spec.Suspended() {
			t.Error("the token would be renewed while the attempt runs")
		}
	})
}

// A lost node, a program that told no id: then the limit of the token is what ends the billing.
func TestTheOuterBoundEndsWhatNobodyElseCan(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.program = func(m *machine) { m.begin(); m.said = ""; <-m.Done() }
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "10m" }))
		w.start()
		w.pass(11 * time.Minute)
		w.want("night", "Complete=True/DurationReached")
		if got, want := w.ended("night"), "1 Stopped DurationReached Unverified"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		if w.count("night", "CleanupUnverified") != 1 {
			t.Error("that the clean-up could not be verified was not told once")
		}
		w.pass(5 * time.Minute)
		w.wantOpen(0)
	})
}

func TestNothingIsLeftBilling(t *testing.T) {
	for name, test := range map[string]struct {
		program func(*machine)
		happen  func(w *world)
		want    string
	}{
		"exit 0 without an end":  {leaves(time.Minute, 0), nil, "1 Succeeded Completed Ended"},
		"exit 1":                 {leaves(time.Minute, 1), nil, "1 Failed ExitCode Ended"},
		"out of memory":          {func(m *machine) { leaves(time.Minute, 137)(m); m.killed = "OOMKilled" }, nil, "1 Failed OOMKilled Ended"},
		"a program that is deaf": {func(m *machine) { m.begin(); <-m.kubelet.power }, func(w *world) { w.edit("night", suspend(true)) }, "1 Stopped Suspended Ended"},
		"eviction": {func(m *machine) { leaves(time.Hour, 137)(m) }, func(w *world) {
			pod := &w.pods()[0]
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI"}}
			if err := w.api.Status().Update(w.Context(), pod); err != nil {
				w.Fatal(err)
			}
			w.remove(&w.pods()[0])
		}, "1 Ignored EvictionByEvictionAPI Ended"},
		"a pod that was deleted by hand": {func(m *machine) { leaves(time.Hour, 143)(m) }, func(w *world) { w.remove(&w.pods()[0]) }, "1 Ignored PodDeleted Ended"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.node.runNow(test.program)
				w.create(newSession("night"))
				w.start()
				w.wantOpen(1)
				if test.happen != nil {
					test.happen(w)
				}
				w.node.runNow(runs(time.Hour))
				w.pass(75 * time.Second)
				ended := w.session("night").Status.RecentAttempts
				if len(ended) == 0 {
					w.pass(time.Minute)
				}
				if got := w.ended("night"); got != test.want {
					t.Errorf("attempts %q, want %q", got, test.want)
				}
				first := w.reactor.Ledger().Sessions[0]
				if first.State != emulator.StateClosed {
					t.Errorf("the first session is %s", first.State)
				}
			})
		})
	}
}

func TestADeletedSessionTakesEverythingAlong(t *testing.T) {
	for name, first := range map[string]func(w *world){
		"while it runs":                         func(*world) {},
		"with the Secret of its key gone first": func(w *world) { w.remove(secretIn(namespace, keySecret, "", "")) },
		"with its pod being deleted at the same time, as in a namespace": func(w *world) {
			for _, pod := range w.pods() {
				w.remove(&pod)
			}
		},
		"while it is suspended": func(w *world) { w.edit("night", suspend(true)); w.settle() },
		"after its end":         func(w *world) { w.pass(2 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newSession("night"))
				w.start()
				w.want("night", "Ready=True/Running")
				first(w)
				w.remove(w.session("night"))
				w.pass(time.Minute)
				if !w.gone("night") || len(w.pods()) != 0 {
					t.Errorf("the session is gone: %t; %d pods are left", w.gone("night"), len(w.pods()))
				}
				w.wantOpen(0)
			})
		})
	}
}

// So that it goes with its namespace also where the operator's rights go with it.
func TestASessionIsKeptOnlyWhileAnAttemptMayRun(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(10*time.Second, 1))
		w.create(newSession("night", policy(v1alpha1.RestartAlways)))
		w.start()
		kept := func() bool { return attempts.HasFinalizer(w.session("night"), attempts.CleanupFinalizer) }
		w.want("night", "Ready=True/Running")
		if !kept() {
			t.Error("it is not kept while it runs")
		}
		w.pass(20 * time.Second)
		w.want("night", "Ready=False/BackingOff")
		if kept() {
			t.Error("it is kept between two attempts")
		}
		w.node.runNow(runs(time.Hour))
		w.pass(time.Minute)
		w.want("night", "Ready=True/Running")
		if !kept() {
			t.Error("it is not kept while it runs again")
		}
	})
}

func TestALostNodeIsWaitedForAndNothingIsForced(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(runs(5 * time.Hour))
		w.create(newSession("night", ofModel("only/night"), func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "5h" }))
		w.start()
		w.node.be(func(k *kubelet) { k.lost = true })
		w.remove(&w.pods()[0]) // as the eviction of a lost node's pods does
		w.pass(time.Hour)
		w.want("night", "Ready=False/NodeUnreachable")
		if got := w.session("night").Status.Attempts; got != 1 || len(w.pods()) != 1 {
			t.Errorf("%d attempts, %d pods", got, len(w.pods()))
		}
		w.wantOpen(1)
		w.node.be(func(k *kubelet) { k.lost = false })
		w.pass(2 * time.Minute)
		w.want("night", "Ready=True/Running")
		w.wantOpen(1)
	})
}

// What Reactor was told with the token ends the billing of a program that nobody reaches.
func TestASessionOnALostNodeCanBeDeletedAfterItsBound(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "1h" }))
		w.start()
		w.node.be(func(k *kubelet) { k.lost = true })
		w.remove(w.session("night"))
		w.pass(attempts.DeletionBound)
		if w.gone("night") {
			t.Error("the session was let go before its bound")
		}
		w.pass(2 * time.Minute)
		if !w.gone("night") {
			t.Error("the session is still there")
		}
		if told := w.count("night", "CleanupUnverified"); told != 1 {
			t.Errorf("that the clean-up could not be verified was told %d times", told)
		}
		if forced := w.api.Asked(call{Verb: "delete by force"}); forced != 0 {
			t.Errorf("%d pods were deleted by force", forced)
		}
		w.wantOpen(1)
		w.pass(time.Hour)
		w.wantOpen(0)
	})
}

func TestASessionThatNoCredentialIsLeftForIsEndedByItsLimit(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(10*time.Minute, 1))
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "1h" }))
		w.start()
		w.want("night", "Ready=True/Running")
		w.remove(&v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: w.session("night").Status.CurrentAttempt.TokenName}})
		w.remove(secretIn(namespace, keySecret, "", ""))
		w.pass(15 * time.Minute)
		if got, want := w.ended("night"), "1 Failed ExitCode Unverified"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		if w.count("night", "CleanupUnverified") != 1 {
			t.Error("that the clean-up could not be verified was not told once")
		}
		w.wantOpen(1)
		w.pass(time.Hour)
		w.wantOpen(0)
	})
}

// Under APIKeyEnv there is no token of the attempt, and no limit in one: without the key nobody can end the session, and that is said.
func TestASessionByAKeyThatIsGoneIsNotVerified(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(10*time.Minute, 1))
		w.create(newSession("night", apiKeyEnv))
		w.start()
		w.want("night", "Ready=True/Running")
		w.remove(secretIn(namespace, keySecret, "", ""))
		w.pass(15 * time.Minute)
		if got, want := w.ended("night"), "1 Failed ExitCode Unverified"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		if told := w.count("night", "CleanupUnverified"); told != 1 {
			t.Errorf("that the clean-up could not be verified was told %d times", told)
		}
		w.wantOpen(1)
	})
}

func TestRotationLeavesARunningSessionAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(runs(5 * time.Hour))
		w.create(newSession("night", ofModel("only/night")))
		w.start()
		uid := w.pods()[0].UID
		for range 3 {
			key := &corev1.Secret{}
			if err := w.api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: keySecret}, key); err != nil {
				t.Fatal(err)
			}
			key.Data[v1alpha1.DefaultAPIKeyKey] = []byte(secondKey)
			if err := w.api.Update(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			w.stop()
			w.start()
			w.edit("night", func(s *v1alpha1.ReactorSession) { s.Spec.Template.Spec.Containers[0].Image += "1" })
			w.pass(30 * time.Minute)
		}
		if pods := w.pods(); len(pods) != 1 || pods[0].UID != uid {
			t.Errorf("another pod: %d", len(pods))
		}
		w.want("night", "Ready=True/Running")
		if sessions := len(w.reactor.Ledger().Sessions); sessions != 1 {
			t.Errorf("%d Reactor sessions", sessions)
		}
	})
}

func (w *world) condition(name string) string {
	w.Helper()
	for _, condition := range w.session(name).Status.Conditions {
		if condition.Type == v1alpha1.ConditionReady {
			return string(condition.Status) + "/" + condition.Reason
		}
	}
	return ""
}

func TestAQuotaAnswerGoesBackToWaitingAndCountsAgainstNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Route: "POST /sessions", Status: http.StatusTooManyRequests, Times: 2})
		w.create(newSession("night"))
		w.start()
		w.want("night", "Ready=False/BackingOff")
		w.pass(3 * time.Minute)
		w.want("night", "Ready=True/Running")
		if got, want := w.ended("night"), "2 Ignored RateLimited NotNeeded, 1 Ignored RateLimited NotNeeded"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		if status := w.session("night").Status; status.Failures != 0 || status.IgnoredFailures != 2 {
			t.Errorf("%d counted, %d uncounted", status.Failures, status.IgnoredFailures)
		}
	})
}

func TestARefusedKeyHoldsWithoutBurningAttempts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		w.create(newSession("night", apiKeyEnv, policy(v1alpha1.RestartOnFailure)))
		w.start()
		w.pass(2 * time.Hour)
		w.want("night", "Ready=False/APIKeyRefused", "Stalled=True/APIKeyRefused")
		if got, want := w.ended("night"), "1 KeyRefused APIKeyRefused Unverified"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		key := secretIn(namespace, keySecret, v1alpha1.DefaultAPIKeyKey, secondKey)
		if err := w.api.Update(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		w.settle()
		w.want("night", "Ready=True/Running", "Stalled=")
	})
}

func TestAnExpiredTokenGetsANewAttemptWithANewOne(t *testing.T) {
	inWorld(t, func(w *world) {
		var tries atomic.Int32
		w.node.program = func(m *machine) {
			if tries.Add(1) == 1 {
				m.fail("UNAUTHORIZED")
				return
			}
			runs(time.Hour)(m)
		}
		w.create(newSession("night"))
		w.start()
		w.pass(time.Minute)
		w.want("night", "Ready=True/Running")
		if got, want := w.ended("night"), "1 Ignored TokenExpired Unverified"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
	})
}

func TestMaxDurationIsKeptOverAttemptsAndByTheKubeletToo(t *testing.T) {
	long := func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration, s.Spec.StartDeadline = "1h", "10m" }
	t.Run("by the operator, over attempts", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.node.runNow(leaves(25*time.Minute, 1))
			w.create(newSession("night", long, policy(v1alpha1.RestartAlways)))
			w.start()
			w.pass(2 * time.Hour)
			w.want("night", "Complete=True/DurationReached", "Ready=True/DurationReached")
			if got := w.session("night").Status.RunningSeconds; got < 3600 || got > 3605 {
				t.Errorf("it ran for %d s", got)
			}
			w.wantOpen(0)
		})
	})
	t.Run("by the kubelet, while the operator is away", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.node.runNow(runs(10 * time.Hour))
			w.create(newSession("night", long))
			w.start()
			w.stop()
			w.pass(75 * time.Minute)
			w.wantOpen(0)
			w.start()
			w.want("night", "Complete=True/DurationReached")
			if got, want := w.ended("night"), "1 Stopped DurationReached AlreadyOver"; got != want {
				t.Errorf("attempts %q, want %q", got, want)
			}
		})
	})
}

func TestAPodThatDoesNotStartIsGivenUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.be(func(k *kubelet) { k.stuck = true })
		w.create(newSession("night"))
		w.start()
		w.want("night", "Ready=False/Starting")
		w.pass(DefaultStart + time.Minute)
		if got, want := w.ended("night"), "1 Ignored NeverStarted NotNeeded"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		w.node.be(func(k *kubelet) { k.stuck = false })
		w.pass(time.Minute)
		w.want("night", "Ready=True/Running")
	})
}

// DefaultStart is the default of spec.startDeadline.
const DefaultStart = v1alpha1.DefaultStartDeadline

func TestAPodThatSomebodyHoldsBackHasNoStartDeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) {
			s.Spec.Template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/queue"}}
			s.Spec.Template.Labels = map[string]string{"kueue.x-k8s.io/queue-name": "night"}
		}))
		w.start()
		w.pass(2 * time.Hour)
		w.want("night", "Ready=False/SchedulingGated")
		pod := w.pods()[0]
		if pod.Labels["kueue.x-k8s.io/queue-name"] != "night" || len(w.session("night").Status.RecentAttempts) != 0 {
			t.Errorf("labels %v, attempts %q", pod.Labels, w.ended("night"))
		}
	})
}

func TestASessionThatRunsForEverBeginsAnewAfterEachEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(runs(10 * time.Minute))
		w.create(newSession("night", policy(v1alpha1.RestartAlways), ofModel("only/night")))
		w.start()
		w.pass(3 * time.Hour)
		if got := w.session("night").Status.Attempts; got < 16 || got > 19 {
			t.Errorf("%d attempts in three hours", got)
		}
		w.want("night", "Failed=", "Complete=")
		if got := len(w.session("night").Status.RecentAttempts); got != attempts.MaxRecent {
			t.Errorf("%d attempts are kept", got)
		}
		if got := len(w.pods()); got > attempts.MaxRecent+1 {
			t.Errorf("%d pods are kept", got)
		}
		if most := w.reactor.Ledger().MostOpen(""); most != 1 {
			t.Errorf("%d sessions at once", most)
		}
	})
}

func TestAFinishedSessionIsDeletedAfterItsTime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(runs(time.Minute))
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.TTLAfterFinished = "2h" }), newSession("kept"))
		w.start()
		w.pass(110 * time.Minute)
		if w.gone("night") {
			t.Error("it went too early")
		}
		w.pass(20 * time.Minute)
		if !w.gone("night") || w.gone("kept") {
			t.Errorf("gone: %t; kept: %t", w.gone("night"), !w.gone("kept"))
		}
	})
}

func TestATemplateThatCannotBeRunIsToldAndMended(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.Container = "other" }))
		w.start()
		w.want("night", "Ready=False/InvalidTemplate", "Stalled=True/InvalidTemplate")
		w.edit("night", func(s *v1alpha1.ReactorSession) { s.Spec.Container = "" })
		w.settle()
		w.want("night", "Ready=True/Running", "Stalled=")
	})
}

func TestAPodThatTheAPIServerRefusesIsTriedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Verb == "create" && made.Kind == "Pod" {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, made.Name, errors.New("exceeded quota"))
			}
			return do()
		})
		w.create(newSession("night"))
		w.start()
		w.want("night", "Ready=False/PodRefused", "Stalled=")
		w.pass(time.Hour)
		if got := w.api.Asked(call{Verb: "create", Kind: "Pod"}); got < 50 || got > 80 {
			t.Errorf("%d attempts in an hour", got)
		}
		w.api.MeddleWith(nil)
		w.pass(retryCap)
		w.want("night", "Ready=True/Running")
	})
}

func TestACleanUpIsTriedAgainWhileReactorIsAwayAndThenGivenUp(t *testing.T) {
	for name, test := range map[string]struct {
		away time.Duration
		want string
	}{
		"for a while":       {time.Minute, "1 Failed ExitCode Ended"},
		"longer than bound": {time.Hour, "1 Failed ExitCode Unverified"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.node.runNow(leaves(time.Minute, 1))
				w.create(newSession("night"))
				w.start()
				w.reactor.SetFaults(emulator.Fault{Route: "GET /sessions/{id}", Status: 503})
				w.pass(test.away)
				w.reactor.ClearFaults()
				w.pass(cleanup.MaxRetry + 30*time.Second)
				if got := w.ended("night"); got != test.want {
					t.Errorf("attempts %q, want %q", got, test.want)
				}
			})
		})
	}
}

// The attempt's own token is gone or refused: one without a scope, made from the key, ends the session.
func TestASessionThatItsOwnTokenCannotEndIsEndedWithAnotherOne(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.program = func(m *machine) {
			leaves(time.Minute, 1)(m)
			secret := &corev1.Secret{}
			secret.Namespace, secret.Name = m.pod.Namespace, m.pod.Name
			_ = w.api.Delete(m.Context, secret)
		}
		w.create(newSession("night"))
		w.start()
		token := &v1alpha1.ReactorToken{}
		if err := w.api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: w.pods()[0].Name}, token); err != nil {
			t.Fatal(err)
		}
		if w.session("night").Status.CurrentAttempt.KeyFingerprint != apikey.FingerprintOf(firstKey) {
			t.Error("the attempt does not say which key it was begun with")
		}
		w.pass(2 * time.Minute)
		if got, want := w.ended("night"), "1 Failed ExitCode Ended"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		w.wantOpen(0)
	})
}

// The key is replaced and revoked just before a cleanup uses the one in memory, and the watch does not show that yet.
func TestACleanUpWithAKeyThatWasReplacedAndRevokedUsesTheNewOne(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(leaves(30*time.Second, 1))
		w.create(newSession("night"))
		w.start()
		tokenSecret := w.pods()[0].Name
		w.reactor.SetFaults(emulator.Fault{Route: "GET /sessions/{id}", Status: http.StatusUnauthorized, Times: 1}) // to the attempt's own token
		var replaced atomic.Bool
		w.api.MeddleWith(func(made call, do func() error) error {
			err := do()
			if made == (call{Verb: "get", Kind: "Secret", Name: tokenSecret}) && !replaced.Swap(true) {
				w.reactor.RevokeKey(firstKey)
				return errors.Join(err, w.api.Update(context.Background(), secretIn(namespace, keySecret, v1alpha1.DefaultAPIKeyKey, secondKey)))
			}
			return err
		})
		w.pass(2 * time.Minute)
		if got, want := w.ended("night"), "1 Failed ExitCode Ended"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		if !replaced.Load() {
			t.Error("the key was not replaced")
		}
		w.wantOpen(0)
	})
}
