package reactorsession

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
)

// report is what a reconcile makes known.
type report struct {
	status  v1alpha1.ReactorSessionStatus
	notices []notice.Notice
	requeue []requeue.Entry // of the plan

	ended     *v1alpha1.EndedAttempt // recorded by this status
	abandoned int                    // pods whose finalizer was removed before they ended
}

// buildReport derives status and events from what was observed, planned and done. It is pure.
func buildReport(session *v1alpha1.ReactorSession, observed *observation, planned plan, result result) report {
	status := observed.status.DeepCopy()
	if result.closing {
		return report{status: *status}
	}
	status.ObservedGeneration = session.Generation
	ready, finish := readyAfter(session, status, planned, result), ""
	switch planned.do { //nolint:exhaustive // the others change nothing but conditions
	case doStartAttempt:
		if result.done {
			startAttempt(status, session, observed)
		}
	case doStop:
		status.CurrentAttempt.StopReason = planned.stop
	case doFinish:
		finish = v1alpha1.ConditionComplete
	case doEndAttempt:
		if result.ended != nil {
			ready, finish = recordEnd(status, session, observed, result.ended, result.retryAfter)
		}
	}
	updateAttempt(status.CurrentAttempt, observed, result)
	setConditions(status, session, observed, ready, finish)
	return report{
		status: *status, requeue: planned.requeue, ended: result.ended, abandoned: result.abandoned,
		notices: addNotices(result.notices, transition(&observed.status, status), result.ended, finish != ""),
	}
}

// readyAfter is what the conditions show after the plan was executed, unless an attempt ended.
func readyAfter(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, planned plan, result result) *readyCondition {
	switch {
	case result.failed != nil && attempts.IsFinished(status) && session.DeletionTimestamp == nil:
		ready := finishedAs(status)
		ready.message += "; " + result.failed.message
		return ready
	case result.failed != nil:
		return result.failed
	case result.waiting != nil:
		return waitFor(v1alpha1.ReasonWaitingForCapacity, "%s", result.waiting.Message())
	default:
		return planned.ready
	}
}

// startAttempt records the next attempt.
func startAttempt(status *v1alpha1.ReactorSessionStatus, session *v1alpha1.ReactorSession, observed *observation) {
	status.Attempts++
	name := attempts.Name(session, status.Attempts)
	status.CurrentAttempt = &v1alpha1.SessionAttempt{Number: status.Attempts, PodName: name, KeyFingerprint: observed.key.Fingerprint}
	if session.Spec.UsesTokenFile() {
		status.CurrentAttempt.TokenName = name
		status.CurrentAttempt.RequestHash = attempts.RequestHash(attempts.WantedToken(session, status))
	}
	status.NextAttemptTime = nil
}

// recordEnd records the outcome of the current attempt, and returns what the conditions show then. The next attempt does not start before
// retryAfter, if Reactor requested that.
func recordEnd(
	status *v1alpha1.ReactorSessionStatus, session *v1alpha1.ReactorSession, observed *observation, ended *v1alpha1.EndedAttempt, retryAfter time.Duration,
) (ready *readyCondition, finish string) {
	next := attempts.Record(status, session, ended, observed.now)
	switch {
	case session.DeletionTimestamp != nil:
		return waitFor(v1alpha1.ReasonStopping, "the session is being deleted"), ""
	case next.Condition != "":
		return finishedFor(next.Reason, session, status), next.Condition
	case next.Wait == 0:
		return nil, ""
	}
	start := observed.now.Add(max(next.Wait, retryAfter)).Truncate(time.Second).Add(time.Second)
	status.NextAttemptTime = &metav1.Time{Time: start.UTC()}
	if session.Spec.Suspended() {
		return nil, ""
	}
	return backsOff(status), ""
}

// updateAttempt records what is known of the current attempt. While our own gate holds its pod back, no program of it can run, and status
// does not list the pod.
func updateAttempt(attempt *v1alpha1.SessionAttempt, observed *observation, result result) {
	if attempt == nil {
		return
	}
	attempt.KeyFingerprint = observed.keyOfAttempt()
	pod := observed.pod
	if result.pod != nil {
		pod = result.pod
	}
	if pod != nil && !attempts.AwaitsToken(pod) {
		recordToken(attempt, pod, observed.token)
		recordPod(attempt, pod)
	}
}

// recordToken records when the token was issued that the program finds at its start: the cleanup recognizes a renewed token by its other time.
// It is written together with the pod's UID, when no scheduling gate holds the pod back anymore, and again if the token is renewed before the
// program starts. Two races remain:
//
//   - The token is renewed within the minute before the program starts, and the kubelet has not updated the file yet. The program uses the
//     token before the renewal, and the cleanup takes the new one for the first one. A 403 then leaves the session alone, which Reactor ends
//     when the time of the token is over.
//   - The operator is away from the creation of the pod, or the removal of its gate, until after a renewal. It records the new token, with the same result.
func recordToken(attempt *v1alpha1.SessionAttempt, pod *corev1.Pod, token *v1alpha1.ReactorToken) {
	if token == nil || token.Status.IssuedTime == nil || attempts.IsGated(pod) {
		return
	}
	program := outcome.Program(pod)
	waits := program == nil || program.State.Running == nil && program.State.Terminated == nil
	if attempt.TokenIssuedTime == nil || waits && !outcome.HasEnded(pod) {
		attempt.TokenIssuedTime = token.Status.IssuedTime.DeepCopy()
	}
}

// recordPod records what the pod of the current attempt shows.
func recordPod(attempt *v1alpha1.SessionAttempt, pod *corev1.Pod) {
	attempt.PodUID = string(pod.UID)
	container := outcome.Program(pod)
	if container == nil {
		return
	}
	if running := container.State.Running; running != nil {
		attempt.StartTime = &metav1.Time{Time: running.StartedAt.UTC()}
	}
	if ended := container.State.Terminated; ended != nil && outcome.HasEnded(pod) { // not before: it would be one more write for each session
		if sessions := outcome.ReportedSessions(ended.Message); len(sessions) > 0 {
			attempt.SessionID = sessions[len(sessions)-1]
		}
	}
}

// addNotices adds the end of an attempt and the transition of the conditions to the other notices of a reconcile. When the session is finished,
// one notice reports both.
func addNotices(others, transition []notice.Notice, ended *v1alpha1.EndedAttempt, finished bool) []notice.Notice {
	switch {
	case ended == nil:
	case finished && len(transition) == 1:
		end := endNotice(ended)
		transition[0].Kind, transition[0].Note = end.Kind, transition[0].Note+". "+end.Note
	default:
		others = append([]notice.Notice{endNotice(ended)}, others...)
	}
	return append(others, transition...)
}

// passing are the reasons of a session that continues by itself. A session that runs once goes through most of them in seconds, and the event
// that follows reports the result. So they have an event only when a user must act.
var passing = []string{
	v1alpha1.ReasonPending, v1alpha1.ReasonWaitingForToken, v1alpha1.ReasonWaitingForCapacity, v1alpha1.ReasonSchedulingGated,
	v1alpha1.ReasonStarting, v1alpha1.ReasonStopping,
}

// transition reports that Ready has another reason now, or that a user must act.
func transition(before, after *v1alpha1.ReactorSessionStatus) []notice.Notice {
	was, is := meta.FindStatusCondition(before.Conditions, v1alpha1.ConditionReady), meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionReady)
	stalls := meta.IsStatusConditionTrue(after.Conditions, v1alpha1.ConditionStalled) && !meta.IsStatusConditionTrue(before.Conditions, v1alpha1.ConditionStalled)
	switch {
	case is == nil:
		return nil
	case slices.Contains(passing, is.Reason):
		if !stalls {
			return nil
		}
	case was != nil && was.Reason == is.Reason:
		return nil
	}
	kind := corev1.EventTypeNormal
	bad := []string{v1alpha1.ReasonNodeUnreachable, v1alpha1.ReasonPodRefused}
	if meta.IsStatusConditionTrue(after.Conditions, v1alpha1.ConditionStalled) || slices.Contains(bad, is.Reason) {
		kind = corev1.EventTypeWarning
	}
	return []notice.Notice{{Kind: kind, Reason: is.Reason, Action: "RunSession", Note: is.Message}}
}

// endNotice reports how an attempt ended.
func endNotice(ended *v1alpha1.EndedAttempt) notice.Notice {
	newNotice := notice.Warning
	if ended.Class == v1alpha1.ClassSucceeded || ended.Class == v1alpha1.ClassStopped {
		newNotice = notice.Normal
	}
	text := fmt.Sprintf("Attempt %d ended after %ds: %s, %s", ended.Number, ended.RunningSeconds, ended.Class, ended.Reason)
	if ended.ExitCode != nil {
		text += fmt.Sprintf(", exit code %d", *ended.ExitCode)
	}
	return newNotice(v1alpha1.ReasonAttemptEnded, "EndAttempt", "%s; Reactor session: %s", text, ended.Cleanup)
}
