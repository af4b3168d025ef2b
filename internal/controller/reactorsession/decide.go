package reactorsession

import (
	"time"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// action is the one thing that a pass does.
type action string

const (
	doNothing         action = ""
	doRelease         action = "Release"       // pods whose outcome stands in status; delete tokens and pods that are of no use any more
	doBegin           action = "Begin"         // write the next attempt into status, before anything of it exists
	doCreateToken     action = "CreateToken"   // of the attempt, once there is capacity
	doDeleteToken     action = "DeleteToken"   // it became too old while the session waited
	doHoldToken       action = "HoldToken"     // no renewals while the attempt runs
	doCreatePod       action = "CreatePod"     // once there is capacity, or behind our own scheduling gate
	doLiftGate        action = "LiftGate"      // remove our own scheduling gate from the pod, once there is capacity
	doStop            action = "Stop"          // write into status why the attempt is stopped, before its pod is
	doLowerDeadline   action = "LowerDeadline" // of a pod, so that the kubelet ends it and its logs stay
	doDeletePod       action = "DeletePod"     // gracefully
	doEnd             action = "End"           // see to the Reactor session, and write the outcome into status
	doFinish          action = "Finish"        // the time of the session is used up between two attempts
	doDeleteObject    action = "DeleteObject"  // its time after the end is over
	doRemoveFinalizer action = "LetGo"         // take our finalizer off the session
)

// plan is what a pass is going to do.
type plan struct {
	do            action
	show          *readyCondition  // nil: the conditions stay as they are
	stop          string           // why the attempt is stopped
	end           *outcome.Outcome // how the attempt ended
	delete        string           // the pod to be deleted
	patchMetadata bool             // beside it, give the pod of the attempt what it should carry: see missingMetadata
	slot          bool             // it needs a slot, or the session keeps the one that it has
	until         time.Time        // when something changes by itself; zero: a watch wakes the next pass
}

// check looks for one thing to do or to wait for.
type check func(*v1alpha1.ReactorSession, *observation) *plan

// checks are asked in this order, and the first one that answers decides.
var checks = []check{
	severalPods,       // more than one lives, and nobody stops the session: touch nothing
	endedPods,         // what has ended and is written down is let go of
	strayPod,          // a pod that is not of the current attempt must not run
	attemptWithPod,    // the current attempt runs, or has ended
	strayPodEnds,      // a pod that is not of the current attempt has yet to end
	attemptWithoutPod, // it has yet to begin
	beingDeleted,      // nothing is left
	finished,          // complete or failed
	suspended,         // the user wants it not to run
	timeIsUp,          // nothing is left of spec.maxDuration
	keyProblem,        // there is no API key
	keyRefused,        // it is the key that the last attempt was refused with
	backingOff,        // the last attempt failed
	templateProblem,   // it could not be run
}

// decide says what to do. It is pure.
func decide(session *v1alpha1.ReactorSession, seen *observation) plan {
	for _, look := range checks {
		if found := look(session, seen); found != nil {
			found.patchMetadata = found.do != doRemoveFinalizer && attempts.MissingMetadata(session, seen.status.CurrentAttempt, seen.pod) != nil
			return *found
		}
	}
	if attempts.ExpectsGates(&session.Spec.Template) {
		return plan{do: doBegin, show: waitFor(v1alpha1.ReasonSchedulingGated, behindGates)}
	}
	return plan{do: doBegin, show: waitFor(v1alpha1.ReasonWaitingForToken, attempts.TokenPending)}
}

func severalPods(session *v1alpha1.ReactorSession, seen *observation) *plan {
	if session.DeletionTimestamp != nil || session.Spec.Suspended() { // all of them must end
		return nil
	}
	var alive []string
	for _, pod := range seen.ownPods() {
		if !outcome.HasEnded(pod) {
			alive = append(alive, pod.Name)
		}
	}
	if len(alive) < 2 {
		return nil
	}
	return &plan{show: stalledFor(v1alpha1.ReasonPodsConflict, "%d pods of this session live (%v), and there may be one: delete all but one of them", len(alive), alive)}
}

// strayPod ends a pod that lives and that status does not list: another client removed its attempt from status, a backup restored it, or a
// former leader was late by more than its lease.
func strayPod(_ *v1alpha1.ReactorSession, seen *observation) *plan {
	for _, pod := range seen.podsOf(attempts.Stray) {
		if pod.DeletionTimestamp == nil {
			return &plan{do: doDeletePod, delete: pod.Name, show: strayStops(pod)}
		}
	}
	return nil
}

// strayPodEnds waits for such a pod. It comes after what is done about the current attempt: a stray pod on a lost node must not keep the
// attempt's own pod running.
func strayPodEnds(session *v1alpha1.ReactorSession, seen *observation) *plan {
	strays := seen.podsOf(attempts.Stray)
	if len(strays) == 0 {
		return nil
	}
	bound := seen.sightings[strays[0].UID].EndsBy(session, strays[0])
	if !bound.IsZero() && !seen.now.Before(bound) {
		return &plan{do: doRemoveFinalizer}
	}
	return &plan{show: strayStops(strays[0]), until: bound}
}

func strayStops(pod *corev1.Pod) *readyCondition {
	return waitFor(v1alpha1.ReasonStopping, "pod %q is not of the current attempt, and is being deleted", pod.Name)
}

func attemptWithPod(session *v1alpha1.ReactorSession, seen *observation) *plan {
	attempt, pod := seen.status.CurrentAttempt, seen.pod
	if attempt == nil || pod == nil {
		return nil
	}
	if outcome.HasEnded(pod) {
		end := endOf(pod, attempt, seen)
		if changes := seen.tokenChanges(session); attempt.StopReason == outcome.ReasonTokenChanged && len(changes) > 0 {
			end.Message = outcome.SafeMessage(attempts.DescribeChanges(seen.token, changes, seen.managers))
		}
		return &plan{do: doEnd, end: &end, show: waitFor(v1alpha1.ReasonStopping, "The attempt ended. The operator is cleaning up its Reactor session.")}
	}
	if pod.DeletionTimestamp != nil {
		return terminating(session, seen)
	}
	if attempt.StopReason != "" {
		return stopping(session, seen)
	}
	reason, at := stopWanted(session, seen)
	if reason != "" {
		return stopFor(reason)
	}
	if found := gated(session, seen, at); found != nil {
		return found
	}
	do := doNothing
	token := attempts.StateOfToken(seen.token, seen.now.Add(seen.skew))
	if token.Exists && !token.Suspended && attempts.Outlives(token.Granted, attempts.TokenNeeds(&session.Spec, &seen.status)) && lastsForAttempt(session, seen, token.Left, at) {
		do = doHoldToken
	}
	return &plan{do: do, show: podReadyCondition(pod), until: at}
}

// endOf is how the attempt ended. It is read from the pod once: what happens to the pod during the cleanup does not change it.
func endOf(pod *corev1.Pod, attempt *v1alpha1.SessionAttempt, seen *observation) outcome.Outcome {
	if seen.ending != nil {
		return *seen.ending
	}
	return outcome.Of(pod, attempt, seen.now)
}

// stopFor writes into status why the attempt is stopped.
func stopFor(reason string) *plan {
	return &plan{do: doStop, stop: reason, show: waitFor(v1alpha1.ReasonStopping, "the pod is being stopped: %s", reason)}
}

// terminating waits for a pod that is to end. One whose node is lost does not, and is never deleted by force: its program may live.
func terminating(session *v1alpha1.ReactorSession, seen *observation) *plan {
	sighted := seen.sightings[seen.pod.UID]
	overdue, bound := sighted.OverdueAt(session, seen.pod), sighted.EndsBy(session, seen.pod)
	switch {
	case !bound.IsZero() && !seen.now.Before(bound):
		return &plan{do: doRemoveFinalizer}
	case seen.now.Before(overdue):
		return &plan{show: waitFor(v1alpha1.ReasonStopping, "the pod has its grace period to end"), until: overdue}
	}
	return &plan{until: bound, show: waitFor(v1alpha1.ReasonNodeUnreachable,
		"pod %q does not end: node %q may be lost. The next attempt waits until the node is back, is deleted, or is tainted node.kubernetes.io/out-of-service",
		seen.pod.Name, seen.pod.Spec.NodeName)}
}

// stopWanted says why the attempt must not go on; or, when it may, when that changes by itself.
func stopWanted(session *v1alpha1.ReactorSession, seen *observation) (reason string, at time.Time) {
	status, sighted := outcome.Program(seen.pod), seen.sightings[seen.pod.UID]
	switch {
	case status != nil && status.State.Terminated != nil:
		return stopOfRest(session, seen.pod), time.Time{}
	case session.DeletionTimestamp != nil:
		return outcome.StopDeleted, time.Time{}
	case session.Spec.Suspended():
		return outcome.StopSuspended, time.Time{}
	case status != nil && status.State.Running != nil:
		left := attempts.Remaining(&session.Spec, &seen.status)
		if left == 0 {
			return "", time.Time{}
		}
		reason, at = outcome.StopDuration, seen.now.Add(left-sighted.RanFor(status.State.Running.StartedAt.Time, seen.now))
	case attempts.IsGated(seen.pod):
		return "", time.Time{}
	default:
		reason, at = outcome.StopStartDeadline, sighted.WaitsSince(seen.pod, seen.gatedUntil).Add(session.Spec.EffectiveStartDeadline())
	}
	if seen.now.Before(at) {
		return "", at
	}
	return reason, time.Time{}
}

// stopOfRest says why a pod must not go on whose program has ended; nothing, when the kubelet is about to say that it has ended itself.
func stopOfRest(session *v1alpha1.ReactorSession, pod *corev1.Pod) string {
	if session.DeletionTimestamp != nil || session.Spec.Suspended() || outcome.HasOpenContainer(pod) {
		return outcome.StopContainerEnded
	}
	return ""
}

func attemptWithoutPod(session *v1alpha1.ReactorSession, seen *observation) *plan {
	attempt := seen.status.CurrentAttempt
	if attempt == nil || seen.pod != nil {
		return nil
	}
	end := outcome.Outcome{Class: v1alpha1.ClassStopped}
	switch {
	case isFinalizerRemoved(session) && attempt.PodUID != "": // its pod was let go of, and this has been told
		return &plan{}
	case seen.ending != nil: // a client removed the pod, past its finalizer, while the operator cleans up after it
		end = *seen.ending
	case attempt.PodUID != "":
		end = outcome.OfLostPod(attempt, seen.now)
	case session.DeletionTimestamp != nil:
		end.Reason = outcome.StopDeleted
	case session.Spec.Suspended():
		end.Reason = outcome.StopSuspended
	case seen.isOutdated(session):
		end.Reason = outcome.StopSpecChanged
	case attempts.Intolerable(seen.tokenChanges(session)):
		end = outcome.Outcome{Class: v1alpha1.ClassIgnored, Reason: outcome.ReasonTokenChanged}
		end.Message = outcome.SafeMessage(attempts.DescribeChanges(seen.token, seen.tokenChanges(session), seen.managers))
	default:
		return firstStep(session, seen)
	}
	return &plan{do: doEnd, end: &end, show: waitFor(v1alpha1.ReasonStopping, "the attempt is over")}
}

func beingDeleted(session *v1alpha1.ReactorSession, _ *observation) *plan {
	if session.DeletionTimestamp == nil {
		return nil
	}
	return &plan{do: removeFinalizerIfIdle(session)}
}

// isFinalizerRemoved reports whether only others still keep a session that is being deleted.
func isFinalizerRemoved(session *v1alpha1.ReactorSession) bool {
	return session.DeletionTimestamp != nil && !attempts.HasFinalizer(session, attempts.CleanupFinalizer)
}

func finished(session *v1alpha1.ReactorSession, seen *observation) *plan {
	if !isFinished(&seen.status) {
		return nil
	}
	if attempts.HasFinalizer(session, attempts.CleanupFinalizer) { // nothing is left that it would be needed for
		return &plan{do: doRemoveFinalizer}
	}
	at := expiry(&session.Spec, &seen.status)
	if at.IsZero() || seen.now.Before(at) {
		return &plan{show: finishedAs(&seen.status), until: at}
	}
	return &plan{do: doDeleteObject}
}

// isFinished reports whether no further attempt will be made.
func isFinished(status *v1alpha1.ReactorSessionStatus) bool {
	return meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionComplete) || meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionFailed)
}

func suspended(session *v1alpha1.ReactorSession, _ *observation) *plan {
	if !session.Spec.Suspended() {
		return nil
	}
	return &plan{do: removeFinalizerIfIdle(session), show: waitFor(v1alpha1.ReasonSuspended, "spec.suspend is true: nothing runs until it is false")}
}

// removeFinalizerIfIdle is for a session that has neither attempt nor pod: it can be deleted also without the operator.
func removeFinalizerIfIdle(session *v1alpha1.ReactorSession) action {
	if attempts.HasFinalizer(session, attempts.CleanupFinalizer) {
		return doRemoveFinalizer
	}
	return doNothing
}

func timeIsUp(session *v1alpha1.ReactorSession, seen *observation) *plan {
	if !attempts.DurationReached(&session.Spec, &seen.status) {
		return nil
	}
	return &plan{do: doFinish, show: durationDone(session)}
}

func keyProblem(_ *v1alpha1.ReactorSession, seen *observation) *plan {
	if seen.key.Problem == nil {
		return nil
	}
	return &plan{show: stalledFor(v1alpha1.ReasonWaitingForToken, "%s: %s", seen.key.Problem.Reason, seen.key.Problem.Message)}
}

func keyRefused(session *v1alpha1.ReactorSession, seen *observation) *plan {
	if len(seen.status.RecentAttempts) == 0 {
		return nil
	}
	last := seen.status.RecentAttempts[0]
	if last.Class != v1alpha1.ClassKeyRefused || last.KeyFingerprint != seen.key.Fingerprint {
		return nil
	}
	return &plan{show: stalledFor(v1alpha1.ReasonAPIKeyRefused,
		"Reactor refused the API key in Secret %q: put a valid key there, and the next attempt follows at once", session.Spec.APIKeySecretRef.Name)}
}

// backingOff waits until the time of the next attempt. A time that no backoff can reach was set by another clock, and the wait counts from when
// this process has read it. Without that, two leaders whose clocks differ would start attempts in turns, as fast as they end:
//
//  1. The old leader ends an attempt, and the next one is due in 5 minutes, which is in 95 minutes by the clock of the new one.
//  2. The new leader starts the next attempt. It ends, and the one after it is due in 5 minutes, which was 85 minutes ago by the clock of the old one.
//  3. The old leader starts that one immediately.
func backingOff(session *v1alpha1.ReactorSession, seen *observation) *plan {
	next := seen.status.NextAttemptTime
	if next == nil {
		return nil
	}
	until := next.Time
	if until.Sub(seen.now) > attempts.MaxBackoff(&seen.status) {
		until = seen.nextSince.Add(attempts.Backoff(max(seen.status.Failures, seen.status.IgnoredFailures), false))
	}
	if wait := until.Sub(seen.now); wait <= 0 || wait > attempts.MaxBackoff(&seen.status) {
		return nil
	}
	return &plan{do: removeFinalizerIfIdle(session), show: backsOff(&seen.status), until: until}
}

func templateProblem(session *v1alpha1.ReactorSession, _ *observation) *plan {
	if problem := attempts.CheckTemplate(&session.Spec); problem != "" {
		return &plan{show: stalledFor(v1alpha1.ReasonInvalidTemplate, "%s", problem)}
	}
	return nil
}

// expiry is when a session that has finished is to be deleted; zero for never.
func expiry(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) time.Time {
	if spec.TTLAfterFinished == "" || status.FinishedTime == nil {
		return time.Time{}
	}
	return status.FinishedTime.Add(spec.TTLAfterFinished.Std())
}
