package reactorsession

import (
	"fmt"
	"slices"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
)

// reported is what a pass tells.
type reported struct {
	status v1alpha1.ReactorSessionStatus
	events []notice.Notice
	next   []requeue.Entry // why the session is reconciled again; empty: a watch triggers the next reconcile

	ended     *v1alpha1.EndedAttempt // with this status
	abandoned int                    // pods that were let go of before they ended
}

const (
	// maxConditionMessage bounds the message of a condition, in bytes.
	maxConditionMessage = 1024
)

// report derives status and events from what was seen, planned and done. It is pure.
func report(session *v1alpha1.ReactorSession, seen *observation, planned plan, done result) reported {
	status := seen.status.DeepCopy()
	if done.closing {
		return reported{status: *status}
	}
	status.ObservedGeneration = session.Generation
	told := reported{events: done.notices, ended: done.ended, abandoned: done.abandoned}
	show, finish := readyAfter(session, status, planned, done), ""
	switch planned.do { //nolint:exhaustive // the others change nothing but conditions
	case doBegin:
		if done.done {
			begin(status, session, seen)
		}
	case doStop:
		status.CurrentAttempt.StopReason = planned.stop
	case doFinish:
		finish = v1alpha1.ConditionComplete
	case doEnd:
		if done.ended != nil {
			show, finish = end(status, session, seen, done.ended, done.retryAfter)
		}
	}
	followAttempt(status.CurrentAttempt, seen, done)
	setConditions(status, session, seen, show, finish)
	told.events = addNotices(told.events, transition(&seen.status, status), done.ended, finish != "")
	told.status = *status
	if !planned.until.IsZero() {
		told.next = after(max(planned.until.Sub(seen.now), atOnce), "the plan has a time limit")
	}
	return told
}

// readyAfter is what the conditions show after the plan was carried out, unless an attempt ended.
func readyAfter(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, planned plan, done result) *readyCondition {
	switch {
	case done.failed != nil && isFinished(status) && session.DeletionTimestamp == nil:
		show := finishedAs(status)
		show.message += "; " + done.failed.message
		return show
	case done.failed != nil:
		return done.failed
	case done.waiting != nil:
		return waitFor(v1alpha1.ReasonWaitingForCapacity, "%s", done.waiting.Message())
	default:
		return planned.show
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

// followAttempt takes over what is known of the current attempt. While our own gate holds its pod back, no program of it can run, and status
// does not list the pod.
func followAttempt(attempt *v1alpha1.SessionAttempt, seen *observation, done result) {
	if attempt == nil {
		return
	}
	attempt.KeyFingerprint = keyOfAttempt(seen)
	if pod := podOf(seen, done); pod != nil && !attempts.AwaitsToken(pod) {
		followToken(attempt, pod, seen.token)
		followPod(attempt, pod)
	}
}

func podOf(seen *observation, done result) *corev1.Pod {
	if done.pod != nil {
		return done.pod
	}
	return seen.pod
}

// begin writes the next attempt down.
func begin(status *v1alpha1.ReactorSessionStatus, session *v1alpha1.ReactorSession, seen *observation) {
	status.Attempts++
	name := attempts.Name(session, status.Attempts)
	status.CurrentAttempt = &v1alpha1.SessionAttempt{Number: status.Attempts, PodName: name, KeyFingerprint: seen.key.Fingerprint}
	if session.Spec.UsesTokenFile() {
		status.CurrentAttempt.TokenName = name
		status.CurrentAttempt.RequestHash = attempts.RequestHash(&attempts.BuildToken(session, status, status.CurrentAttempt, attempts.Settings{}).Spec)
	}
	status.NextAttemptTime = nil
}

// followToken records when the token was issued that the program finds at its start: the cleanup recognizes a renewed token by its other time.
// It is written together with the pod's UID, when no scheduling gate holds the pod back any more, and again if the token is renewed before the
// program starts. Two races remain:
//
//   - The token is renewed within the minute before the program starts, and the kubelet has not updated the file yet. The program uses the
//     token before the renewal, and the cleanup takes the new one for the first one. A 403 then leaves the session alone, which Reactor ends
//     when the time of the token is over.
//   - The operator is away from the creation of the pod, or the removal of its gate, until after a renewal. It records the new token, with the same result.
func followToken(attempt *v1alpha1.SessionAttempt, pod *corev1.Pod, token *v1alpha1.ReactorToken) {
	if token == nil || token.Status.IssuedTime == nil || attempts.IsGated(pod) {
		return
	}
	program := outcome.Program(pod)
	waits := program == nil || program.State.Running == nil && program.State.Terminated == nil
	if attempt.TokenIssuedTime == nil || waits && !outcome.HasEnded(pod) {
		attempt.TokenIssuedTime = token.Status.IssuedTime.DeepCopy()
	}
}

// followPod takes over what the pod of the current attempt tells.
func followPod(attempt *v1alpha1.SessionAttempt, pod *corev1.Pod) {
	attempt.PodUID = string(pod.UID)
	container := outcome.Program(pod)
	if container == nil {
		return
	}
	if running := container.State.Running; running != nil {
		attempt.StartTime = &metav1.Time{Time: running.StartedAt.UTC()}
	}
	if ended := container.State.Terminated; ended != nil && outcome.HasEnded(pod) { // not before: it would be a write more for each session
		if sessions := outcome.ReportedSessions(ended.Message); len(sessions) > 0 {
			attempt.SessionID = sessions[len(sessions)-1]
		}
	}
}

// end records the outcome of the current attempt, and returns what the conditions show then. The next attempt does not start before retryAfter, if
// Reactor asked for that.
func end(
	status *v1alpha1.ReactorSessionStatus, session *v1alpha1.ReactorSession, seen *observation, ended *v1alpha1.EndedAttempt, retryAfter time.Duration,
) (show *readyCondition, finish string) {
	next := attempts.Record(status, session, ended, seen.now)
	switch {
	case session.DeletionTimestamp != nil:
		return waitFor(v1alpha1.ReasonStopping, "the session is being deleted"), ""
	case next.Condition != "":
		return finishedFor(next.Reason, session, status), next.Condition
	case next.Wait == 0:
		return nil, ""
	}
	start := seen.now.Add(max(next.Wait, retryAfter)).Truncate(time.Second).Add(time.Second)
	status.NextAttemptTime = &metav1.Time{Time: start.UTC()}
	if session.Spec.Suspended() {
		return nil, ""
	}
	return backsOff(status), ""
}

// setConditions writes the conditions. Without a view they stay as they are.
func setConditions(status *v1alpha1.ReactorSessionStatus, session *v1alpha1.ReactorSession, seen *observation, show *readyCondition, finish string) {
	set := func(kind string, on bool, reason, message string) {
		state := metav1.ConditionFalse
		if on {
			state = metav1.ConditionTrue
		}
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: kind, Status: state, Reason: reason, Message: notice.Bounded(message, maxConditionMessage),
			ObservedGeneration: session.Generation, LastTransitionTime: metav1.NewTime(seen.now.Truncate(time.Second)),
		})
	}
	if show == nil && meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady) == nil {
		show = waitFor(v1alpha1.ReasonPending, "the session is being prepared")
	}
	if finish != "" {
		set(finish, true, show.reason, show.message)
		status.FinishedTime, status.NextAttemptTime = &metav1.Time{Time: seen.now.UTC().Truncate(time.Second)}, nil
	}
	if show == nil {
		for i := range status.Conditions {
			status.Conditions[i].ObservedGeneration = session.Generation
		}
		return
	}
	set(v1alpha1.ConditionReady, show.ready, show.reason, show.message)
	set(v1alpha1.ConditionSuspended, show.reason == v1alpha1.ReasonSuspended, suspendedReason(show), suspendedMessage(status, show))
	setTokenReady(status, session, seen, set)
	if show.stalled && !show.ready {
		set(v1alpha1.ConditionStalled, true, show.reason, show.message)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionStalled)
	}
}

func suspendedReason(show *readyCondition) string {
	if show.reason == v1alpha1.ReasonSuspended {
		return v1alpha1.ReasonSuspended
	}
	return v1alpha1.ReasonNotSuspended
}

func suspendedMessage(status *v1alpha1.ReactorSessionStatus, show *readyCondition) string {
	if show.reason != v1alpha1.ReasonSuspended {
		return "spec.suspend is false, or the session has not stopped yet"
	}
	recent := status.RecentAttempts
	unverified := slices.IndexFunc(recent, func(ended v1alpha1.EndedAttempt) bool { return ended.Cleanup == v1alpha1.CleanupUnverified })
	if unverified >= 0 { // an attempt without a pod may have followed it
		return fmt.Sprintf("nothing runs; whether attempt %d left a Reactor session open is not known", recent[unverified].Number)
	}
	return "nothing runs, and no recent attempt has left a Reactor session open"
}

// setTokenReady says whether the current attempt has its credential.
func setTokenReady(
	status *v1alpha1.ReactorSessionStatus, session *v1alpha1.ReactorSession, seen *observation, set func(kind string, on bool, reason, message string),
) {
	if status.CurrentAttempt == nil {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionTokenReady)
		return
	}
	on, reason, message := credentialReady(status.CurrentAttempt, session, seen)
	set(v1alpha1.ConditionTokenReady, on, reason, message)
}

func credentialReady(attempt *v1alpha1.SessionAttempt, session *v1alpha1.ReactorSession, seen *observation) (on bool, reason, message string) {
	mayRun := seen.pod != nil && !attempts.AwaitsToken(seen.pod)
	problem := seen.key.Problem
	switch {
	case seen.taken && !mayRun:
		taken := tokenTaken(attempt)
		return false, taken.reason, taken.message
	case problem != nil && (!session.Spec.UsesTokenFile() || seen.token == nil && !mayRun):
		return false, problem.Reason, problem.Message
	case !session.Spec.UsesTokenFile():
		return true, v1alpha1.ReasonAPIKeyFound, "the program gets the API key itself"
	case seen.token == nil && mayRun:
		return false, v1alpha1.ReasonTokenDeleted, "the ReactorToken of the attempt is gone: the program has what it has read"
	}
	state := attempts.StateOfToken(seen.token, seen.now)
	if isQueued(session, seen) && !state.Ready && state.Reason == v1alpha1.ReasonPending {
		state.Message = tokenQueued
	}
	if changes := seen.tokenChanges(session); len(changes) > 0 {
		state.Message += "; " + attempts.DescribeChanges(seen.token, changes, seen.managers)
	}
	return state.Ready, state.Reason, state.Message
}

// passing are the reasons of a session that continues by itself. A session that runs once goes through most of them in seconds, and the event
// that follows reports the result. So they have an event only when a person must act.
var passing = []string{
	v1alpha1.ReasonPending, v1alpha1.ReasonWaitingForToken, v1alpha1.ReasonWaitingForCapacity, v1alpha1.ReasonSchedulingGated,
	v1alpha1.ReasonStarting, v1alpha1.ReasonStopping,
}

// transition reports that Ready has another reason now, or that a person must act.
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
	tell := notice.Warning
	if ended.Class == v1alpha1.ClassSucceeded || ended.Class == v1alpha1.ClassStopped {
		tell = notice.Normal
	}
	text := fmt.Sprintf("Attempt %d ended after %ds: %s, %s", ended.Number, ended.RunningSeconds, ended.Class, ended.Reason)
	if ended.ExitCode != nil {
		text += fmt.Sprintf(", exit code %d", *ended.ExitCode)
	}
	return tell(v1alpha1.ReasonAttemptEnded, "EndAttempt", "%s; Reactor session: %s", text, ended.Cleanup)
}
