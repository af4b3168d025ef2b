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
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// readyCondition is what the condition Ready shows.
type readyCondition struct {
	ready   bool
	reason  string
	message string
	stalled bool // a person must act
}

// These stand in more than one place, and must be the same: a status that says the same in other words would be written once more.
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

// podReadyCondition is what a pod that lives shows; nil, which is what it showed before, while it is about to end.
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

func durationDone(session *v1alpha1.ReactorSession) *readyCondition {
	return &readyCondition{ready: true, reason: v1alpha1.ReasonDurationReached, message: fmt.Sprintf("the session has run for %s, as spec.maxDuration says", session.Spec.MaxDuration)}
}

// finishedFor is what a session shows that finishes for a reason.
func finishedFor(reason string, session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus) *readyCondition {
	switch reason {
	case v1alpha1.ReasonCompleted:
		return &readyCondition{ready: true, reason: reason, message: "the program has ended with exit code 0"}
	case v1alpha1.ReasonDurationReached:
		return durationDone(session)
	default:
		return &readyCondition{reason: reason, stalled: true, message: lastAttempt(status)}
	}
}

// backsOff is shown until the next attempt starts. What changes the token of each attempt goes on until a person acts.
func backsOff(status *v1alpha1.ReactorSessionStatus) *readyCondition {
	if recent := status.RecentAttempts; len(recent) > 0 && outcome.IsUnpaid(recent[0].Reason) {
		return unpaidCondition(status)
	}
	show := waitFor(v1alpha1.ReasonBackingOff, "%s; the next attempt begins at %s", lastAttempt(status), status.NextAttemptTime.UTC().Format(time.RFC3339))
	if recent := status.RecentAttempts; len(recent) > 0 && recent[0].Reason == outcome.ReasonTokenChanged {
		show.stalled = true
		show.message += ". Exclude the ReactorTokens of this session from what changes them"
	}
	return show
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

// lastAttempt says how the last attempt ended.
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

// billingURL is where a person pays. It is fixed: what a termination message names may lead anywhere.
const billingURL = "https://reactor.inc/billing"

// unpaidCondition is what a session shows that waits until a person pays.
func unpaidCondition(status *v1alpha1.ReactorSessionStatus) *readyCondition {
	last, problem := status.RecentAttempts[0], "the credits of the account are depleted. Add credits at "
	if last.Reason == v1alpha1.ReasonBillingNotSetUp {
		problem = "the account has no billing. Set it up at "
	}
	return stalledFor(last.Reason, "Reactor refused attempt %d a session (402): %s%s. The next attempt starts at %s",
		last.Number, problem, billingURL, status.NextAttemptTime.UTC().Format(time.RFC3339))
}

// describePending says in one line why a pod does not run yet.
func describePending(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
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
