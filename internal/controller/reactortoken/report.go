package reactortoken

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
)

// buildReport derives status and events from what was observed, planned and done. It is pure.
func buildReport(token *v1alpha1.ReactorToken, observed *observation, planned plan, result actResult) statusReport {
	v := newStatusInput(observed, planned, result)
	status := observed.status.DeepCopy()
	status.ObservedGeneration = token.Generation
	setToken(status, token, observed, &v)
	setFailure(status, token, observed, &v)
	setConditions(status, token, &v)
	if result.delivered && v.current != nil {
		status.DeliveredTokenID = v.current.TokenID
	}
	return statusReport{now: v.clocks.now, status: *status, events: eventsOf(token, observed, &v, status), requeue: v.requeue(status)}
}

// setToken sets the fields that describe the token in the Secret.
func setToken(status *v1alpha1.ReactorTokenStatus, token *v1alpha1.ReactorToken, observed *observation, v *statusInput) {
	if v.current == nil {
		status.SecretName, status.SecretResourceVersion = "", ""
		status.IssuedTime, status.ExpirationTime, status.RenewalTime = nil, nil, nil
		status.RequestedLifetime, status.GrantedLifetime = "", ""
		return
	}
	terms := grantOf(&token.Spec, v.current)
	status.SecretName = token.TargetSecretName()
	switch {
	case v.result.version != "":
		status.SecretResourceVersion = v.result.version
	case observed.target.IsUpToDate():
		status.SecretResourceVersion = observed.target.ResourceVersion
	default: // after a restart, a version that was checked for an earlier spec does not count for this one
		status.SecretResourceVersion = ""
	}
	status.IssuedTime = timestamp(v.current.IssuedAt)
	status.ExpirationTime = timestamp(v.current.ExpiresAt)
	status.RenewalTime = timestamp(renewalTime(&token.Spec, token.UID, v.current))
	status.RequestedLifetime = v1alpha1.DurationOf(terms.requested)
	status.GrantedLifetime = v1alpha1.DurationOf(terms.granted)
	if v.current.RenewRequest != "" {
		status.LastHandledRenewRequest = v.current.RenewRequest
	}
}

// setFailure sets what a wait after a failure needs: how often, until when, and what was attempted.
func setFailure(status *v1alpha1.ReactorTokenStatus, token *v1alpha1.ReactorToken, observed *observation, v *statusInput) {
	switch {
	case v.obstacle == nil && v.planned.cause != causeNone && !v.result.issued:
		// neither a success nor a failed attempt: the reconcile is repeated
	case v.obstacle == nil:
		status.ConsecutiveFailures, status.NextAttemptTime, status.LastFailure = 0, nil, nil
	case v.result.failed != nil:
		status.ConsecutiveFailures = failuresWith(token, observed)
		status.NextAttemptTime = timestamp(v.obstacle.until)
		status.LastFailure = attemptOf(token, observed, v.obstacle)
	case v.result.waiting != nil && isOfKey(v.obstacle.reason): // only the object that tries the key again has a time for that
		status.NextAttemptTime = timestamp(v.obstacle.until)
		status.LastFailure = attemptOf(token, observed, v.obstacle)
	case v.obstacle.kind == retryAtTime && !v.obstacle.until.IsZero(): // a budget is spent
		status.NextAttemptTime = timestamp(v.obstacle.until)
	case v.result.waiting != nil, v.obstacle.reason == v1alpha1.ReasonPending:
		// queued: what is known of the last failure stays
	case status.LastFailure == nil || status.LastFailure.Reason != v.obstacle.reason:
		status.ConsecutiveFailures, status.NextAttemptTime, status.LastFailure = 0, nil, nil
	}
}

func attemptOf(token *v1alpha1.ReactorToken, observed *observation, found *obstacle) *v1alpha1.FailedAttempt {
	first := timestamp(observed.clocks.now)
	if before := observed.status.LastFailure; lastFailureCounts(token, observed) && before.Reason == found.reason && before.FirstTime != nil {
		first = before.FirstTime
	}
	return &v1alpha1.FailedAttempt{
		FirstTime: first, Reason: found.reason, Message: notice.Bounded(found.message, maxFailureMessage),
		RequestHash: requestHash(&token.Spec), KeyFingerprint: observed.key.Fingerprint,
		APIURL: observed.apiURL, RenewRequest: renewRequestOf(token),
	}
}

// setConditions writes Ready, Renewed, LifetimeClamped and Stalled.
func setConditions(status *v1alpha1.ReactorTokenStatus, token *v1alpha1.ReactorToken, v *statusInput) {
	set := conditionSetter(status, token.Generation, v.clocks.now)
	ready, reason, message := readiness(token, v)
	set(v1alpha1.ConditionReady, ready, reason, message)
	if state, reason, message := renewal(status, v); reason != "" {
		set(v1alpha1.ConditionRenewed, state, reason, message)
	} else if as := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRenewed); as != nil {
		as.ObservedGeneration = token.Generation
	}
	if v.current != nil {
		clamped, reason, message := clamping(grantOf(&token.Spec, v.current))
		set(v1alpha1.ConditionLifetimeClamped, clamped, reason, message)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionLifetimeClamped)
	}
	if !v.valid && v.obstacle != nil && v.obstacle.kind == userMustAct {
		set(v1alpha1.ConditionStalled, metav1.ConditionTrue, v.obstacle.reason, v.obstacle.message)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionStalled)
	}
}

// readiness is True while there is a valid token in the Secret, whether its renewal succeeds or not.
func readiness(token *v1alpha1.ReactorToken, v *statusInput) (metav1.ConditionStatus, string, string) {
	switch {
	case v.valid:
		return metav1.ConditionTrue, v1alpha1.ReasonTokenValid, fmt.Sprintf("Secret %q holds a token that is valid until %s",
			token.TargetSecretName(), v.current.ExpiresAt.Format(time.RFC3339))
	case v.current != nil && v.obstacle != nil:
		return metav1.ConditionFalse, v1alpha1.ReasonTokenExpired, fmt.Sprintf("the token expired at %s, and the operator could not obtain a new one: %s: %s",
			v.current.ExpiresAt.Format(time.RFC3339), v.obstacle.reason, v.obstacle.message)
	case v.current != nil:
		return metav1.ConditionFalse, v1alpha1.ReasonTokenExpired, "the token expired at " + v.current.ExpiresAt.Format(time.RFC3339)
	case v.obstacle != nil:
		return metav1.ConditionFalse, v.obstacle.reason, v.obstacle.message
	default:
		return metav1.ConditionFalse, v1alpha1.ReasonPending, "the operator is requesting a token"
	}
}

// renewal returns how the last attempt to obtain a token ended. While the renewal of a valid token is queued, nothing was attempted, and the condition
// stays as it is: no reason is returned. It also stays while another client contests the Secret: each repair would end it, and the next change would
// start it again.
func renewal(status *v1alpha1.ReactorTokenStatus, v *statusInput) (metav1.ConditionStatus, string, string) {
	switch {
	case v.obstacle == nil && v.valid && !v.result.issued && !v.contestEndsAt.IsZero():
		return "", "", ""
	case v.obstacle == nil && v.valid && (v.planned.cause == causeNone || v.result.issued):
		return metav1.ConditionTrue, v1alpha1.ReasonIssued, "the token was issued at " + v.current.IssuedAt.Format(time.RFC3339)
	case v.obstacle == nil || v.obstacle.reason == v1alpha1.ReasonQueued || v.obstacle.reason == v1alpha1.ReasonPending:
		if meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRenewed) != nil {
			return "", "", ""
		}
		return metav1.ConditionUnknown, v1alpha1.ReasonPending, "the operator is requesting the first token"
	default:
		return metav1.ConditionFalse, v.obstacle.reason, v.obstacle.message
	}
}

// clamping compares the granted lifetime with the requested one.
func clamping(terms grant) (metav1.ConditionStatus, string, string) {
	asked, got := v1alpha1.DurationOf(terms.requested), v1alpha1.DurationOf(terms.granted)
	switch {
	case terms.renewBeforeIgnored:
		return metav1.ConditionTrue, v1alpha1.ReasonRenewBeforeIgnored, fmt.Sprintf(
			"Reactor granted a lifetime of %[2]s instead of the requested %[1]s. spec.renewBefore does not fit into it, so the operator uses the default of %[3]s",
			asked, got, v1alpha1.DurationOf(terms.renewBefore))
	case terms.clamped:
		return metav1.ConditionTrue, v1alpha1.ReasonShortened, fmt.Sprintf("Reactor granted a lifetime of %[2]s instead of the requested %[1]s", asked, got)
	default:
		return metav1.ConditionFalse, v1alpha1.ReasonAsRequested, fmt.Sprintf("Reactor granted the requested lifetime of %s", asked)
	}
}

// maxWaitForRequeue is the maximum time until an object that another reconcile should requeue is reconciled by itself.
const maxWaitForRequeue = mintqueue.ProbeTimeout

// requeue returns what changes by itself: the token is due for renewal, or expires, or the next attempt is due; or an object that waits becomes more
// urgent. Everything else has a watch.
func (v *statusInput) requeue(status *v1alpha1.ReactorTokenStatus) []requeue.Entry {
	var entries []requeue.Entry
	if wait := v.expiryWait(); wait > 0 {
		entries = append(entries, requeue.Entry{After: wait, Reason: "the token expires"})
	}
	switch {
	case v.obstacle == nil && v.valid:
		entries = append(entries, requeue.Entry{After: v.clocks.until(status.RenewalTime.Time, v.current), Reason: "the renewal is due"})
		if !v.contestEndsAt.IsZero() {
			entries = append(entries, requeue.Entry{After: v.contestEndsAt.Sub(v.clocks.now), Reason: "the Secret is no longer contested"})
		}
	case v.obstacle != nil && !v.obstacle.until.IsZero():
		entries = append(entries, requeue.Entry{After: v.obstacle.until.Sub(v.clocks.now), Reason: v.obstacle.reason})
	case v.result.waiting != nil:
		entries = append(entries, v.requeueWaiting()...)
	}
	return entries
}

// requeueWaiting returns when an object that waits for another one is reconciled even if it is not requeued. An object that waits for its key, or to
// retry what Reactor refused, may wait for hours.
func (v *statusInput) requeueWaiting() []requeue.Entry {
	wait := maxWaitForRequeue
	if v.result.waiting.kind == userMustAct || isOfKey(v.result.waiting.reason) {
		wait = maxWait
	}
	entries := []requeue.Entry{{After: wait, Reason: v.result.waiting.reason}}
	// An object whose token is about to expire is more urgent: it moves up in the queue, and tries its key itself when the object that has the duty
	// to do so is queued.
	if v.valid && untilExpiring(v.clocks, v.current) > 0 {
		entries = append(entries, requeue.Entry{After: untilExpiring(v.clocks, v.current), Reason: "the token is about to expire"})
	}
	return entries
}

// expiryWait is how long until the token expires. One that has expired by one of the clocks alone is checked again, because the
// clock may be corrected. 0: there is nothing to wait for.
func (v *statusInput) expiryWait() time.Duration {
	switch {
	case v.valid:
		return v.clocks.until(v.current.ExpiresAt, v.current)
	case v.current != nil && v.clocks.passedByOneReading(v.current.ExpiresAt, v.current):
		return maxWait
	default:
		return 0
	}
}
