package reactorsession

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/controller/notice"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// Reasons why the operator stops an attempt. They stand in status before the pod is deleted.
const (
	stopSuspended      = "Suspended"
	stopDeleted        = "Deleted"
	stopDuration       = "DurationReached"
	stopStartDeadline  = "StartDeadline"
	stopSpecChanged    = "SpecChanged"    // an attempt that waited; the next one has what the spec asks for now
	stopContainerEnded = "ContainerEnded" // the session's container has ended, and sidecars go on
)

// ending is how an attempt ended.
type ending struct {
	class    v1alpha1.AttemptClass
	reason   string
	exitCode *int32
	message  string
	ran      time.Duration // how long the container ran
	sessions []string      // the Reactor sessions that the program reported
	started  bool          // the container ran at all

	mayHaveSession bool // it may have left a Reactor session: neither the kubelet nor the program has reported that there is none

	retryAfter time.Duration // when Reactor allows the next try; 0 if it did not say

	began time.Time // when; zero when it did not
	at    time.Time // when the last container ended; zero when none ran
}

// deadlineExceeded is the reason of a pod that the kubelet ended by its activeDeadlineSeconds.
const deadlineExceeded = "DeadlineExceeded"

// neverStarted is the reason of an attempt whose container never ran.
const neverStarted = "NeverStarted"

// tokenChanged is the reason of an attempt whose ReactorToken had another key or scope than it requested.
const tokenChanged = "TokenChanged"

// uncountedStops are the reasons of stops that nobody asked for, and the reason with which the attempt ends.
var uncountedStops = map[string]string{stopStartDeadline: neverStarted, tokenChanged: tokenChanged}

// podFailures are the reasons in a pod's status or in its condition DisruptionTarget that are not the program's fault.
var podFailures = []string{
	"Evicted", "NodeShutdown", "Terminated", "Preempting", "NodeAffinity", "NodeLost", "Shutdown", "UnexpectedAdmissionError", "OutOfcpu", "OutOfmemory",
	"OutOfpods", "PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI", "DeletionByPodGC", "TerminationByKubelet",
}

// reactorFailed is the reason of an attempt that Reactor itself failed.
const reactorFailed = "ReactorFailed"

// reactorFailures are the error codes of Reactor's SDKs that are Reactor's own matter. What Reactor refuses because of the account is in refusals.
var reactorFailures = map[string]string{
	"SERVER_ERROR": reactorFailed, "NETWORK_ERROR": reactorFailed, "TRANSPORT_ERROR": reactorFailed, "REQUEST_TIMEOUT": reactorFailed,
}

// classify says how an attempt ended and whose matter that was, from a pod whose containers have all terminated. The first line that
// applies wins.
//
// now bounds how long a container ran whose end nobody saw.
func classify(pod *corev1.Pod, attempt *v1alpha1.SessionAttempt, now time.Time) ending {
	end := ending{}
	if attempt.StartTime != nil {
		end.started, end.began = true, attempt.StartTime.Time
	}
	if status := programOf(pod); status != nil {
		end.readContainer(status)
	}
	if end.started && end.at.IsZero() && !end.began.IsZero() { // such as on a node that was lost: it may have run until then
		until := earlier(disruptedAt(pod), now)
		if pod.DeletionTimestamp != nil {
			until = earlier(until, pod.DeletionTimestamp.Time)
		}
		end.ran = max(until.Sub(end.began), 0)
	}
	heard, whole := parseMessage(end.message), len(end.message) < cutFrom
	end.sessions, end.message = heard.sessions, shown(end.message)
	end.class, end.reason = classOf(pod, &end, heard.failure, attempt)
	if end.reason == heard.failure.refusal {
		end.retryAfter = heard.failure.retryAfter
	}
	// A program that reports such a refusal as its last error, and no session, was not allowed to start one. Of a message that may have lost its
	// begin nobody knows what it reported there.
	none := slices.Contains(startedNone, end.reason) && len(end.sessions) == 0 && whole
	end.mayHaveSession = (end.started || !neverRan(pod)) && !none
	return end
}

// neverRan reports whether it is certain that the program of a pod that has ended did not run. Only the kubelet knows, so only its report counts:
//
//  1. A node pulls an image, and status shows the container as waiting.
//  2. The node is lost. It starts the container, and the program starts a Reactor session. No status arrives.
//  3. The Node object is deleted. The control plane ends the pod in place of the kubelet, and status still shows the container as waiting.
//
// ContainerStatusUnknown is no such report: the kubelet writes it for containers that it does not find any more, whether they ran or not.
func neverRan(pod *corev1.Pod) bool {
	program := programOf(pod)
	switch {
	case pod.Spec.NodeName == "": // no kubelet was ever asked to start it
		return true
	case program != nil && program.State.Terminated != nil:
		ended := program.State.Terminated
		return ended.Reason != statusUnknown && (ended.StartedAt.IsZero() || ended.StartedAt.Unix() <= 0)
	default: // the kubelet has refused the pod, or has ended it before it could start the program
		return hasEndedPhase(pod) && !endedByControlPlane(pod)
	}
}

// endedByControlPlane reports whether the garbage collector of pods has set the phase of the pod, because its node is gone or out of service.
func endedByControlPlane(pod *corev1.Pod) bool {
	announced := disruption(pod)
	return announced != nil && announced.Reason == "DeletionByPodGC"
}

// readContainer takes over what the kubelet tells of the session's container.
func (e *ending) readContainer(status *corev1.ContainerStatus) {
	done := status.State.Terminated
	if done == nil {
		done = status.LastTerminationState.Terminated
	}
	if done == nil {
		if running := status.State.Running; running != nil {
			e.started, e.began = true, running.StartedAt.Time
		}
		return
	}
	e.exitCode, e.message, e.at = new(done.ExitCode), done.Message, done.FinishedAt.Time
	// A container that could not be started has a terminated state too, without a time at which it began; and so has one that the
	// kubelet lost sight of (ContainerStatusUnknown): then what status saw of it counts.
	if began := done.StartedAt; !began.IsZero() && began.Unix() > 0 {
		e.started, e.began = true, began.Time
	}
	if done.Reason == statusUnknown { // it ran, also where nobody saw when
		e.started = true
	}
	if e.started && done.FinishedAt.After(e.began) {
		e.ran = done.FinishedAt.Sub(e.began)
	}
}

func classOf(pod *corev1.Pod, end *ending, reported failure, attempt *v1alpha1.SessionAttempt) (class v1alpha1.AttemptClass, reason string) {
	failure, stopReason := podFailure(pod), attempt.StopReason
	if end.endedByItself(pod, stopReason) {
		failure, stopReason = "", stopContainerEnded
	}
	switch {
	case uncountedStops[stopReason] != "":
		return v1alpha1.ClassIgnored, uncountedStops[stopReason]
	case stopReason != "" && stopReason != stopContainerEnded:
		return v1alpha1.ClassStopped, stopReason
	case stopReason == "" && pod.Status.Reason == deadlineExceeded:
		return classOfDeadline(pod)
	case failure != "":
		return v1alpha1.ClassIgnored, failure
	case !end.started:
		return v1alpha1.ClassIgnored, neverStarted
	case pod.DeletionTimestamp != nil && stopReason == "": // whatever the program made of the signal
		return v1alpha1.ClassIgnored, "PodDeleted"
	case lostSightOf(pod):
		return v1alpha1.ClassIgnored, statusUnknown
	case end.succeeded():
		return v1alpha1.ClassSucceeded, v1alpha1.ReasonCompleted
	case outOfMemory(pod):
		return v1alpha1.ClassFailed, "OOMKilled"
	default:
		return classOfError(reported, attempt)
	}
}

// classOfDeadline is whose matter it was that the kubelet ended the pod: the operator's, which was away, or the program's, when the template
// has a deadline of its own.
func classOfDeadline(pod *corev1.Pod) (class v1alpha1.AttemptClass, reason string) {
	if pod.Annotations[BackstopAnnotation] != "" {
		return v1alpha1.ClassStopped, stopDuration
	}
	return v1alpha1.ClassFailed, deadlineExceeded
}

// classOfError is whose matter the error was that the program told of; its own, when it told none that is known.
func classOfError(reported failure, attempt *v1alpha1.SessionAttempt) (class v1alpha1.AttemptClass, reason string) {
	code := reported.code
	switch {
	case reported.refusal != "":
		return v1alpha1.ClassIgnored, reported.refusal
	case reactorFailures[code] != "":
		return v1alpha1.ClassIgnored, reactorFailures[code]
	case code == "UNAUTHORIZED" && attempt.TokenName == "": // it had the API key itself
		return v1alpha1.ClassKeyRefused, v1alpha1.ReasonAPIKeyRefused
	case code == "UNAUTHORIZED": // the attempt's own token is used up or has expired; the next one has a new one
		return v1alpha1.ClassIgnored, v1alpha1.ReasonTokenExpired
	default:
		return v1alpha1.ClassFailed, "ExitCode"
	}
}

func (e *ending) succeeded() bool { return e.started && e.exitCode != nil && *e.exitCode == 0 }

// statusUnknown is what the kubelet gives as the reason of a container that it does not find any more: its node was started anew, or its
// runtime. The exit code beside it is the kubelet's invention.
const statusUnknown = "ContainerStatusUnknown"

func lostSightOf(pod *corev1.Pod) bool {
	program := programOf(pod)
	return program != nil && program.State.Terminated != nil && program.State.Terminated.Reason == statusUnknown
}

// outOfMemory reports whether the session's container was killed for want of memory.
func outOfMemory(pod *corev1.Pod) bool {
	program := programOf(pod)
	return program != nil && program.State.Terminated != nil && program.State.Terminated.Reason == "OOMKilled"
}

// podFailure is why the pod was taken away or not taken in, when that is not the program's fault; empty otherwise.
func podFailure(pod *corev1.Pod) string {
	if announced := disruption(pod); announced != nil && slices.Contains(podFailures, announced.Reason) {
		return announced.Reason
	}
	if slices.Contains(podFailures, pod.Status.Reason) {
		return pod.Status.Reason
	}
	return ""
}

// longestMessage is how much of a termination message is kept, in bytes.
const longestMessage = 256

// cutFrom is from how many bytes on a message may have lost its begin. The kubelet keeps the last 4096 bytes of the file, and the last 2048 of the log
// that stands in for it; of these a pod of up to twelve containers may tell the first 1024 each (k8s.io/kubernetes/pkg/kubelet/container/runtime.go,
// status/status_manager.go).
const cutFrom = 1024

// shown is a termination message as status may show it: without secrets, and cut short. Nobody knows the end of a secret by its form, so the
// first word goes where the kubelet may have cut it.
func shown(message string) string {
	if len(message) >= cutFrom {
		word := strings.IndexAny(message, " \t\r\n\"'<>(){}[],;")
		if word < 0 {
			word = len(message)
		}
		message = "…" + message[word:]
	}
	return notice.Bounded(reactor.Redact(message), longestMessage)
}

// programOf is the status of the container that is the session's program; nil before the kubelet has one.
func programOf(pod *corev1.Pod) *corev1.ContainerStatus {
	for i := range pod.Status.ContainerStatuses {
		if pod.Status.ContainerStatuses[i].Name == pod.Annotations[ContainerAnnotation] {
			return &pod.Status.ContainerStatuses[i]
		}
	}
	return nil
}

// hasEnded reports whether nothing of the pod runs any more, and nothing will.
func hasEnded(pod *corev1.Pod) bool {
	if hasEndedPhase(pod) {
		return true
	}
	if pod.DeletionTimestamp == nil {
		return false
	}
	if pod.Spec.NodeName == "" { // it was never bound, and is not going to be
		return true
	}
	return len(pod.Status.ContainerStatuses) > 0 && !othersGoOn(pod)
}

func hasEndedPhase(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
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
