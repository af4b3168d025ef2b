package reactorsession

import (
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// The ReactorToken of an attempt is an object that others may edit, take over, or have a policy for.

// child is the ReactorToken of an attempt.
func (w *world) child(session string, attempt int32) *v1alpha1.ReactorToken {
	w.Helper()
	token := &v1alpha1.ReactorToken{}
	name := attemptName(w.session(session), attempt)
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
		before := w.api.asked(call{verb: "create", kind: "ReactorToken"})
		w.pass(time.Hour)
		if got := w.api.asked(call{verb: "create", kind: "ReactorToken"}) - before; got != 0 {
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
		theirs := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: attemptName(w.session("night"), 1)}}
		theirs.Spec.APIKeySecretRef.Name = keySecret
		w.create(theirs)
		w.start()
		w.pass(time.Hour)
		w.want("night", "Ready=False/TokenConflict", "Stalled=True/TokenConflict", "TokenReady=False/TokenConflict")
		w.wantMessage("night", v1alpha1.ConditionReady, `ReactorToken "`+theirs.Name+`"`, "Delete it")
		if got := w.api.asked(call{verb: "create", kind: "ReactorToken"}); got > 5 {
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
		w.api.meddleWith(func(made call, do func() error) error {
			if made.verb == "create" && made.kind == "ReactorToken" {
				return alreadyExists(made.name)
			}
			return do()
		})
		w.create(newSession("night"))
		w.start()
		w.pass(time.Hour)
		if got := w.api.asked(call{verb: "create", kind: "ReactorToken"}); got > 80 {
			t.Errorf("%d attempts in an hour", got)
		}
		w.wantMessage("night", v1alpha1.ConditionReady, "ReactorToken", "already exists")
		w.api.meddleWith(nil)
		w.pass(retryCap)
		w.settle()
		w.want("night", "Ready=True/Running", "Stalled=")
	})
}
