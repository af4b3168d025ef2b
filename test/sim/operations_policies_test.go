package sim

import (
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// policyOperations are what admission policies and other clients do to what the operator writes for sessions. They are no disturbance: the
// operator reports them, backs off, and leaves nothing behind.
var policyOperations = []operation{
	{"a policy changes the tokens of sessions", 2, lasting(time.Minute, 40*time.Minute, "scope", "lifetime"), func(w *world, s step) {
		until := time.Now().Add(s.For)
		w.faults.change(func(f *faults) { f.changed, f.tampering = until, s.How })
	}},
	{"pod patches are denied", 2, lasting(time.Minute, time.Hour), func(w *world, s step) {
		until := time.Now().Add(s.For)
		w.faults.change(func(f *faults) { f.denied = until })
	}},
	{"take the token of a session over", 2, func(d dice) step { return step{On: d.one(sessionNames...), How: d.one("labels", "owner")} }, func(w *world, s step) {
		token := w.tokenOf(s.On)
		if token == nil {
			return
		}
		w.judge.strike(ofSession(s.On), s.Do, afterChange)
		edit(w, token, func(token *v1alpha1.ReactorToken) {
			token.Labels = nil
			if s.How == "owner" {
				token.OwnerReferences = nil
			}
		})
	}},
}

// tokenOf is the ReactorToken of a session's current attempt; nil when there is none.
func (w *world) tokenOf(session string) *v1alpha1.ReactorToken {
	found := w.session(session)
	if found == nil || found.Status.CurrentAttempt == nil {
		return nil
	}
	return w.token(found.Status.CurrentAttempt.TokenName)
}

// changeToken is the policy that changes the token of a session.
func (f *faults) changeToken(name string) {
	f.mu.Lock()
	how := f.tampering
	if !time.Now().Before(f.changed) {
		how = ""
	}
	f.mu.Unlock()
	token := f.world.token(name)
	if how == "" || token == nil || isToken(name) {
		return
	}
	edit(f.world, token, func(token *v1alpha1.ReactorToken) {
		switch {
		case how == "lifetime":
			token.Spec.Lifetime = "10m"
		case token.Spec.Scope != nil:
			token.Spec.Scope.MaxSessionDuration = ""
		}
	})
}

// removeTakenTokens deletes the ReactorTokens of sessions that were taken over, as the conditions of the sessions say.
func (w *world) removeTakenTokens() {
	tokens := &v1alpha1.ReactorTokenList{}
	if err := w.people.List(context.Background(), tokens, client.InNamespace(namespace)); err != nil {
		panic(err)
	}
	for i := range tokens.Items {
		if token := &tokens.Items[i]; !slices.Contains(slices.Concat(tokenNames, crowdNames), token.Name) && metav1.GetControllerOf(token) == nil {
			w.remove(token)
		}
	}
}
