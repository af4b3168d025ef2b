package reactorsession

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// maxConditionMessage bounds the message of a condition, in bytes.
const maxConditionMessage = 1024

// readyCondition is what the condition Ready shows.
type readyCondition struct {
	ready   bool
	reason  string
	message string
	stalled bool // a user must act
}

// Several places use these messages, and must use the same text: each change of a message is a write of the status.
const (
	podStarts = "the pod is being started"
	// They stay the same from the start of the attempt until the last gate is removed, so that a wait in a queue costs no write.
	behindGates = "the pod waits until its scheduling gates are removed: first those of others, such as a queue, and then reactor.inc/token, when the token of the attempt is ready"
	tokenQueued = "the token of the attempt is requested when reactor.inc/token is the only scheduling gate of the pod"
)

func waitFor(reason, format string, args ...any) *readyCondition {
	return &readyCondition{reason: reason, message: fmt.Sprintf(format, args...)}
}

func stalledFor(reason, format string, args ...any) *readyCondition {
	return &readyCondition{reason: reason, message: fmt.Sprintf(format, args...), stalled: true}
}

func tokenTaken(attempt *v1alpha1.SessionAttempt) *readyCondition {
	return stalledFor(v1alpha1.ReasonTokenConflict,
		"ReactorToken %q has the name of the token of this session's attempt %d, but the session does not control it. Delete it; the operator then creates its own within a minute",
		attempt.TokenName, attempt.Number)
}

// podReadyCondition is what a session shows whose pod exists. It is nil, which changes nothing, after the program has ended.
func podReadyCondition(pod *corev1.Pod) *readyCondition {
	status := outcome.Program(pod)
	if status != nil && status.State.Terminated != nil {
		return nil
	}
	if status != nil && status.State.Running != nil {
		return &readyCondition{ready: true, reason: v1alpha1.ReasonRunning, message: fmt.Sprintf("pod %q runs since %s", pod.Name, status.State.Running.StartedAt.UTC().Format(time.RFC3339))}
	}
	return waitFor(v1alpha1.ReasonStarting, "%s", notice.Bounded(describePending(pod), maxConditionMessage))
}

// finishedFor is what a session shows that finishes for a reason.
func finishedFor(reason string, session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus) *readyCondition {
	switch reason {
	case v1alpha1.ReasonCompleted:
		return &readyCondition{ready: true, reason: reason, message: "the program has ended with exit code 0"}
	case v1alpha1.ReasonDurationReached:
		return &readyCondition{ready: true, reason: reason, message: fmt.Sprintf("the session has run for %s, the value of spec.maxDuration", session.Spec.MaxDuration)}
	default:
		return &readyCondition{reason: reason, stalled: true, message: lastAttempt(status)}
	}
}

// finishedAs is what a session shows that has completed or failed.
func finishedAs(status *v1alpha1.ReactorSessionStatus) *readyCondition {
	if complete := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionComplete); complete != nil && complete.Status == metav1.ConditionTrue {
		return &readyCondition{ready: true, reason: complete.Reason, message: complete.Message}
	}
	if failed := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionFailed); failed != nil {
		return &readyCondition{stalled: true, reason: failed.Reason, message: failed.Message}
	}
	return nil
}

// backsOff is shown until the next attempt starts. What changes the token of each attempt continues until a user acts.
func backsOff(status *v1alpha1.ReactorSessionStatus) *readyCondition {
	if recent := status.RecentAttempts; len(recent) > 0 && outcome.IsUnpaid(recent[0].Reason) {
		return unpaidCondition(status)
	}
	ready := waitFor(v1alpha1.ReasonBackingOff, "%s; the next attempt starts at %s", lastAttempt(status), status.NextAttemptTime.UTC().Format(time.RFC3339))
	if recent := status.RecentAttempts; len(recent) > 0 && recent[0].Reason == outcome.ReasonTokenChanged {
		ready.stalled = true
		ready.message += ". Exclude the ReactorTokens of this session from what changes them"
	}
	return ready
}

// lastAttempt describes how the last attempt ended.
func lastAttempt(status *v1alpha1.ReactorSessionStatus) string {
	if len(status.RecentAttempts) == 0 {
		return "the last attempt has ended"
	}
	last := status.RecentAttempts[0]
	text := fmt.Sprintf("attempt %d ended: %s", last.Number, last.Reason)
	if last.ExitCode != nil {
		text += fmt.Sprintf(" (exit code %d)", *last.ExitCode)
	}
	if last.Message != "" {
		text += ": " + last.Message
	}
	return text
}

// billingURL is where a user pays. It is fixed: a URL in a termination message may lead anywhere.
const billingURL = "https://reactor.inc/billing"

// unpaidCondition is what a session shows that waits until a user pays.
func unpaidCondition(status *v1alpha1.ReactorSessionStatus) *readyCondition {
	last, problem := status.RecentAttempts[0], "the credits of the account are depleted. Add credits at "
	if last.Reason == v1alpha1.ReasonBillingNotSetUp {
		problem = "the account has no billing. Set it up at "
	}
	return stalledFor(last.Reason, "Reactor refused attempt %d a session (402): %s%s. The next attempt starts at %s",
		last.Number, problem, billingURL, status.NextAttemptTime.UTC().Format(time.RFC3339))
}

// describePending describes in one line why a pod without scheduling gates does not run yet. When the last gate is removed, the condition
// PodScheduled still has the reason SchedulingGated, until the scheduler replaces it.
func describePending(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse && condition.Reason != corev1.PodReasonSchedulingGated {
			return fmt.Sprintf("the pod is not scheduled: %s: %s", condition.Reason, condition.Message)
		}
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if waiting := statuses[i].State.Waiting; waiting != nil && !slices.Contains([]string{"", "PodInitializing", "ContainerCreating"}, waiting.Reason) {
				return strings.TrimSuffix(fmt.Sprintf("container %q waits: %s: %s", statuses[i].Name, waiting.Reason, waiting.Message), ": ")
			}
		}
	}
	return podStarts
}

// credentialReady is what the condition TokenReady shows: whether the current attempt has its credential.
func credentialReady(session *v1alpha1.ReactorSession, observed *observation, attempt *v1alpha1.SessionAttempt) (ready bool, reason, message string) {
	mayRun := observed.pod != nil && !attempts.AwaitsToken(observed.pod)
	problem := observed.key.Problem
	switch {
	case observed.taken && !mayRun:
		taken := tokenTaken(attempt)
		return false, taken.reason, taken.message
	case problem != nil && (!session.Spec.UsesTokenFile() || observed.token == nil && !mayRun):
		return false, problem.Reason, problem.Message
	case !session.Spec.UsesTokenFile():
		return true, v1alpha1.ReasonAPIKeyFound, "the program gets the API key itself"
	case observed.token == nil && mayRun:
		return false, v1alpha1.ReasonTokenDeleted, "the ReactorToken of the attempt does not exist anymore: the program has the token that it has read"
	}
	token := attempts.StateOfToken(observed.token, observed.now)
	if observed.isQueued(session) && !token.Ready && token.Reason == v1alpha1.ReasonPending {
		token.Message = tokenQueued
	}
	if changes := observed.tokenChanges(session); len(changes) > 0 {
		token.Message += "; " + attempts.DescribeChanges(observed.token, changes, observed.managers)
	}
	return token.Ready, token.Reason, token.Message
}

func suspendedReason(ready *readyCondition) string {
	if ready.reason == v1alpha1.ReasonSuspended {
		return v1alpha1.ReasonSuspended
	}
	return v1alpha1.ReasonNotSuspended
}

func suspendedMessage(status *v1alpha1.ReactorSessionStatus, ready *readyCondition) string {
	if ready.reason != v1alpha1.ReasonSuspended {
		return "spec.suspend is false, or the session has not stopped yet"
	}
	recent := status.RecentAttempts
	unverified := slices.IndexFunc(recent, func(ended v1alpha1.EndedAttempt) bool { return ended.Cleanup == v1alpha1.CleanupUnverified })
	if unverified >= 0 { // an attempt without a pod may have followed it
		return fmt.Sprintf("nothing runs; whether attempt %d left a Reactor session open is unknown", recent[unverified].Number)
	}
	return "nothing runs, and no recent attempt has left a Reactor session open"
}

// setConditions writes the conditions at a time. Without a Ready condition, they stay as they are. finish is Complete or Failed if the session
// finishes now.
func setConditions(
	status *v1alpha1.ReactorSessionStatus, session *v1alpha1.ReactorSession, observed *observation, ready *readyCondition, finish string,
) {
	set := func(kind string, on bool, reason, message string) {
		state := metav1.ConditionFalse
		if on {
			state = metav1.ConditionTrue
		}
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: kind, Status: state, Reason: reason, Message: notice.Bounded(message, maxConditionMessage),
			ObservedGeneration: session.Generation, LastTransitionTime: metav1.NewTime(observed.now.Truncate(time.Second)),
		})
	}
	if ready == nil && meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady) == nil {
		ready = waitFor(v1alpha1.ReasonPending, "the session is being prepared")
	}
	if finish != "" {
		set(finish, true, ready.reason, ready.message)
		status.FinishedTime, status.NextAttemptTime = &metav1.Time{Time: observed.now.UTC().Truncate(time.Second)}, nil
	}
	if ready == nil {
		for i := range status.Conditions {
			status.Conditions[i].ObservedGeneration = session.Generation
		}
		return
	}
	set(v1alpha1.ConditionReady, ready.ready, ready.reason, ready.message)
	set(v1alpha1.ConditionSuspended, ready.reason == v1alpha1.ReasonSuspended, suspendedReason(ready), suspendedMessage(status, ready))
	if status.CurrentAttempt == nil {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionTokenReady)
	} else {
		on, reason, message := credentialReady(session, observed, status.CurrentAttempt)
		set(v1alpha1.ConditionTokenReady, on, reason, message)
	}
	if ready.stalled && !ready.ready {
		set(v1alpha1.ConditionStalled, true, ready.reason, ready.message)
	} else {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionStalled)
	}
}
