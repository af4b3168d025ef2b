package reactorsession

import (
	"fmt"
	"strings"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// Before the program of an attempt can run, the session takes a slot of its API key, requests the attempt's token, and creates the pod, in
// this order. A token that is requested last does not become too old while the session waits for a slot.
//
// Scheduling gates change the order. Only the client that added a gate removes it, which may take hours in a queue such as Kueue's, and the
// scheduler binds the pod when the last gate is removed. So where gates are expected:
//
//  1. The operator creates the pod first, without slot and token, and with a gate of its own (attempts.TokenGate).
//  2. When no other gate is left, it takes the slot and requests the token.
//  3. When the token is ready, it removes its own gate.
//
// A webhook may add a gate to a pod for which none was expected. Slot and token came first then, and the pod has no gate of the operator's. Such a
// pod gives its slot back while the gate holds it, and its token is renewed. When the gate is removed, it takes a slot even above the limit,
// because nothing can stop the scheduler anymore.

// slotBound is how long a session has a slot while its token is requested.
const slotBound = 2 * time.Minute

// firstStep creates what the attempt needs first, when it has no pod.
func firstStep(session *v1alpha1.ReactorSession, observed *observation) *plan {
	if found := templateProblem(session, observed); found != nil {
		return found
	}
	if len(observed.podsOf(attempts.Foreign)) > 0 {
		return &plan{requeue: after(retryCap, "another pod may be gone"), ready: stalledFor(v1alpha1.ReasonPodsConflict,
			"pod %q has the name of the next pod of this session, and is not its pod. Delete it", observed.status.CurrentAttempt.PodName)}
	}
	if attempts.ExpectsGates(&session.Spec.Template) {
		return withoutToken(observed, doCreatePod)
	}
	return withCredential(session, observed, &plan{do: doCreatePod, slot: true, ready: waitFor(v1alpha1.ReasonStarting, podStarts)})
}

// gated is what to do about a pod that scheduling gates hold back, or that lost its gates without a token; nil for any other pod. stopAt is when
// the attempt is stopped, as known now.
func gated(session *v1alpha1.ReactorSession, observed *observation, stopAt time.Time) *plan {
	pod := observed.pod
	switch {
	case !attempts.IsGated(pod) && neverHadToken(session, observed):
		return &plan{do: doCreateToken, slot: true, ready: podReadyCondition(pod), requeue: at(observed.now, stopAt, "the attempt reaches a time limit")}
	case !attempts.IsGated(pod):
		return nil
	case !attempts.AwaitsToken(pod):
		return &plan{ready: waitFor(v1alpha1.ReasonSchedulingGated, "the pod waits until its scheduling gates are removed: %s", strings.Join(attempts.OtherGates(pod), ", "))}
	case observed.isOutdated(session) || attempts.HasOtherKey(session, pod):
		return stopFor(outcome.StopSpecChanged)
	case attempts.Intolerable(observed.tokenChanges(session)):
		return stopFor(outcome.ReasonTokenChanged)
	case len(attempts.OtherGates(pod)) > 0:
		return withoutToken(observed, doNothing)
	}
	return withCredential(session, observed, &plan{do: doRemoveGate, slot: true, ready: waitFor(v1alpha1.ReasonStarting, podStarts)})
}

// neverHadToken reports whether another client has removed the operator's own gate, such as a user who removes all gates of a pod, or a policy
// that allows none. The kubelet then waits for the Secret of a token that nothing has requested.
func neverHadToken(session *v1alpha1.ReactorSession, observed *observation) bool {
	attempt, program := observed.status.CurrentAttempt, outcome.Program(observed.pod)
	waits := program == nil || program.State.Waiting != nil
	return waits && attempt.TokenName != "" && attempt.TokenIssuedTime == nil && observed.token == nil && !observed.taken && !observed.isOutdated(session)
}

// withoutToken is the next step of an attempt that waits in a queue. A token of it may exist: the template named no queue before, or the pod
// was deleted by force when it was admitted, and another one joins the queue.
func withoutToken(observed *observation, next action) *plan {
	wait := &plan{do: next, ready: waitFor(v1alpha1.ReasonSchedulingGated, behindGates)}
	switch {
	case observed.token == nil:
	case observed.token.DeletionTimestamp == nil:
		wait.do = doDeleteToken
	default:
		wait.do = doNothing
	}
	return wait
}

// withCredential is the step that the credential of the attempt needs first, or the next one when the credential is ready.
func withCredential(session *v1alpha1.ReactorSession, observed *observation, next *plan) *plan {
	if !session.Spec.UsesTokenFile() {
		if found := keyProblem(session, observed); found != nil {
			return found
		}
		return next
	}
	if observed.taken {
		return &plan{requeue: after(retryCap, "another ReactorToken may be gone"), ready: tokenTaken(observed.status.CurrentAttempt)}
	}
	token, pending := attempts.StateOfToken(observed.token, observed.now.Add(observed.skew)), waitFor(v1alpha1.ReasonWaitingForToken, attempts.TokenPending)
	if observed.isQueued(session) {
		pending = waitFor(v1alpha1.ReasonSchedulingGated, behindGates)
	}
	switch {
	case !token.Exists:
		if found := keyProblem(session, observed); found != nil {
			return found
		}
		return &plan{do: doCreateToken, slot: true, ready: pending}
	case observed.token.DeletionTimestamp != nil:
		return &plan{ready: pending}
	case token.IsRequested():
		return awaitToken(observed, pending)
	case !token.Ready:
		return &plan{ready: &readyCondition{reason: v1alpha1.ReasonWaitingForToken, stalled: token.Stalled,
			message: fmt.Sprintf("ReactorToken %q: %s: %s", observed.token.Name, token.Reason, token.Message)}}
	}
	// Without the skew, a clock that is ahead would take a token that was just issued for one that is too old, and have it deleted again and again.
	if !observed.skewKnown {
		return next
	}
	fresh := token.Left - attempts.MinLeft(token.Granted, attempts.TokenNeeds(&session.Spec, &observed.status))
	if fresh < 0 {
		return &plan{do: doDeleteToken, ready: waitFor(v1alpha1.ReasonWaitingForToken, "the token became too old while the session waited, and another one is requested")}
	}
	next.requeue = after(max(fresh, minWait), "the token becomes too old") // for a session that has to wait for a slot
	return next
}

// awaitToken waits for a token that is being requested. The session keeps its slot meanwhile, and not for longer than slotBound: the other
// sessions must not wait for a token that may never be ready.
func awaitToken(observed *observation, pending *readyCondition) *plan {
	bound := observed.slotSince.Add(slotBound)
	if observed.slotSince.IsZero() || !observed.now.Before(bound) {
		return &plan{ready: pending}
	}
	return &plan{slot: true, ready: pending, requeue: at(observed.now, bound, "the session gives its slot back")}
}

// lastsForAttempt reports whether a token that is not renewed anymore is valid until the attempt must have ended. stopAt is when the attempt is
// stopped, as known now; zero if that is not known.
func lastsForAttempt(session *v1alpha1.ReactorSession, observed *observation, left time.Duration, stopAt time.Time) bool {
	if stopAt.IsZero() {
		return false
	}
	needs := stopAt.Sub(observed.now) + attempts.GracePeriod(&session.Spec.Template)
	if program := outcome.Program(observed.pod); program == nil || program.State.Running == nil { // stopAt is when it must have started
		needs += attempts.Remaining(&session.Spec, &observed.status)
	}
	return left >= needs
}
