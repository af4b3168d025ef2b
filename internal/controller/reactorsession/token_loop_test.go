package reactorsession

import (
	"context"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
)

// The ReactorToken of an attempt is an object that others may edit, take over, or have a policy for.

// child is the ReactorToken of an attempt.
func (w *world) child(session string, attempt int32) *v1alpha1.ReactorToken {
	w.Helper()
	token := &v1alpha1.ReactorToken{}
	name := attempts.Name(w.session(session), attempt)
	if err := w.api.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name}, token); err != nil {
		w.Fatal(err)
	}
	return token
}

// message is that of a condition of a session.
func (w *world) message(name, kind string) string {
	w.Helper()
	found := meta.FindStatusCondition(w.session(name).Status.Conditions, kind)
	if found == nil {
		return ""
	}
	return found.Message
}

func (w *world) wantMessage(name, kind string, parts ...string) {
	w.Helper()
	for _, part := range parts {
		if message := w.message(name, kind); !strings.Contains(message, part) {
			w.Errorf("the message of condition %s of %s is %q, want %q in it", kind, name, message, part)
		}
	}
}

func alreadyExists(token string) error {
	return apierrors.NewAlreadyExists(v1alpha1.SchemeGroupVersion.WithResource("reactortokens").GroupResource(), token)
}

// updateChild edits the ReactorToken of the first attempt.
func (w *world) updateChild(session string, change func(*v1alpha1.ReactorToken)) {
	w.Helper()
	token := w.child(session, 1)
	change(token)
	if err := w.api.Update(w.Context(), token); err != nil {
		w.Fatal(err)
	}
}

func TestATokenThatLostItsLabelsIsStillTheAttempts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey) // the attempt waits for its token
		w.create(newSession("night"))
		w.start()
		w.updateChild("night", func(token *v1alpha1.ReactorToken) { token.Labels = nil })
		before := w.api.Asked(call{Verb: "create", Kind: "ReactorToken"})
		w.pass(time.Hour)
		if got := w.api.Asked(call{Verb: "create", Kind: "ReactorToken"}) - before; got != 0 {
			t.Errorf("%d attempts in an hour to create a token that exists", got)
		}
		w.want("night", "Ready=False/WaitingForToken", "TokenReady=False/APIKeyRefused")
		w.reactor.AddKey(firstKey)
		w.node.runNow(runs(5 * time.Minute))
		w.pass(30 * time.Minute)
		w.want("night", "Complete=True/Completed")
		tokens := &v1alpha1.ReactorTokenList{}
		if err := w.api.List(t.Context(), tokens); err != nil || len(tokens.Items) != 0 {
			t.Errorf("%d tokens of the attempt are left, %v", len(tokens.Items), err)
		}
	})
}

func TestATokenOfSomebodyElseUnderTheNameOfTheAttemptsIsReportedAndLeftAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night"))
		theirs := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: attempts.Name(w.session("night"), 1)}}
		theirs.Spec.APIKeySecretRef.Name = keySecret
		w.create(theirs)
		w.start()
		w.pass(time.Hour)
		w.want("night", "Ready=False/TokenConflict", "Stalled=True/TokenConflict", "TokenReady=False/TokenConflict")
		w.wantMessage("night", v1alpha1.ConditionReady, `ReactorToken "`+theirs.Name+`"`, "Delete it")
		if got := w.api.Asked(call{Verb: "create", Kind: "ReactorToken"}); got > 5 {
			t.Errorf("%d attempts in an hour to create a token that exists", got)
		}
		if len(w.pods()) != 0 || w.child("night", 1).UID != theirs.UID {
			t.Errorf("%d pods; the token of somebody else is there: %t", len(w.pods()), w.child("night", 1).UID == theirs.UID)
		}
		w.remove(theirs)
		w.pass(retryCap)
		w.settle()
		w.want("night", "Ready=True/Running", "Stalled=")
	})
}

// The cache does not show the token for long, as where its watch is broken.
func TestATokenThatNoCacheShowsIsNotCreatedEverySecond(t *testing.T) {
	inWorld(t, func(w *world) {
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Verb == "create" && made.Kind == "ReactorToken" {
				return alreadyExists(made.Name)
			}
			return do()
		})
		w.create(newSession("night"))
		w.start()
		w.pass(time.Hour)
		if got := w.api.Asked(call{Verb: "create", Kind: "ReactorToken"}); got > 80 {
			t.Errorf("%d attempts in an hour", got)
		}
		w.wantMessage("night", v1alpha1.ConditionReady, "ReactorToken", "already exists")
		w.api.MeddleWith(nil)
		w.pass(retryCap)
		w.settle()
		w.want("night", "Ready=True/Running", "Stalled=")
	})
}

// changedOnCreate is an admission policy that changes the ReactorTokens of sessions when they are created.
func (w *world) changedOnCreate(change func(*v1alpha1.ReactorToken)) {
	w.api.MeddleWith(func(made call, do func() error) error {
		err := do()
		if err == nil && made.Verb == "create" && made.Kind == "ReactorToken" {
			token := &v1alpha1.ReactorToken{}
			if err := w.api.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: made.Name}, token); err != nil {
				return err
			}
			change(token)
			return w.api.Update(context.Background(), token, client.FieldOwner("kyverno"))
		}
		return err
	})
}

func TestATokenWithAnotherScopeCostsFewAttemptsAndNamesWhatChangedIt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.changedOnCreate(func(token *v1alpha1.ReactorToken) { token.Spec.Scope.MaxSessionDuration = "23h" })
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "1h" }))
		w.start()
		w.pass(time.Hour)
		w.want("night", "Ready=False/BackingOff", "Stalled=True/BackingOff")
		w.wantMessage("night", v1alpha1.ConditionReady, "spec.scope.maxSessionDuration", "23h", "1h5m", "kyverno")
		if attempts, mints := w.session("night").Status.Attempts, len(w.reactor.IssuedJWTs()); attempts < 10 || attempts > 20 || mints > 20 {
			t.Errorf("%d attempts and %d mints in an hour", attempts, mints)
		}
		if len(w.pods()) != 0 {
			t.Error("a pod got a token that was not requested for it")
		}
		w.api.MeddleWith(nil)
		w.pass(5 * time.Minute)
		w.settle()
		w.want("night", "Ready=True/Running", "Stalled=", "TokenReady=True/TokenValid")
	})
}

func TestATokenWithAnotherLifetimeIsUsedAndWhatChangedItIsNamed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.node.runNow(runs(10 * time.Hour))
		w.changedOnCreate(func(token *v1alpha1.ReactorToken) { token.Spec.Lifetime = "10m" })
		w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "5h" }))
		w.start()
		for range 2 {
			w.want("night", "Ready=True/Running", "Stalled=", "TokenReady=True/TokenValid")
			w.wantMessage("night", v1alpha1.ConditionTokenReady, "spec.lifetime", "10m", "5h25m30s", "kyverno")
			if got := w.session("night").Status.Attempts; got != 1 {
				t.Errorf("%d attempts", got)
			}
			w.pass(time.Hour)
		}
		if mints := len(w.reactor.IssuedJWTs()); mints > 25 {
			t.Errorf("%d mints in two hours for a lifetime of ten minutes", mints)
		}
	})
}

// A version of the operator that knew no request hash has begun an attempt.
func TestAnAttemptWithoutARequestHashIsNotBegunAgain(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*v1alpha1.ReactorToken)
		want   int32
	}{
		"its token is as requested":  {func(*v1alpha1.ReactorToken) {}, 1},
		"its token has another size": {func(token *v1alpha1.ReactorToken) { token.Spec.Scope.MaxSessions = 7 }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.reactor.RevokeKey(firstKey)
				w.create(newSession("night"))
				w.start()
				w.stop()
				w.updateChild("night", test.change)
				session := w.session("night")
				session.Status.CurrentAttempt.RequestHash = ""
				if err := w.api.Status().Update(t.Context(), session); err != nil {
					t.Fatal(err)
				}
				w.start()
				w.pass(time.Minute)
				if got := w.session("night").Status.Attempts; got != test.want {
					t.Errorf("%d attempts, want %d", got, test.want)
				}
			})
		})
	}
}

// Two clients fight over the spec of a session that waits.
func TestASpecThatKeepsChangingCostsFewAttempts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		w.create(newSession("night"))
		w.start()
		for i := range 600 {
			w.edit("night", func(s *v1alpha1.ReactorSession) { s.Spec.Credentials.MaxSessions = int32(1 + i%2) })
			w.pass(time.Second)
		}
		if got := w.session("night").Status.Attempts; got < 4 || got > 20 {
			t.Errorf("%d attempts in ten minutes in which the spec changed every second", got)
		}
	})
}
