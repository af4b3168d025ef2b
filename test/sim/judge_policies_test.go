package sim

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// policyBook is what the judge knows of sessions that a policy or another client is in the way of.
type policyBook struct {
	deleted map[types.UID]time.Time // sessions, since when the judge has seen that they are being deleted
	taken   map[string]time.Time    // ReactorTokens of sessions' attempts, since when it has seen that they have another owner
}

func newPolicyBook() policyBook {
	return policyBook{deleted: map[types.UID]time.Time{}, taken: map[string]time.Time{}}
}

// waitsUntil are the reasons of sessions that say when their next attempt begins.
var waitsUntil = []string{v1alpha1.ReasonBackingOff, v1alpha1.ReasonCreditsDepleted, v1alpha1.ReasonBillingNotSetUp}

// firstSeen is when something was first seen.
func firstSeen[K comparable](book map[K]time.Time, what K) time.Time {
	if book[what].IsZero() {
		book[what] = time.Now()
	}
	return book[what]
}

const (
	// deletedBound is how long a session that is being deleted is kept: the operator waits for its pods for 10 minutes and their grace period.
	deletedBound = 15 * time.Minute
	// takenBound is how long a session may wait for a token of somebody else before it says so.
	takenBound = 3 * time.Minute
	// beginsLate is how much later than status says an attempt may begin.
	beginsLate = 2 * time.Minute
)

// checkPolicies judges a session that may have a policy or another client in its way.
func (j *judge) checkPolicies(session *v1alpha1.ReactorSession, ready *metav1.Condition) {
	if session.DeletionTimestamp != nil {
		from := firstSeen(j.book.policies.deleted, session.UID)
		if time.Since(from) > deletedBound && len(session.Finalizers) > 0 && j.weather.wasFine(from, time.Now(), everything, nodes) {
			j.broken(ruleRest, "session %s was deleted %s ago, and %v keeps it", session.Name, time.Since(from), session.Finalizers)
		}
		return
	}
	if ready == nil || !j.weather.isFine(time.Now(), ofSession(session.Name)) {
		return
	}
	leader := j.world.leader.Load()
	if next := session.Status.NextAttemptTime; next != nil && slices.Contains(waitsUntil, ready.Reason) && leader != nil {
		now := j.world.clocks.trueTime().Add(j.world.clocks.aheadOf(leader.host))
		if late := now.Sub(next.Time); late > beginsLate {
			j.broken(ruleTruth, "session %s says that its next attempt began %s ago: %s", session.Name, late, ready.Message)
		}
	}
	attempt := session.Status.CurrentAttempt
	if attempt == nil || attempt.TokenName == "" || attempt.PodUID != "" {
		return
	}
	token := j.world.token(attempt.TokenName)
	if token == nil || metav1.IsControlledBy(token, session) {
		return
	}
	if from := firstSeen(j.book.policies.taken, token.Name); ready.Reason == v1alpha1.ReasonWaitingForToken && time.Since(from) > takenBound && j.weather.wasFine(from, time.Now(), everything) {
		j.broken(ruleTruth, "session %s waits for ReactorToken %s, which is not its own, and does not say so: %s", session.Name, token.Name, ready.Message)
	}
}

// checkTokenOfProgram judges the token that a program begins with: without a limit of it, nothing ends the billing when all else fails.
func (j *judge) checkTokenOfProgram(p *program) {
	if token := j.world.token(p.pod); p.keyFile && token != nil && (token.Spec.Scope == nil || token.Spec.Scope.MaxSessionDuration == "") {
		j.broken(ruleBounded, "pod %s begins with a token that has no maxSessionDuration", p.pod)
	}
}
