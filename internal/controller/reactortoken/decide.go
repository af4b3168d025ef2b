package reactortoken

import (
	"fmt"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// check looks for one obstacle.
type check func(*v1alpha1.ReactorToken, *observation) *obstacle

// targetChecks come before any write. The first obstacle that is found is reported.
var targetChecks = []check{
	gone,             // its Secret is deleted with it, and must not be created again
	claimedByAnother, // an older ReactorToken writes this Secret
	beingDeleted,     // it is created again when it is deleted
	notOurs,          // the Secret of another owner is written only if it allows that
	notUsable,        // an immutable or typed Secret cannot be written
}

// mintChecks come before a new token is requested.
var mintChecks = []check{
	suspended,  // the user wants no request to Reactor
	keyProblem, // there is nothing to exchange
	backingOff, // an attempt failed, and the time of the next one has not come
}

// repairChecks come before the Secret is repaired around the token that it has.
var repairChecks = []check{
	repairRefused,   // the API server refused this a moment ago
	secretContested, // another client reverts each repair
}

// decide decides what to do. It is pure: the order of its checks is the order of the lists above, and a test pins it.
func decide(token *v1alpha1.ReactorToken, observed *observation) plan {
	if found := first(targetChecks, token, observed); found != nil {
		if observed.target.Unwatched && found.until.IsZero() { // no watch reports when it is deleted
			found.until = observed.clocks.now.Add(maxWait)
		}
		return plan{obstacle: found}
	}
	planned := plan{cause: causeOf(token, observed)}
	var contested *obstacle
	if observed.target.Current() != nil && observed.target.Drifted {
		if contested = first(repairChecks, token, observed); contested != nil {
			planned.requeue = append(planned.requeue, requeue.Entry{After: contested.until.Sub(observed.clocks.now), Reason: "the Secret may be repaired again"})
		}
		planned.repair = contested == nil
	}
	if planned.cause == causeNone {
		planned.obstacle = first([]check{suspended, keyProblem}, token, observed) // reported before it matters
		if planned.obstacle == nil {
			planned.obstacle = contested
		}
		return planned
	}
	planned.write, planned.obstacle = obtain(token, observed, planned.cause)
	return planned
}

// obtain decides how a new token is obtained. A pending one goes first, and costs no mint.
func obtain(token *v1alpha1.ReactorToken, observed *observation, why cause) (write, *obstacle) {
	if fits(observed.pending, token, observed) {
		if found := first([]check{suspended, repairRefused}, token, observed); found != nil {
			return writeNothing, found
		}
		return writePending, nil
	}
	found := first(mintChecks, token, observed)
	if found == nil && costsBudget(token, observed, why) {
		found = budgetSpent(token, observed)
	}
	if found != nil {
		return writeNothing, found
	}
	return writeMint, nil
}

// spendsBudget reports whether a mint of this cause counts against the object's budget. A token that reached the end of its
// lifetime does not.
func (c cause) spendsBudget() bool { return c != causeDue && c != causeExpired }

// costsBudget reports whether the budget pays for an attempt. A repeated attempt was paid for by the first one.
func costsBudget(token *v1alpha1.ReactorToken, observed *observation, why cause) bool {
	return why.spendsBudget() && observed.paidFor != identityOf(token, observed)
}

func first(checks []check, token *v1alpha1.ReactorToken, observed *observation) *obstacle {
	for _, check := range checks {
		if found := check(token, observed); found != nil {
			return found
		}
	}
	return nil
}

// causeOf returns why a new token is needed; causeNone if none is.
func causeOf(token *v1alpha1.ReactorToken, observed *observation) cause {
	current := observed.target.Record
	switch {
	case !observed.target.Exists || current == nil:
		return causeOfLack(observed)
	case observed.target.Edited:
		return causeEdited
	case observed.clocks.until(current.ExpiresAt, current) <= 0:
		return causeExpired
	case observed.key.Fingerprint != "" && observed.key.Fingerprint != current.KeyFingerprint:
		return causeKeyChanged
	case requestHash(&token.Spec) != current.RequestHash:
		return causeRequestChanged
	case renewRequestOf(token) != "" && renewRequestOf(token) != current.RenewRequest:
		return causeRequested
	case observed.clocks.until(renewalTime(&token.Spec, token.UID, current), current) <= 0:
		return causeDue
	default:
		return causeNone
	}
}

// causeOfLack returns why there is no token: there has never been one, or it was removed.
func causeOfLack(observed *observation) cause {
	switch {
	case !hadToken(&observed.status):
		return causeNew
	case !observed.target.Exists:
		return causeDeleted
	default:
		return causeEdited
	}
}

// hadToken reports whether there has been a token before.
func hadToken(status *v1alpha1.ReactorTokenStatus) bool {
	return status.IssuedTime != nil || status.DeliveredTokenID != ""
}

// minUsefulLifetime is the lifetime that a pending token must have left to be worth a write.
const minUsefulLifetime = 10 * time.Second

// fits reports whether a pending token is still the one that is needed.
func fits(pending *pendingToken, token *v1alpha1.ReactorToken, observed *observation) bool {
	if pending == nil || pending.identity.RequestHash != requestHash(&token.Spec) || pending.identity.RenewRequest != renewRequestOf(token) {
		return false
	}
	if observed.key.Fingerprint != "" && pending.identity.KeyFingerprint != observed.key.Fingerprint {
		return false
	}
	return pending.token.Left(observed.clocks.now) > minUsefulLifetime
}

func gone(_ *v1alpha1.ReactorToken, observed *observation) *obstacle {
	if !observed.isDeleted {
		return nil
	}
	return &obstacle{kind: retryAtTime, problem: problem{v1alpha1.ReasonPending, "this ReactorToken is being deleted"}}
}

func claimedByAnother(token *v1alpha1.ReactorToken, observed *observation) *obstacle {
	if observed.claimedBy == "" {
		return nil
	}
	return mustAct(v1alpha1.ReasonSecretClaimed,
		"Secret %q is written by the older ReactorToken %q. Set a different spec.secret.name", token.TargetSecretName(), observed.claimedBy)
}

func beingDeleted(token *v1alpha1.ReactorToken, observed *observation) *obstacle {
	stale := observed.target.Exists && observed.target.Ownership == targetsecret.Stale
	if !observed.target.Terminating && !stale {
		return nil
	}
	return &obstacle{kind: retryAtTime, problem: problem{v1alpha1.ReasonSecretTerminating,
		fmt.Sprintf("Secret %q is being deleted. The operator creates it again as soon as it is deleted", token.TargetSecretName())}}
}

func notOurs(token *v1alpha1.ReactorToken, observed *observation) *obstacle {
	if observed.target.Writable() {
		return nil
	}
	return mustAct(v1alpha1.ReasonSecretNotOwned,
		"Secret %q exists and was not created by this operator. Set a different spec.secret.name, delete the Secret, or allow the operator to write to it with kubectl annotate secret %s %s=%s",
		token.TargetSecretName(), token.TargetSecretName(), v1alpha1.AllowAdoptionByAnnotation, token.Name)
}

func notUsable(token *v1alpha1.ReactorToken, observed *observation) *obstacle {
	if observed.target.Unusable == "" {
		return nil
	}
	return mustAct(v1alpha1.ReasonSecretUnusable, "Secret %q cannot be written: %s. Delete it, or set a different spec.secret.name",
		token.TargetSecretName(), observed.target.Unusable)
}

func suspended(token *v1alpha1.ReactorToken, _ *observation) *obstacle {
	if !token.Spec.Suspended() {
		return nil
	}
	return &obstacle{kind: retryAtTime, problem: problem{v1alpha1.ReasonSuspended,
		"spec.suspend is true. The operator requests no token until it is false"}}
}

func keyProblem(_ *v1alpha1.ReactorToken, observed *observation) *obstacle {
	if observed.key.Problem == nil {
		return nil
	}
	return &obstacle{kind: userMustAct, problem: problem{observed.key.Problem.Reason, observed.key.Problem.Message}}
}

// backingOff waits for the time in status. The waits that belong to the key (401, 429) are not checked here: mintqueue has them, for all objects that
// use the key.
func backingOff(token *v1alpha1.ReactorToken, observed *observation) *obstacle {
	next := observed.status.NextAttemptTime
	if !lastFailureCounts(token, observed) || next == nil || isOfKey(observed.status.LastFailure.Reason) {
		return nil
	}
	reason := observed.status.LastFailure.Reason
	if wait := next.Sub(observed.clocks.now); wait <= 0 || wait > maxRemainingWait(reason, observed) {
		return nil
	}
	found := &obstacle{kind: retryWithBackoff, until: next.Time, problem: problem{reason, observed.status.LastFailure.Message}}
	if reason == v1alpha1.ReasonRequestRefused {
		found.kind = userMustAct
	}
	return found
}

// maxRemainingWait is how long the rest of a wait after a failure can be. A time that is further away was set by a clock
// that was fast: of this host, before it was corrected, or of the host of an earlier leader. It must not put the next attempt
// off past the expiry. Times are rounded up to whole seconds.
func maxRemainingWait(reason string, observed *observation) time.Duration {
	if reason == v1alpha1.ReasonSecretWriteRefused {
		return writeBackoffCap + time.Second
	}
	maxWait := mintBackoffCap
	if reason == v1alpha1.ReasonRequestRefused {
		maxWait = slowRefusalRetryInterval
	}
	current := observed.target.Current()
	if current == nil {
		return maxWait + time.Second
	}
	soonest := observed.clocks.until(current.ExpiresAt, current) / 2
	if reason == v1alpha1.ReasonRequestRefused {
		soonest = untilExpiring(observed.clocks, current)
	}
	if soonest > 0 {
		maxWait = min(maxWait, soonest)
	}
	return maxWait + time.Second
}

// repairRefused waits after a write that the API server refused. If Reactor gives no token, what is around
// the existing one is still repaired.
func repairRefused(token *v1alpha1.ReactorToken, observed *observation) *obstacle {
	if failed := observed.status.LastFailure; failed == nil || failed.Reason != v1alpha1.ReasonSecretWriteRefused {
		return nil
	}
	return backingOff(token, observed)
}

func budgetSpent(_ *v1alpha1.ReactorToken, observed *observation) *obstacle {
	if observed.budgetUntil.IsZero() {
		return nil
	}
	return &obstacle{kind: retryAtTime, until: observed.budgetUntil, problem: problem{v1alpha1.ReasonMintBudgetSpent, fmt.Sprintf(
		"%d tokens were requested in a short time because the Secret, the API key or the spec keeps changing. Find the client that changes it. The operator requests one more token every %s",
		budgetBurst, v1alpha1.DurationOf(budgetRefill))}}
}

func secretContested(token *v1alpha1.ReactorToken, observed *observation) *obstacle {
	if observed.repairUntil.IsZero() {
		return nil
	}
	return &obstacle{kind: retryAtTime, until: observed.repairUntil, problem: problem{v1alpha1.ReasonSecretContested, fmt.Sprintf(
		"another client keeps changing what the operator owns in Secret %q. Find that client. The operator repairs the Secret every %s",
		token.TargetSecretName(), v1alpha1.DurationOf(repairRefill))}}
}

func mustAct(reason, format string, args ...any) *obstacle {
	return &obstacle{kind: userMustAct, problem: problem{reason, fmt.Sprintf(format, args...)}}
}
