package reactorsession

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

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

// queueNameLabel on a pod names its queue of Kueue, which adds a gate to the pod when it is created.
const queueNameLabel = "kueue.x-k8s.io/queue-name"

// expectsGates reports whether the pods of a template are created behind the operator's own gate.
func expectsGates(template *corev1.PodTemplateSpec) bool {
	return len(template.Spec.SchedulingGates) > 0 || template.Labels[queueNameLabel] != ""
}

// isGated reports whether a scheduling gate, the operator's own or another one, holds the pod back from the scheduler.
func isGated(pod *corev1.Pod) bool { return pod != nil && len(pod.Spec.SchedulingGates) > 0 }

// awaitsToken reports whether the operator's own gate holds the pod back: its program has no token, and its session need not hold a slot.
func awaitsToken(pod *corev1.Pod) bool {
	return pod != nil && slices.ContainsFunc(pod.Spec.SchedulingGates, isTokenGate)
}

func isTokenGate(gate corev1.PodSchedulingGate) bool { return gate.Name == TokenGate }

// otherGates are the names of the gates of a pod that are not the operator's.
func otherGates(pod *corev1.Pod) []string {
	var names []string
	for _, gate := range pod.Spec.SchedulingGates {
		if !isTokenGate(gate) {
			names = append(names, gate.Name)
		}
	}
	return names
}

// isQueued reports whether gates hold the pod of the current attempt back, or will when it exists.
func isQueued(session *v1alpha1.ReactorSession, seen *observation) bool {
	if seen.pod == nil {
		return expectsGates(&session.Spec.Template)
	}
	return awaitsToken(seen.pod)
}

// firstStep creates what the attempt needs first, when it has no pod.
func firstStep(session *v1alpha1.ReactorSession, seen *observation) *plan {
	if found := templateProblem(session, seen); found != nil {
		return found
	}
	if len(seen.podsOf(podForeign)) > 0 {
		return &plan{until: seen.now.Add(retryCap), show: stalledFor(v1alpha1.ReasonPodsConflict,
			"pod %q has the name of the next pod of this session, and is not its pod: delete it", seen.status.CurrentAttempt.PodName)}
	}
	if expectsGates(&session.Spec.Template) {
		return withoutToken(seen, doCreatePod)
	}
	return withCredential(session, seen, &plan{do: doCreatePod, slot: true, show: waitFor(v1alpha1.ReasonStarting, podStarts)})
}

// gated is what to do about a pod that scheduling gates hold back, or that lost its gates without a token; nil for any other pod. at is when
// the attempt is stopped, as known now.
func gated(session *v1alpha1.ReactorSession, seen *observation, at time.Time) *plan {
	pod := seen.pod
	switch {
	case !isGated(pod) && neverHadToken(session, seen):
		return &plan{do: doCreateToken, slot: true, show: podReadyCondition(pod), until: at}
	case !isGated(pod):
		return nil
	case !awaitsToken(pod):
		return &plan{show: waitFor(v1alpha1.ReasonSchedulingGated, "the pod waits until its scheduling gates are removed: %s", strings.Join(otherGates(pod), ", "))}
	case isOutdated(session, seen) || hasOtherKey(session, pod):
		return stopFor(outcome.StopSpecChanged)
	case intolerable(tokenChanges(session, seen)):
		return stopFor(outcome.ReasonTokenChanged)
	case len(otherGates(pod)) > 0:
		return withoutToken(seen, doNothing)
	}
	return withCredential(session, seen, &plan{do: doLiftGate, slot: true, show: waitFor(v1alpha1.ReasonStarting, podStarts)})
}

// neverHadToken reports whether another client has removed the operator's own gate, such as a user who removes all gates of a pod, or a policy
// that allows none. The kubelet then waits for the Secret of a token that nothing has requested.
func neverHadToken(session *v1alpha1.ReactorSession, seen *observation) bool {
	attempt, program := seen.status.CurrentAttempt, outcome.Program(seen.pod)
	waits := program == nil || program.State.Waiting != nil
	return waits && attempt.TokenName != "" && attempt.TokenIssuedTime == nil && seen.token == nil && !seen.taken && !isOutdated(session, seen)
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

// hasOtherKey reports whether the pod gets another API key, under APIKeyEnv, than the one of the spec. A webhook may have replaced the reference
// by something else, such as a path in a vault. That cannot be compared, and the next pod would get it, too.
func hasOtherKey(session *v1alpha1.ReactorSession, pod *corev1.Pod) bool {
	if session.Spec.UsesTokenFile() {
		return false
	}
	wanted := apiKeyVariable(session)
	for i := range pod.Spec.Containers {
		if container := &pod.Spec.Containers[i]; container.Name == pod.Annotations[outcome.ContainerAnnotation] {
			return slices.ContainsFunc(container.Env, func(has corev1.EnvVar) bool {
				return has.Name == wanted.Name && has.ValueFrom != nil && has.ValueFrom.SecretKeyRef != nil &&
					(has.ValueFrom.SecretKeyRef.Name != wanted.ValueFrom.SecretKeyRef.Name || has.ValueFrom.SecretKeyRef.Key != wanted.ValueFrom.SecretKeyRef.Key)
			})
		}
	}
	return false
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
	state, pending := stateOfToken(seen.token, seen.now.Add(seen.skew)), waitFor(v1alpha1.ReasonWaitingForToken, tokenOnItsWay)
	if isQueued(session, seen) {
		pending = waitFor(v1alpha1.ReasonSchedulingGated, behindGates)
	}
	switch {
	case !state.exists:
		if found := keyProblem(session, seen); found != nil {
			return found
		}
		return &plan{do: doCreateToken, slot: true, show: pending}
	case seen.token.DeletionTimestamp != nil:
		return &plan{show: pending}
	case state.isRequested():
		return awaitToken(seen, pending)
	case !state.ready:
		return &plan{show: &readyCondition{reason: v1alpha1.ReasonWaitingForToken, stalled: state.stalled,
			message: fmt.Sprintf("ReactorToken %q: %s: %s", seen.token.Name, state.reason, state.message)}}
	}
	// Without the skew, a clock that is ahead would take a token that was just issued for one that is too old, and have it deleted again and again.
	if !seen.skewKnown {
		return next
	}
	fresh := state.left - minLeft(state.granted, attemptNeeds(&session.Spec, &seen.status))
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
	needs := endsBy.Sub(seen.now) + graceOf(&session.Spec.Template)
	if program := outcome.Program(seen.pod); program == nil || program.State.Running == nil { // endsBy is when it must have started
		needs += remaining(&session.Spec, &seen.status)
	}
	return left >= needs
}
