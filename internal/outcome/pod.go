package outcome

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// statusUnknown is the kubelet's reason for a container that it does not find anymore, because its node or its runtime was restarted. The
// kubelet makes up the exit code.
const statusUnknown = "ContainerStatusUnknown"

// run is what the pod and status report about the program's run.
type run struct {
	started   bool      // the container ran, even if the time is not known
	startTime time.Time // zero if not known
	endTime   time.Time // zero if the container did not run, or if the time is not known
	duration  time.Duration
	exitCode  *int32 // nil if the kubelet did not report one
	message   string // the termination message, which may contain secrets
}

func (r run) succeeded() bool { return r.started && r.exitCode != nil && *r.exitCode == 0 }

// readRun reads what the kubelet reports about the program, and the start time in status.
func readRun(pod *corev1.Pod, attempt *v1alpha1.SessionAttempt, now time.Time) run {
	ran := run{}
	if attempt.StartTime != nil {
		ran.started, ran.startTime = true, attempt.StartTime.Time
	}
	program := Program(pod)
	var terminated *corev1.ContainerStateTerminated
	if program != nil {
		terminated = program.State.Terminated
		if terminated == nil {
			terminated = program.LastTerminationState.Terminated
		}
	}
	switch {
	case terminated != nil:
		ran = ran.terminated(terminated)
	case program != nil && program.State.Running != nil:
		ran.started, ran.startTime = true, program.State.Running.StartedAt.Time
	}
	if ran.started && ran.endTime.IsZero() && !ran.startTime.IsZero() { // such as on a lost node: the program may have run until then
		until := earlier(disruptedAt(pod), now)
		if pod.DeletionTimestamp != nil {
			until = earlier(until, pod.DeletionTimestamp.Time)
		}
		ran.duration = max(until.Sub(ran.startTime), 0)
	}
	return ran
}

// terminated returns the run with what a terminated state reports. A container that could not be started has a terminated state without a
// start time, and so has one with ContainerStatusUnknown: then the start time in status applies.
func (r run) terminated(state *corev1.ContainerStateTerminated) run {
	r.exitCode, r.message, r.endTime = new(state.ExitCode), state.Message, state.FinishedAt.Time
	if hasStartTime(state) {
		r.started, r.startTime = true, state.StartedAt.Time
	}
	if state.Reason == statusUnknown { // it ran, even if the start was not observed
		r.started = true
	}
	if r.started && state.FinishedAt.After(r.startTime) {
		r.duration = state.FinishedAt.Sub(r.startTime)
	}
	return r
}

func hasStartTime(state *corev1.ContainerStateTerminated) bool {
	return !state.StartedAt.IsZero() && state.StartedAt.Unix() > 0
}

// neverRan reports whether it is certain that the program of an ended pod did not run. Only the kubelet's report is proof:
//
//  1. A node pulls an image, and status shows the container as waiting.
//  2. The node is lost. It starts the container, and the program starts a Reactor session. No status arrives.
//  3. The Node object is deleted. The control plane ends the pod in place of the kubelet, and status still shows the container as waiting.
//
// ContainerStatusUnknown is not proof: the kubelet writes it for containers that it does not find anymore, whether they ran or not.
func neverRan(pod *corev1.Pod) bool {
	program := Program(pod)
	switch {
	case pod.Spec.NodeName == "": // the pod was never assigned to a kubelet
		return true
	case program != nil && program.State.Terminated != nil:
		return program.State.Terminated.Reason != statusUnknown && !hasStartTime(program.State.Terminated)
	default: // the kubelet refused the pod, or ended it before it could start the program
		return hasEndedPhase(pod) && !endedByControlPlane(pod)
	}
}

// Program returns the status of the container that is the session's program; nil before the kubelet reports one.
func Program(pod *corev1.Pod) *corev1.ContainerStatus {
	for i := range pod.Status.ContainerStatuses {
		if pod.Status.ContainerStatuses[i].Name == pod.Annotations[ContainerAnnotation] {
			return &pod.Status.ContainerStatuses[i]
		}
	}
	return nil
}

// terminatedAs reports whether the program has terminated with a reason of the kubelet.
func terminatedAs(pod *corev1.Pod, reason string) bool {
	program := Program(pod)
	return program != nil && program.State.Terminated != nil && program.State.Terminated.Reason == reason
}

// HasEnded reports whether no container of the pod runs or will run.
func HasEnded(pod *corev1.Pod) bool {
	if hasEndedPhase(pod) {
		return true
	}
	if pod.DeletionTimestamp == nil {
		return false
	}
	if pod.Spec.NodeName == "" { // the scheduler does not bind a pod that is being deleted
		return true
	}
	return len(pod.Status.ContainerStatuses) > 0 && !HasOpenContainer(pod)
}

func hasEndedPhase(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// HasOpenContainer reports whether the pod has a container that has not ended. The kubelet ends native sidecars itself; they are not counted.
func HasOpenContainer(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(status corev1.ContainerStatus) bool { return status.State.Terminated == nil })
}
