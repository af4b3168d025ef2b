// Package outcome answers how an attempt of a ReactorSession ended: its class and reason, the Reactor sessions that its program reported,
// and whether it may have left one open. It is pure: the pod, the attempt in status and the time are values.
package outcome

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

const (
	// ContainerAnnotation on a pod is the name of the container that is the session's program: spec.container may have changed since.
	ContainerAnnotation = "reactor.inc/container"
	// BackstopAnnotation on a pod says that its activeDeadlineSeconds is the operator's, for spec.maxDuration, and not the template's own.
	BackstopAnnotation = "reactor.inc/backstop"
)

// Reasons why the operator stops an attempt. They are recorded in status before the pod is deleted. ReasonTokenChanged is one, too.
const (
	StopSuspended      = "Suspended"
	StopDeleted        = "Deleted"
	StopDuration       = "DurationReached"
	StopStartDeadline  = "StartDeadline"
	StopSpecChanged    = "SpecChanged"    // the attempt had no pod yet; the next one has what the spec requests now
	StopContainerEnded = "ContainerEnded" // the session's container ended, and sidecars still run
)

// ReasonTokenChanged is the reason of an attempt whose ReactorToken had another key or scope than the attempt requested.
const ReasonTokenChanged = "TokenChanged"

const (
	reasonNeverStarted     = "NeverStarted"
	reasonDeadlineExceeded = "DeadlineExceeded" // the reason of a pod that the kubelet ended by its activeDeadlineSeconds, too
	reasonReactorFailed    = "ReactorFailed"
)

// ignoredStops are the stop reasons that are not requested by a user, with the reason of the ended attempt.
var ignoredStops = map[string]string{StopStartDeadline: reasonNeverStarted, ReasonTokenChanged: ReasonTokenChanged}

// reactorFailures are the error codes of Reactor's SDKs that report a failure of Reactor itself. For refusals, see message.go.
var reactorFailures = []string{"SERVER_ERROR", "NETWORK_ERROR", "TRANSPORT_ERROR", "REQUEST_TIMEOUT"}

// Outcome is how an attempt ended.
type Outcome struct {
	Class    v1alpha1.AttemptClass
	Reason   string
	ExitCode *int32        // nil if the kubelet did not report one
	Message  string        // the program's termination message as status may show it: see SafeMessage
	Running  time.Duration // how long the container ran
	Sessions []string      // the ids of the Reactor sessions that the program reported, at most 16

	// MayHaveSession is false only if the kubelet or the program reported that there is no Reactor session.
	MayHaveSession bool

	// RetryAfter is the delay after which Reactor allows the next attempt; 0 if Reactor did not specify one.
	RetryAfter time.Duration
}

// Of returns how an attempt ended, from its pod, whose containers have all terminated. now limits the running time of a container whose end
// was not recorded.
func Of(pod *corev1.Pod, attempt *v1alpha1.SessionAttempt, now time.Time) Outcome {
	ran := readRun(pod, attempt, now)
	report := parseMessage(ran.message)
	out := Outcome{ExitCode: ran.exitCode, Message: SafeMessage(ran.message), Running: ran.duration, Sessions: report.sessions}
	out.Class, out.Reason = classify(pod, ran, report.failure, attempt)
	if out.Reason == report.failure.refusal {
		out.RetryAfter = report.failure.retryAfter
	}
	// A program whose last error is such a refusal, and that reports no session, was not allowed to start one. If the kubelet cut the message,
	// a session may have been reported in the part that is missing.
	complete := len(ran.message) < cutFrom
	none := slices.Contains(refusedBeforeStart, out.Reason) && len(out.Sessions) == 0 && complete
	out.MayHaveSession = (ran.started || !neverRan(pod)) && !none
	return out
}

// OfLostPod returns the outcome of an attempt whose pod does not exist anymore, so that its end is not known. The container may have run
// until now.
func OfLostPod(attempt *v1alpha1.SessionAttempt, now time.Time) Outcome {
	out := Outcome{Class: v1alpha1.ClassIgnored, Reason: "PodLost", Message: "the pod does not exist anymore, and its end was not observed", MayHaveSession: true}
	if attempt.StartTime != nil {
		out.Running = max(now.Sub(attempt.StartTime.Time), 0)
	}
	return out
}

// classify returns the class and the reason. The first case that applies decides.
func classify(pod *corev1.Pod, ran run, reported failure, attempt *v1alpha1.SessionAttempt) (class v1alpha1.AttemptClass, reason string) {
	disrupted, stopReason := disruptionReason(pod), attempt.StopReason
	if endedByItself(pod, ran, stopReason) {
		disrupted, stopReason = "", StopContainerEnded
	}
	switch {
	case ignoredStops[stopReason] != "":
		return v1alpha1.ClassIgnored, ignoredStops[stopReason]
	case stopReason != "" && stopReason != StopContainerEnded:
		return v1alpha1.ClassStopped, stopReason
	case stopReason == "" && pod.Status.Reason == reasonDeadlineExceeded:
		return classifyDeadline(pod)
	case disrupted != "":
		return v1alpha1.ClassIgnored, disrupted
	case !ran.started:
		return v1alpha1.ClassIgnored, reasonNeverStarted
	case pod.DeletionTimestamp != nil && stopReason == "": // however the program reacted to the signal
		return v1alpha1.ClassIgnored, "PodDeleted"
	case terminatedAs(pod, statusUnknown):
		return v1alpha1.ClassIgnored, statusUnknown
	case ran.succeeded():
		return v1alpha1.ClassSucceeded, v1alpha1.ReasonCompleted
	case terminatedAs(pod, "OOMKilled"):
		return v1alpha1.ClassFailed, "OOMKilled"
	default:
		return classifyError(reported, attempt)
	}
}

// classifyDeadline is for a pod that the kubelet ended by its activeDeadlineSeconds. With the operator's deadline the attempt is stopped,
// because the operator was not available to do it. With the template's own deadline the program failed.
func classifyDeadline(pod *corev1.Pod) (class v1alpha1.AttemptClass, reason string) {
	if pod.Annotations[BackstopAnnotation] != "" {
		return v1alpha1.ClassStopped, StopDuration
	}
	return v1alpha1.ClassFailed, reasonDeadlineExceeded
}

// classifyError is for a program that ended with an error. Without a known error code, the program failed.
func classifyError(reported failure, attempt *v1alpha1.SessionAttempt) (class v1alpha1.AttemptClass, reason string) {
	switch {
	case reported.refusal != "":
		return v1alpha1.ClassIgnored, reported.refusal
	case slices.Contains(reactorFailures, reported.code):
		return v1alpha1.ClassIgnored, reasonReactorFailed
	case reported.code == "UNAUTHORIZED" && attempt.TokenName == "": // the program had the API key itself
		return v1alpha1.ClassKeyRefused, v1alpha1.ReasonAPIKeyRefused
	case reported.code == "UNAUTHORIZED": // the attempt's token is used up or expired; the next attempt has a new one
		return v1alpha1.ClassIgnored, v1alpha1.ReasonTokenExpired
	default:
		return v1alpha1.ClassFailed, "ExitCode"
	}
}
