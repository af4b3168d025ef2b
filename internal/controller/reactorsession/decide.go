package reactorsession

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
)

// action is the one thing that a reconcile does.
type action string

const (
	doNothing         action = ""
	doRelease         action = "Release"         // pods whose outcome is recorded in status; delete tokens and pods that are not needed anymore
	doStartAttempt    action = "StartAttempt"    // record the next attempt in status, before anything of it exists
	doCreateToken     action = "CreateToken"     // of the attempt, when there is capacity
	doDeleteToken     action = "DeleteToken"     // it became too old while the session waited
	doSuspendToken    action = "SuspendToken"    // no renewals while the attempt runs
	doCreatePod       action = "CreatePod"       // when there is capacity, or behind our own scheduling gate
	doRemoveGate      action = "RemoveGate"      // remove our own scheduling gate from the pod, when there is capacity
	doStop            action = "Stop"            // record in status why the attempt is stopped, before its pod is
	doLowerDeadline   action = "LowerDeadline"   // of a pod, so that the kubelet ends it and its logs stay
	doDeletePod       action = "DeletePod"       // gracefully
	doEndAttempt      action = "EndAttempt"      // clean up the Reactor session, and record the outcome in status
	doFinish          action = "Finish"          // the time of the session is used up between two attempts
	doDeleteObject    action = "DeleteObject"    // its time after the end is over
	doRemoveFinalizer action = "RemoveFinalizer" // remove our finalizer from the session
)

// plan is what a reconcile does.
type plan struct {
	do            action
	ready         *readyCondition  // nil: the conditions stay as they are
	stop          string           // why the attempt is stopped
	end           *outcome.Outcome // how the attempt ended
	delete        string           // the pod to delete
	patchMetadata bool             // also restore the labels and annotations of the attempt's pod: see attempts.MissingMetadata
	slot          bool             // it needs a slot, or the session keeps the one that it has
	requeue       []requeue.Entry  // when something changes without an event
}

// at is the entry of a decision that changes at a time; none for the zero time.
func at(now, then time.Time, reason string) []requeue.Entry {
	if then.IsZero() {
		return nil
	}
	return after(max(then.Sub(now), minWait), reason)
}

// after is the entry of a stage that requests the next reconcile after a wait.
func after(wait time.Duration, reason string) []requeue.Entry {
	return []requeue.Entry{{After: wait, Reason: reason}}
}

// check returns a plan if there is one thing to do or to wait for, and otherwise nil.
type check func(*v1alpha1.ReactorSession, *observation) *plan

// checks run in this order, and the first plan counts.
var checks = []check{
	severalPods,       // more than one runs, and the session is not being stopped: touch nothing
	endedPods,         // what has ended and is recorded is released
	strayPod,          // a pod that is not of the current attempt must not run
	attemptWithPod,    // the current attempt runs, or has ended
	strayPodEnds,      // a pod that is not of the current attempt has not ended yet
	attemptWithoutPod, // it has not started yet
	beingDeleted,      // nothing is left
	finished,          // complete or failed
	suspended,         // spec.suspend
	timeIsUp,          // nothing is left of spec.maxDuration
	keyProblem,        // there is no API key
	keyRefused,        // Reactor refused the last attempt with this key
	backingOff,        // the last attempt failed
	templateProblem,   // it could not run
}

// decide returns what to do. It is pure.
func decide(session *v1alpha1.ReactorSession, observed *observation) plan {
	for _, check := range checks {
		if found := check(session, observed); found != nil {
			found.patchMetadata = found.do != doRemoveFinalizer && attempts.MissingMetadata(session, observed.status.CurrentAttempt, observed.pod) != nil
			return *found
		}
	}
	if attempts.ExpectsGates(&session.Spec.Template) {
		return plan{do: doStartAttempt, ready: waitFor(v1alpha1.ReasonSchedulingGated, behindGates)}
	}
	return plan{do: doStartAttempt, ready: waitFor(v1alpha1.ReasonWaitingForToken, attempts.TokenPending)}
}

func severalPods(session *v1alpha1.ReactorSession, observed *observation) *plan {
	if session.DeletionTimestamp != nil || session.Spec.Suspended() { // all of them must end
		return nil
	}
	var running []string
	for _, pod := range observed.ownPods() {
		if !outcome.HasEnded(pod) {
			running = append(running, pod.Name)
		}
	}
	if len(running) < 2 {
		return nil
	}
	return &plan{ready: stalledFor(v1alpha1.ReasonPodsConflict, "%d pods of this session exist (%v), and only one may run. Delete all but one of them", len(running), running)}
}

func endedPods(session *v1alpha1.ReactorSession, observed *observation) *plan {
	if len(observed.stale) == 0 && len(observed.podsOf(attempts.Recorded, attempts.Unrecorded, attempts.Outdated, attempts.Orphan)) == 0 {
		return nil
	}
	if isReleaseRefused(session, observed) {
		return &plan{do: doRemoveFinalizer}
	}
	return &plan{do: doRelease}
}

// strayPod ends a pod that runs and that status does not list: another client removed its attempt from status, a backup restored it, or a
// former leader was late by more than its lease.
func strayPod(_ *v1alpha1.ReactorSession, observed *observation) *plan {
	for _, pod := range observed.podsOf(attempts.Stray) {
		if pod.DeletionTimestamp == nil {
			return &plan{do: doDeletePod, delete: pod.Name, ready: strayStops(pod)}
		}
	}
	return nil
}

// strayPodEnds waits for such a pod. It comes after the checks of the current attempt: a stray pod on a lost node must not keep the attempt's own
// pod running.
func strayPodEnds(session *v1alpha1.ReactorSession, observed *observation) *plan {
	strays := observed.podsOf(attempts.Stray)
	if len(strays) == 0 {
		return nil
	}
	bound := observed.state.podTimes[strays[0].UID].EndsBy(session, strays[0])
	if !bound.IsZero() && !observed.now.Before(bound) {
		return &plan{do: doRemoveFinalizer}
	}
	return &plan{ready: strayStops(strays[0]), requeue: at(observed.now, bound, "a pod of an earlier attempt must have ended")}
}

func strayStops(pod *corev1.Pod) *readyCondition {
	return waitFor(v1alpha1.ReasonStopping, "pod %q is not of the current attempt, and is being deleted", pod.Name)
}

func attemptWithPod(session *v1alpha1.ReactorSession, observed *observation) *plan {
	attempt, pod := observed.status.CurrentAttempt, observed.pod
	if attempt == nil || pod == nil {
		return nil
	}
	if outcome.HasEnded(pod) {
		end := endOf(pod, attempt, observed)
		if changes := observed.tokenChanges(session); attempt.StopReason == outcome.ReasonTokenChanged && len(changes) > 0 {
			end.Message = outcome.SafeMessage(attempts.DescribeChanges(observed.token, changes, observed.managers))
		}
		return &plan{do: doEndAttempt, end: &end, ready: waitFor(v1alpha1.ReasonStopping, "The attempt ended. The operator is cleaning up its Reactor session.")}
	}
	if pod.DeletionTimestamp != nil {
		return terminating(session, observed)
	}
	if attempt.StopReason != "" {
		return stopping(session, observed)
	}
	reason, stopAt := stopWanted(session, observed)
	if reason != "" {
		return stopFor(reason)
	}
	if found := gated(session, observed, stopAt); found != nil {
		return found
	}
	do := doNothing
	token := attempts.StateOfToken(observed.token, observed.now.Add(observed.skew))
	isLast := attempts.Outlives(token.Granted, attempts.TokenNeeds(&session.Spec, &observed.status))
	if token.Exists && !token.Suspended && isLast && lastsForAttempt(session, observed, token.Left, stopAt) {
		do = doSuspendToken
	}
	return &plan{do: do, ready: podReadyCondition(pod), requeue: at(observed.now, stopAt, "the attempt reaches a time limit")}
}

// endOf is how the attempt ended. It is read from the pod once: what happens to the pod during the cleanup does not change it.
func endOf(pod *corev1.Pod, attempt *v1alpha1.SessionAttempt, observed *observation) outcome.Outcome {
	if observed.ending != nil {
		return *observed.ending
	}
	return outcome.Of(pod, attempt, observed.now)
}

func attemptWithoutPod(session *v1alpha1.ReactorSession, observed *observation) *plan {
	attempt := observed.status.CurrentAttempt
	if attempt == nil || observed.pod != nil {
		return nil
	}
	end := outcome.Outcome{Class: v1alpha1.ClassStopped}
	switch {
	case isFinalizerRemoved(session) && attempt.PodUID != "": // the finalizer of its pod was removed, and this has been reported
		return &plan{}
	case observed.ending != nil: // a client removed the pod with its finalizer, while the operator cleans up after it
		end = *observed.ending
	case attempt.PodUID != "":
		end = outcome.OfLostPod(attempt, observed.now)
	case session.DeletionTimestamp != nil:
		end.Reason = outcome.StopDeleted
	case session.Spec.Suspended():
		end.Reason = outcome.StopSuspended
	case observed.isOutdated(session):
		end.Reason = outcome.StopSpecChanged
	case attempts.Intolerable(observed.tokenChanges(session)):
		end = outcome.Outcome{Class: v1alpha1.ClassIgnored, Reason: outcome.ReasonTokenChanged}
		end.Message = outcome.SafeMessage(attempts.DescribeChanges(observed.token, observed.tokenChanges(session), observed.managers))
	default:
		return firstStep(session, observed)
	}
	return &plan{do: doEndAttempt, end: &end, ready: waitFor(v1alpha1.ReasonStopping, "the attempt is over")}
}

func beingDeleted(session *v1alpha1.ReactorSession, _ *observation) *plan {
	if session.DeletionTimestamp == nil {
		return nil
	}
	return &plan{do: removeFinalizerIfIdle(session)}
}

// isFinalizerRemoved reports whether only the finalizers of others still keep a session that is being deleted.
func isFinalizerRemoved(session *v1alpha1.ReactorSession) bool {
	return session.DeletionTimestamp != nil && !attempts.HasFinalizer(session, attempts.CleanupFinalizer)
}

func finished(session *v1alpha1.ReactorSession, observed *observation) *plan {
	if !attempts.IsFinished(&observed.status) {
		return nil
	}
	if attempts.HasFinalizer(session, attempts.CleanupFinalizer) { // it is not needed anymore
		return &plan{do: doRemoveFinalizer}
	}
	expires := expiry(&session.Spec, &observed.status)
	if expires.IsZero() || observed.now.Before(expires) {
		return &plan{ready: finishedAs(&observed.status), requeue: at(observed.now, expires, "spec.ttlAfterFinished is over")}
	}
	return &plan{do: doDeleteObject}
}

// expiry is when a session that has finished is deleted; zero for never.
func expiry(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) time.Time {
	if spec.TTLAfterFinished == "" || status.FinishedTime == nil {
		return time.Time{}
	}
	return status.FinishedTime.Add(spec.TTLAfterFinished.Std())
}

func suspended(session *v1alpha1.ReactorSession, _ *observation) *plan {
	if !session.Spec.Suspended() {
		return nil
	}
	return &plan{do: removeFinalizerIfIdle(session), ready: waitFor(v1alpha1.ReasonSuspended, "spec.suspend is true: nothing runs until it is false")}
}

// removeFinalizerIfIdle is for a session that has neither an attempt nor a pod: it can be deleted even without the operator.
func removeFinalizerIfIdle(session *v1alpha1.ReactorSession) action {
	if attempts.HasFinalizer(session, attempts.CleanupFinalizer) {
		return doRemoveFinalizer
	}
	return doNothing
}

func timeIsUp(session *v1alpha1.ReactorSession, observed *observation) *plan {
	if !attempts.DurationReached(&session.Spec, &observed.status) {
		return nil
	}
	return &plan{do: doFinish, ready: finishedFor(v1alpha1.ReasonDurationReached, session, &observed.status)}
}

func keyProblem(_ *v1alpha1.ReactorSession, observed *observation) *plan {
	if observed.key.Problem == nil {
		return nil
	}
	return &plan{ready: stalledFor(v1alpha1.ReasonWaitingForToken, "%s: %s", observed.key.Problem.Reason, observed.key.Problem.Message)}
}

func keyRefused(session *v1alpha1.ReactorSession, observed *observation) *plan {
	if len(observed.status.RecentAttempts) == 0 {
		return nil
	}
	last := observed.status.RecentAttempts[0]
	if last.Class != v1alpha1.ClassKeyRefused || last.KeyFingerprint != observed.key.Fingerprint {
		return nil
	}
	return &plan{ready: stalledFor(v1alpha1.ReasonAPIKeyRefused,
		"Reactor refused the API key in Secret %q. Update the Secret with a valid key. The next attempt then starts immediately", session.Spec.APIKeySecretRef.Name)}
}

// backingOff waits until the time of the next attempt. A time that no backoff can reach was set by another clock, and the wait counts from when
// this process has read it. Without that, two leaders whose clocks differ would start attempts in turns, as fast as they end:
//
//  1. The old leader ends an attempt, and the next one is due in 5 minutes, which is in 95 minutes by the clock of the new one.
//  2. The new leader starts the next attempt. It ends, and the one after it is due in 5 minutes, which was 85 minutes ago by the clock of the old one.
//  3. The old leader starts that one immediately.
func backingOff(session *v1alpha1.ReactorSession, observed *observation) *plan {
	status := &observed.status
	if status.NextAttemptTime == nil {
		return nil
	}
	next := status.NextAttemptTime.Time
	if next.Sub(observed.now) > attempts.MaxBackoff(status) {
		next = observed.state.next.since.Add(attempts.Backoff(max(status.Failures, status.IgnoredFailures), false))
	}
	if wait := next.Sub(observed.now); wait <= 0 || wait > attempts.MaxBackoff(status) {
		return nil
	}
	return &plan{do: removeFinalizerIfIdle(session), ready: backsOff(status), requeue: at(observed.now, next, "the next attempt starts")}
}

func templateProblem(session *v1alpha1.ReactorSession, _ *observation) *plan {
	if problem := attempts.CheckTemplate(&session.Spec); problem != "" {
		return &plan{ready: stalledFor(v1alpha1.ReasonInvalidTemplate, "%s", problem)}
	}
	return nil
}
