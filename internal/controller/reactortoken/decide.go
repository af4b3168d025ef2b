package reactortoken

import (
	"fmt"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
	"github.com/reactor-operator/reactor-operator/internal/rollout"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// observation is all that a decision is made from.
type observation struct {
	clocks      clocks
	status      v1alpha1.ReactorTokenStatus // the newest: what was written last
	gone        bool                        // the ReactorToken itself was deleted, and the cache does not show that yet
	target      targetsecret.State
	key         apikey.Key
	claimedBy   string        // the name of the ReactorToken that has the better right to the target Secret
	checked     checkedSecret // the version of the target Secret that does not have to be read live again
	held        *heldToken    // minted and not written yet
	received    received      // when this process received the token that it wrote last
	progress    rollout.Progress
	apiURL      string                       // where Reactor is called
	budgetUntil time.Time                    // when the mint budget allows another mint that is not a renewal; zero: now
	paid        targetsecret.RequestIdentity // what the mint budget has paid for, and failed since
	repairUntil time.Time                    // when the repair budget allows another repair; zero: now
	calmAt      time.Time                    // when a fight over the Secret counts as over; zero: it is, or there was none
	leftovers   []leftoverSecret
}

// cause says why a new token is wanted.
type cause string

// The causes, in the order in which they are looked for: the first one found is the one that is told.
const (
	causeNone           cause = ""
	causeNew            cause = "first token"
	causeDeleted        cause = "Secret deleted"
	causeEdited         cause = "Secret edited"
	causeExpired        cause = "token expired"
	causeKeyChanged     cause = "API key changed"
	causeRequestChanged cause = "spec changed"
	causeRequested      cause = "renewal requested"
	causeDue            cause = "renewal due"
)

// write is what a plan does to the target Secret.
type write int

const (
	writeNothing write = iota
	writeHeld          // the token that was minted earlier and could not be written
	writeMint          // a new token
)

// plan is what a pass is going to do.
type plan struct {
	cause    cause
	write    write
	repair   bool      // put right what is around the token that is there, unless a new one takes its place in this pass
	obstacle *obstacle // why what is wanted cannot be done
	requeue  []requeue.Entry
}

// kind is how a failure goes on. There are three, and every failure is one of them.
type kind int

const (
	kindUserMustAct kind = iota // retried slowly, and as soon as a watch reports a change
	kindLater                   // until a known instant
	kindAgain                   // backoff
)

// problem is something that went wrong, as a condition will show it.
type problem struct {
	reason, message string
}

// obstacle is why what is wanted is not done, as a condition shows it.
type obstacle struct {
	problem
	kind  kind
	until time.Time // by the operator's clock; zero: no instant is known, a watch wakes the pass
}

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
func decide(token *v1alpha1.ReactorToken, seen *observation) plan {
	if found := first(targetChecks, token, seen); found != nil {
		if seen.target.Unwatched && found.until.IsZero() { // nothing tells when it goes
			found.until = seen.clocks.now.Add(longestWait)
		}
		return plan{obstacle: found}
	}
	planned := plan{cause: causeOf(token, seen)}
	var contested *obstacle
	if seen.target.Current() != nil && seen.target.Drifted {
		if contested = first(repairChecks, token, seen); contested != nil {
			planned.requeue = append(planned.requeue, requeue.Entry{After: contested.until.Sub(seen.clocks.now), Reason: "the Secret may be repaired again"})
		}
		planned.repair = contested == nil
	}
	if planned.cause == causeNone {
		planned.obstacle = first([]check{suspended, keyProblem}, token, seen) // told before it hurts
		if planned.obstacle == nil {
			planned.obstacle = contested
		}
		return planned
	}
	planned.write, planned.obstacle = obtain(token, seen, planned.cause)
	return planned
}

// obtain says how a new token is to be had: the one that is held goes first, and costs no mint.
func obtain(token *v1alpha1.ReactorToken, seen *observation, why cause) (write, *obstacle) {
	if fits(seen.held, token, seen) {
		if found := first([]check{suspended, repairRefused}, token, seen); found != nil {
			return writeNothing, found
		}
		return writeHeld, nil
	}
	found := first(mintChecks, token, seen)
	if found == nil && costsBudget(token, seen, why) {
		found = budgetSpent(token, seen)
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
func costsBudget(token *v1alpha1.ReactorToken, seen *observation, why cause) bool {
	return why.spendsBudget() && seen.paid != demandOf(token, seen)
}

func first(checks []check, token *v1alpha1.ReactorToken, seen *observation) *obstacle {
	for _, look := range checks {
		if found := look(token, seen); found != nil {
			return found
		}
	}
	return nil
}

// causeOf says why a new token is wanted, if one is.
func causeOf(token *v1alpha1.ReactorToken, seen *observation) cause {
	held := seen.target.Record
	switch {
	case !seen.target.Exists || held == nil:
		return causeOfLack(seen)
	case seen.target.Edited:
		return causeEdited
	case seen.clocks.until(held.ExpiresAt, held) <= 0:
		return causeExpired
	case seen.key.Fingerprint != "" && seen.key.Fingerprint != held.KeyFingerprint:
		return causeKeyChanged
	case requestHash(&token.Spec) != held.RequestHash:
		return causeRequestChanged
	case renewRequestOf(token) != "" && renewRequestOf(token) != held.RenewRequest:
		return causeRequested
	case seen.clocks.until(renewalTime(&token.Spec, token.UID, held), held) <= 0:
		return causeDue
	default:
		return causeNone
	}
}

// causeOfLack says why there is no token: there has never been one, or it was taken away.
func causeOfLack(seen *observation) cause {
	switch {
	case !hadToken(&seen.status):
		return causeNew
	case !seen.target.Exists:
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
const leastUsefulLife = 10 * time.Second

// fits reports whether a token that was minted and not written yet is still the one that is wanted.
func fits(held *heldToken, token *v1alpha1.ReactorToken, seen *observation) bool {
	if held == nil || held.demand.RequestHash != requestHash(&token.Spec) || held.demand.RenewRequest != renewRequestOf(token) {
		return false
	}
	if seen.key.Fingerprint != "" && held.demand.KeyFingerprint != seen.key.Fingerprint {
		return false
	}
	return held.token.Left(seen.clocks.now) > leastUsefulLife
}

func gone(_ *v1alpha1.ReactorToken, seen *observation) *obstacle {
	if !seen.gone {
		return nil
	}
	return &obstacle{kind: kindLater, problem: problem{v1alpha1.ReasonPending, "this ReactorToken is being deleted"}}
}

func claimedByAnother(token *v1alpha1.ReactorToken, seen *observation) *obstacle {
	if seen.claimedBy == "" {
		return nil
	}
	return mustAct(v1alpha1.ReasonSecretClaimed,
		"Secret %q belongs to ReactorToken %q, which came first: choose another spec.secret.name", token.TargetSecretName(), seen.claimedBy)
}

func beingDeleted(token *v1alpha1.ReactorToken, seen *observation) *obstacle {
	stale := seen.target.Exists && seen.target.Ownership == targetsecret.Stale
	if !seen.target.Terminating && !stale {
		return nil
	}
	return &obstacle{kind: kindLater, problem: problem{v1alpha1.ReasonSecretTerminating,
		fmt.Sprintf("Secret %q is being deleted; it is written anew as soon as it is gone", token.TargetSecretName())}}
}

func notOurs(token *v1alpha1.ReactorToken, seen *observation) *obstacle {
	if seen.target.Writable() {
		return nil
	}
	return mustAct(v1alpha1.ReasonSecretNotOwned,
		"Secret %q exists and is not this operator's: choose another spec.secret.name, delete the Secret, or allow it to be written with kubectl annotate secret %s %s=%s",
		token.TargetSecretName(), token.TargetSecretName(), v1alpha1.AllowAdoptionByAnnotation, token.Name)
}

func notUsable(token *v1alpha1.ReactorToken, seen *observation) *obstacle {
	if seen.target.Unusable == "" {
		return nil
	}
	return mustAct(v1alpha1.ReasonSecretUnusable, "Secret %q cannot be written: %s. Delete it, or choose another spec.secret.name",
		token.TargetSecretName(), seen.target.Unusable)
}

func suspended(token *v1alpha1.ReactorToken, _ *observation) *obstacle {
	if !token.Spec.Suspended() {
		return nil
	}
	return &obstacle{kind: kindLater, problem: problem{v1alpha1.ReasonSuspended,
		"spec.suspend is true: no token is requested until it is false"}}
}

func keyProblem(_ *v1alpha1.ReactorToken, seen *observation) *obstacle {
	if seen.key.Problem == nil {
		return nil
	}
	return &obstacle{kind: kindUserMustAct, problem: problem{seen.key.Problem.Reason, seen.key.Problem.Message}}
}

// lastFailureCounts reports whether the attempt that failed last was just what would be attempted now. A changed key, a
// changed request, another API URL or a new request to renew ends every wait: people who mended something must not wait out
// an old backoff.
func lastFailureCounts(token *v1alpha1.ReactorToken, seen *observation) bool {
	failed := seen.status.LastFailure
	if failed == nil || failed.APIURL != seen.apiURL {
		return false
	}
	attempted := targetsecret.RequestIdentity{RequestHash: failed.RequestHash, KeyFingerprint: failed.KeyFingerprint, RenewRequest: failed.RenewRequest}
	return attempted == demandOf(token, seen)
}

// failuresWith is how many attempts in a row have failed, together with the one that has just failed. What failed with another
// key or for another request is not counted.
func failuresWith(token *v1alpha1.ReactorToken, seen *observation) int32 {
	if !lastFailureCounts(token, seen) {
		return 1
	}
	return seen.status.ConsecutiveFailures + 1
}

// refusedBefore reports whether Reactor refused just this request, with this key, the last time.
func refusedBefore(token *v1alpha1.ReactorToken, seen *observation) bool {
	return lastFailureCounts(token, seen) && seen.status.LastFailure.Reason == v1alpha1.ReasonRequestRefused
}

// backingOff waits for the time in status. The waits that belong to the key (401, 429) are not its business: the key's gate
// keeps them, for all objects that use the key.
func backingOff(token *v1alpha1.ReactorToken, seen *observation) *obstacle {
	next := seen.status.NextAttemptTime
	if !lastFailureCounts(token, seen) || next == nil || isOfKey(seen.status.LastFailure.Reason) {
		return nil
	}
	reason := seen.status.LastFailure.Reason
	if wait := next.Sub(seen.clocks.now); wait <= 0 || wait > longestStillToWait(reason, seen) {
		return nil
	}
	found := &obstacle{kind: kindAgain, until: next.Time, problem: problem{reason, seen.status.LastFailure.Message}}
	if reason == v1alpha1.ReasonRequestRefused {
		found.kind = kindUserMustAct
	}
	return found
}

// longestStillToWait is how long the rest of a wait after a failure can be. A time that is further away was set by a clock
// that was fast: of this host, before it was corrected, or of the host of an earlier leader. It must not put the next attempt
// off past the expiry. Times are rounded up to whole seconds.
func longestStillToWait(reason string, seen *observation) time.Duration {
	if reason == v1alpha1.ReasonSecretWriteRefused {
		return writeBackoffCap + time.Second
	}
	longest := mintBackoffCap
	if reason == v1alpha1.ReasonRequestRefused {
		longest = slowRefusalRetryInterval
	}
	held := seen.target.Current()
	if held == nil {
		return longest + time.Second
	}
	soonest := seen.clocks.until(held.ExpiresAt, held) / 2
	if reason == v1alpha1.ReasonRequestRefused {
		soonest = untilExpiring(seen.clocks, held)
	}
	if soonest > 0 {
		longest = min(longest, soonest)
	}
	return longest + time.Second
}

// repairRefused waits after a write that the API server refused. That Reactor gives no token is no reason not to put right what
// is around the one that is there.
func repairRefused(token *v1alpha1.ReactorToken, seen *observation) *obstacle {
	if failed := seen.status.LastFailure; failed == nil || failed.Reason != v1alpha1.ReasonSecretWriteRefused {
		return nil
	}
	return backingOff(token, seen)
}

func budgetSpent(_ *v1alpha1.ReactorToken, seen *observation) *obstacle {
	if seen.budgetUntil.IsZero() {
		return nil
	}
	return &obstacle{kind: kindLater, until: seen.budgetUntil, problem: problem{v1alpha1.ReasonMintBudgetSpent, fmt.Sprintf(
		"%d tokens were requested in a short time because the Secret, the key or the spec keeps changing: find out who changes it. One more is requested every %s",
		budgetBurst, v1alpha1.DurationOf(budgetRefill))}}
}

func secretContested(token *v1alpha1.ReactorToken, seen *observation) *obstacle {
	if seen.repairUntil.IsZero() {
		return nil
	}
	return &obstacle{kind: kindLater, until: seen.repairUntil, problem: problem{v1alpha1.ReasonSecretContested, fmt.Sprintf(
		"something else keeps changing what the operator owns in Secret %q: find out who does. It is put right every %s",
		token.TargetSecretName(), v1alpha1.DurationOf(repairRefill))}}
}

func mustAct(reason, format string, args ...any) *obstacle {
	return &obstacle{kind: kindUserMustAct, problem: problem{reason, fmt.Sprintf(format, args...)}}
}
