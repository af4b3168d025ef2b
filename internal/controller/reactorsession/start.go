package reactorsession

import (
	"fmt"
	"strings"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// Before the program of an attempt can run, the session takes a slot of its API key, requests the attempt's token, and creates the pod, in
// this order. A token that is requested last does not become too old while the session waits for a slot.
//
// Scheduling gates change the order. Only the client that added a gate removes it, which may take hours in a queue such as Kueue's, and the
// scheduler binds the pod when the last gate is gone. So where gates are expected:
//
//  1. The operator creates the pod first, without slot and token, and with a gate of its own (TokenGate).
//  2. When no other gate is left, it takes the slot and requests the token.
//  3. When the token is ready, it removes its own gate.
//
// A webhook may add a gate to a pod for which none was expected. Slot and token came first then, and the pod has no gate of the operator's. Such a
// pod gives its slot back while the gate holds it, and its token is renewed. When the gate is removed, it takes a slot even above the limit,
// because nothing can stop the scheduler any more.

// isQueued reports whether gates hold the pod of the current attempt back, or will when it exists.
func isQueued(session *v1alpha1.ReactorSession, seen *observation) bool {
	if seen.pod == nil {
		return attempts.ExpectsGates(&session.Spec.Template)
	}
	return attempts.AwaitsToken(seen.pod)
}

// firstStep creates what the attempt needs first, when it has no pod.
func firstStep(session *v1alpha1.ReactorSession, seen *observation) *plan {
	if found := templateProblem(session, seen); found != nil {
		return found
	}
	if len(seen.podsOf(attempts.Foreign)) > 0 {
		return &plan{until: seen.now.Add(retryCap), show: stalledFor(v1alpha1.ReasonPodsConflict,
			"pod %q has the name of the next pod of this session, and is not its pod: delete it", seen.status.CurrentAttempt.PodName)}
	}
	if attempts.ExpectsGates(&session.Spec.Template) {
		return withoutToken(seen, doCreatePod)
	}
	return withCredential(session, seen, &plan{do: doCreatePod, slot: true, show: waitFor(v1alpha1.ReasonStarting, podStarts)})
}

// gated is what to do about a pod that scheduling gates hold back, or that lost its gates without a token; nil for any other pod. at is when
// the attempt is stopped, as known now.
func gated(session *v1alpha1.ReactorSession, seen *observation, at time.Time) *plan {
	pod := seen.pod
	switch {
	case !attempts.IsGated(pod) && neverHadToken(session, seen):
		return &plan{do: doCreateToken, slot: true, show: podReadyCondition(pod), until: at}
	case !attempts.IsGated(pod):
		return nil
	case !attempts.AwaitsToken(pod):
		return &plan{show: waitFor(v1alpha1.ReasonSchedulingGated, "the pod waits until its scheduling gates are removed: %s", strings.Join(attempts.OtherGates(pod), ", "))}
	case seen.isOutdated(session) || attempts.HasOtherKey(session, pod):
		return stopFor(outcome.StopSpecChanged)
	case attempts.Intolerable(seen.tokenChanges(session)):
		return stopFor(outcome.ReasonTokenChanged)
	case len(attempts.OtherGates(pod)) > 0:
		return withoutToken(seen, doNothing)
	}
	return withCredential(session, seen, &plan{do: doLiftGate, slot: true, show: waitFor(v1alpha1.ReasonStarting, podStarts)})
}

// neverHadToken reports whether another client has removed the operator's own gate, such as a user who removes all gates of a pod, or a policy
// that allows none. The kubelet then waits for the Secret of a token that nothing has requested.
func neverHadToken(session *v1alpha1.ReactorSession, seen *observation) bool {
	attempt, program := seen.status.CurrentAttempt, outcome.Program(seen.pod)
	waits := program == nil || program.State.Waiting != nil
	return waits && attempt.TokenName != "" && attempt.TokenIssuedTime == nil && seen.token == nil && !seen.taken && !seen.isOutdated(session)
}

// withoutToken is the next step of an attempt that waits in a queue. A token of it may exist: the template named no queue before, or the pod
// was taken away by force when it was admitted, and another one joins the queue.
func withoutToken(seen *observation, next action) *plan {
	wait := &plan{do: next, show: waitFor(v1alpha1.ReasonSchedulingGated, behindGates)}
	switch {
	case seen.token == nil:
	case seen.token.DeletionTimestamp == nil:
		wait.do = doDeleteToken
	default:
		wait.do = doNothing
	}
	return wait
}

// withCredential is the step that the credential of the attempt needs first, or the next one when the credential is ready.
func withCredential(session *v1alpha1.ReactorSession, seen *observation, next *plan) *plan {
	if !session.Spec.UsesTokenFile() {
		if found := keyProblem(session, seen); found != nil {
			return found
		}
		return next
	}
	if seen.taken {
		return &plan{until: seen.now.Add(retryCap), show: tokenTaken(seen.status.CurrentAttempt)}
	}
	state, pending := attempts.StateOfToken(seen.token, seen.now.Add(seen.skew)), waitFor(v1alpha1.ReasonWaitingForToken, attempts.TokenPending)
	if isQueued(session, seen) {
		pending = waitFor(v1alpha1.ReasonSchedulingGated, behindGates)
	}
	switch {
	case !state.Exists:
		if found := keyProblem(session, seen); found != nil {
			return found
		}
		return &plan{do: doCreateToken, slot: true, show: pending}
	case seen.token.DeletionTimestamp != nil:
		return &plan{show: pending}
	case state.IsRequested():
		return awaitToken(seen, pending)
	case !state.Ready:
		return &plan{show: &readyCondition{reason: v1alpha1.ReasonWaitingForToken, stalled: state.Stalled,
			message: fmt.Sprintf("ReactorToken %q: %s: %s", seen.token.Name, state.Reason, state.Message)}}
	}
	// Without the skew, a clock that is ahead would take a token that was just issued for one that is too old, and have it deleted again and again.
	if !seen.skewKnown {
		return next
	}
	fresh := state.Left - attempts.MinLeft(state.Granted, attempts.TokenNeeds(&session.Spec, &seen.status))
	if fresh < 0 {
		return &plan{do: doDeleteToken, show: waitFor(v1alpha1.ReasonWaitingForToken, "the token became too old while the session waited, and another one is requested")}
	}
	next.until = seen.now.Add(fresh) // for a session that has to wait for a slot
	return next
}

// awaitToken waits for a token that is being requested. The session holds its slot meanwhile, and not for longer than slotBound: the other
// sessions must not wait for a token that may never come.
func awaitToken(seen *observation, pending *readyCondition) *plan {
	bound := seen.slotSince.Add(slotBound)
	if seen.slotSince.IsZero() || !seen.now.Before(bound) {
		return &plan{show: pending}
	}
	return &plan{slot: true, show: pending, until: bound}
}

// lastsForAttempt reports whether a token that is not renewed any more lasts until the attempt must have ended. endsBy is when the attempt is
// stopped, as known now; zero when that is not known.
func lastsForAttempt(session *v1alpha1.ReactorSession, seen *observation, left time.Duration, endsBy time.Time) bool {
	if endsBy.IsZero() {
		return false
	}
	needs := endsBy.Sub(seen.now) + attempts.GracePeriod(&session.Spec.Template)
	if program := outcome.Program(seen.pod); program == nil || program.State.Running == nil { // endsBy is when it must have started
		needs += attempts.Remaining(&session.Spec, &seen.status)
	}
	return left >= needs
}
