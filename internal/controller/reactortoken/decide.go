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

// targetChecks stand before anything is written. The first obstacle found is the one that is told.
var targetChecks = []check{
	gone,             // its Secret went with it, and must not come back
	claimedByAnother, // an older ReactorToken writes this Secret
	beingDeleted,     // it will be gone in a moment, and is written anew then
	notOurs,          // somebody else's Secret is refused, unless it consents
	notUsable,        // an immutable or typed Secret cannot be written
}

// mintChecks stand before a new token is asked for.
var mintChecks = []check{
	suspended,  // the user wants no request to Reactor
	keyProblem, // there is nothing to exchange
	backingOff, // an attempt failed, and the time of the next one has not come
}

// repairChecks stand before the Secret is put right around the token that it has.
var repairChecks = []check{
	repairRefused,   // the API server refused this a moment ago
	secretContested, // somebody puts it wrong again each time
}

// decide says what to do. It is pure: the order of its checks is the order of the lists above, and a test pins it.
func decide(token *v1alpha1.ReactorToken, observed *observation) plan {
	if found := first(targetChecks, token, observed); found != nil {
		if observed.target.Unwatched && found.until.IsZero() { // nothing tells when it goes
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
		planned.obstacle = first([]check{suspended, keyProblem}, token, observed) // told before it hurts
		if planned.obstacle == nil {
			planned.obstacle = contested
		}
		return planned
	}
	planned.write, planned.obstacle = obtain(token, observed, planned.cause)
	return planned
}

// obtain says how a new token is to be had: the one that is held goes first, and costs no mint.
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

// spendsBudget reports whether a mint of this cause counts against the object's budget. A token that came to its end in its
// own time does not.
func (c cause) spendsBudget() bool { return c != causeDue && c != causeExpired }

// costsBudget reports whether an attempt is one that the budget pays for: once more what has failed has been paid for.
func costsBudget(token *v1alpha1.ReactorToken, observed *observation, why cause) bool {
	return why.spendsBudget() && observed.paidFor != identityOf(token, observed)
}

func first(checks []check, token *v1alpha1.ReactorToken, observed *observation) *obstacle {
	for _, look := range checks {
		if found := look(token, observed); found != nil {
			return found
		}
	}
	return nil
}

// causeOf says why a new token is wanted, if one is.
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

// causeOfLack says why there is no token: there has never been one, or it was taken away.
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

// leastUsefulLife is what a held token must still have to be worth a write.
const minUsefulLifetime = 10 * time.Second

// fits reports whether a token that was minted and not written yet is still the one that is wanted.
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
		"Secret %q belongs to ReactorToken %q, which came first: choose another spec.secret.name", token.TargetSecretName(), observed.claimedBy)
}

func beingDeleted(token *v1alpha1.ReactorToken, observed *observation) *obstacle {
	stale := observed.target.Exists && observed.target.Ownership == targetsecret.Stale
	if !observed.target.Terminating && !stale {
		return nil
	}
	return &obstacle{kind: retryAtTime, problem: problem{v1alpha1.ReasonSecretTerminating,
		fmt.Sprintf("Secret %q is being deleted; it is written anew as soon as it is gone", token.TargetSecretName())}}
}

func notOurs(token *v1alpha1.ReactorToken, observed *observation) *obstacle {
	if observed.target.Writable() {
		return nil
	}
	return mustAct(v1alpha1.ReasonSecretNotOwned,
		"Secret %q exists and is not this operator's: choose another spec.secret.name, delete the Secret, or allow it to be written with kubectl annotate secret %s %s=%s",
		token.TargetSecretName(), token.TargetSecretName(), v1alpha1.AllowAdoptionByAnnotation, token.Name)
}

func notUsable(token *v1alpha1.ReactorToken, observed *observation) *obstacle {
	if observed.target.Unusable == "" {
		return nil
	}
	return mustAct(v1alpha1.ReasonSecretUnusable, "Secret %q cannot be written: %s. Delete it, or choose another spec.secret.name",
		token.TargetSecretName(), observed.target.Unusable)
}

func suspended(token *v1alpha1.ReactorToken, _ *observation) *obstacle {
	if !token.Spec.Suspended() {
		return nil
	}
	return &obstacle{kind: retryAtTime, problem: problem{v1alpha1.ReasonSuspended,
		"spec.suspend is true: no token is requested until it is false"}}
}

func keyProblem(_ *v1alpha1.ReactorToken, observed *observation) *obstacle {
	if observed.key.Problem == nil {
		return nil
	}
	return &obstacle{kind: userMustAct, problem: problem{observed.key.Problem.Reason, observed.key.Problem.Message}}
}

// backingOff waits for the time in status. The waits that belong to the key (401, 429) are not its business: the key's gate
// keeps them, for all objects that use the key.
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

// longestStillToWait is how long the rest of a wait after a failure can be. A time that is further away was set by a clock
// that was fast: of this host, before it was corrected, or of the host of an earlier leader. It must not put the next attempt
// off past the expiry. Times are rounded up to whole seconds.
func maxRemainingWait(reason string, observed *observation) time.Duration {
	if reason == v1alpha1.ReasonSecretWriteRefused {
		return writeBackoffCap + time.Second
	}
	longest := mintBackoffCap
	if reason == v1alpha1.ReasonRequestRefused {
		longest = slowRefusalRetryInterval
	}
	current := observed.target.Current()
	if current == nil {
		return longest + time.Second
	}
	soonest := observed.clocks.until(current.ExpiresAt, current) / 2
	if reason == v1alpha1.ReasonRequestRefused {
		soonest = untilExpiring(observed.clocks, current)
	}
	if soonest > 0 {
		longest = min(longest, soonest)
	}
	return longest + time.Second
}

// repairRefused waits after a write that the API server refused. That Reactor gives no token is no reason not to put right what
// is around the one that is there.
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
		"%d tokens were requested in a short time because the Secret, the key or the spec keeps changing: find out who changes it. One more is requested every %s",
		budgetBurst, v1alpha1.DurationOf(budgetRefill))}}
}

func secretContested(token *v1alpha1.ReactorToken, observed *observation) *obstacle {
	if observed.repairUntil.IsZero() {
		return nil
	}
	return &obstacle{kind: retryAtTime, until: observed.repairUntil, problem: problem{v1alpha1.ReasonSecretContested, fmt.Sprintf(
		"something else keeps changing what the operator owns in Secret %q: find out who does. It is put right every %s",
		token.TargetSecretName(), v1alpha1.DurationOf(repairRefill))}}
}

func mustAct(reason, format string, args ...any) *obstacle {
	return &obstacle{kind: userMustAct, problem: problem{reason, fmt.Sprintf(format, args...)}}
}
