package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ReactorSessionStatus is what the operator observed.
type ReactorSessionStatus struct {
	// conditions are TokenReady, Ready, Suspended, Complete, Failed, and Stalled
	// while a person must act.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// attempts is how many attempts were started. It is written before the pod of an
	// attempt exists.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Attempts int32 `json:"attempts,omitempty"`

	// currentAttempt is the attempt that was started and has not ended.
	// +optional
	CurrentAttempt *SessionAttempt `json:"currentAttempt,omitempty"`

	// recentAttempts are the last attempts that ended, the latest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=5
	RecentAttempts []EndedAttempt `json:"recentAttempts,omitempty"`

	// failures is how many attempts of the class Failed ended since the last
	// success. They count toward backoffLimit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Failures int32 `json:"failures,omitempty"`

	// ignoredFailures is how many attempts in a row ended with the class Ignored.
	// They do not count toward backoffLimit. Attempts that Reactor refused because
	// the account is not paid, or because the model has no free server, are not
	// included.
	// +optional
	// +kubebuilder:validation:Minimum=0
	IgnoredFailures int32 `json:"ignoredFailures,omitempty"`

	// runningSeconds is how long the container ran in all attempts that ended.
	// +optional
	// +kubebuilder:validation:Minimum=0
	RunningSeconds int64 `json:"runningSeconds,omitempty"`

	// nextAttemptTime is when the next attempt starts, by the operator's clock;
	// absent unless the session is backing off.
	// +optional
	NextAttemptTime *metav1.Time `json:"nextAttemptTime,omitempty"`

	// finishedTime is when the session completed or failed.
	// +optional
	FinishedTime *metav1.Time `json:"finishedTime,omitempty"`
}

// SessionAttempt is an attempt that was started.
type SessionAttempt struct {
	// number counts from 1.
	// +required
	// +kubebuilder:validation:Minimum=1
	Number int32 `json:"number,omitempty"`

	// podName is the name of the attempt's pod, which may not exist yet.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	PodName string `json:"podName,omitempty"`

	// podUID is the UID of the attempt's pod, once it exists and the operator's own
	// scheduling gate, reactor.inc/token, does not hold it back.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	PodUID string `json:"podUID,omitempty"`

	// tokenName is the ReactorToken of the attempt; absent under APIKeyEnv.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	TokenName string `json:"tokenName,omitempty"`

	// tokenIssuedTime is when Reactor issued the token that the attempt's container
	// gets at its start. A token in its Secret that was issued at another time is a
	// renewed one. Absent before the pod exists, while scheduling gates hold it
	// back, and under APIKeyEnv.
	// +optional
	TokenIssuedTime *metav1.Time `json:"tokenIssuedTime,omitempty"`

	// keyFingerprint identifies the API key of the attempt, without revealing it: the
	// one in the Secret until the pod exists and no scheduling gate holds it back,
	// then the one at that time.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	KeyFingerprint string `json:"keyFingerprint,omitempty"`

	// requestHash identifies what the attempt requests for its token: the API key's
	// Secret, the lifetime and the scope. An attempt that has no pod yet, or whose pod
	// the operator's own scheduling gate holds back, ends when the spec requests
	// something else. Absent under APIKeyEnv.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	RequestHash string `json:"requestHash,omitempty"`

	// startTime is when the container started to run.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// sessionID is the Reactor session that the program reported last.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	SessionID string `json:"sessionID,omitempty"`

	// stopReason is why the operator stops the attempt; absent while it does not.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	StopReason string `json:"stopReason,omitempty"`
}

// EndedAttempt is an attempt that has ended.
type EndedAttempt struct {
	// number counts from 1.
	// +required
	// +kubebuilder:validation:Minimum=1
	Number int32 `json:"number,omitempty"`

	// class says how the attempt ended: Succeeded, Stopped (by the operator), Failed
	// (the program failed; counts toward backoffLimit), Ignored (the program is not
	// the cause; does not count), or KeyRefused (Reactor refused the API key).
	// +required
	Class AttemptClass `json:"class,omitempty"`

	// reason is the cause in one word, such as ExitCode, OOMKilled or Evicted.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// exitCode is the container's exit code; absent if the kubelet did not report one.
	// +optional
	ExitCode *int32 `json:"exitCode,omitempty"`

	// message describes the end of the attempt in more detail, without secrets.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`

	// runningSeconds is how long the container ran.
	// +optional
	// +kubebuilder:validation:Minimum=0
	RunningSeconds int64 `json:"runningSeconds,omitempty"`

	// cleanup is the result of the cleanup of the Reactor session: NotNeeded,
	// AlreadyOver, Ended (by the operator), or Unverified.
	// +optional
	Cleanup CleanupResult `json:"cleanup,omitempty"`

	// keyFingerprint identifies the API key of the attempt, without revealing it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	KeyFingerprint string `json:"keyFingerprint,omitempty"`
}

// AttemptClass says how an attempt ended, and whether it counts toward backoffLimit.
//
// +kubebuilder:validation:Enum=Succeeded;Stopped;Failed;Ignored;KeyRefused
type AttemptClass string

// The classes of ended attempts.
const (
	// ClassSucceeded: the program ended with exit code 0.
	ClassSucceeded AttemptClass = "Succeeded"
	// ClassStopped: the operator stopped it, for example for spec.suspend or spec.maxDuration.
	ClassStopped AttemptClass = "Stopped"
	// ClassFailed: the program failed. The attempt counts toward backoffLimit.
	ClassFailed AttemptClass = "Failed"
	// ClassIgnored: the program is not the cause: it never started, or its node or Reactor failed. The attempt does not count toward
	// backoffLimit.
	ClassIgnored AttemptClass = "Ignored"
	// ClassKeyRefused: Reactor refused the API key. The next attempt waits for another key.
	ClassKeyRefused AttemptClass = "KeyRefused"
)

// CleanupResult is the result of the cleanup of the Reactor session of an attempt.
//
// +kubebuilder:validation:Enum=NotNeeded;AlreadyOver;Ended;Unverified
type CleanupResult string

// The results of a cleanup.
const (
	// CleanupNotNeeded: the program never ran, or reported that Reactor refused it a session.
	CleanupNotNeeded CleanupResult = "NotNeeded"
	// CleanupAlreadyOver: the program had ended its session.
	CleanupAlreadyOver CleanupResult = "AlreadyOver"
	// CleanupEnded: the operator ended the session that the program left open.
	CleanupEnded CleanupResult = "Ended"
	// CleanupUnverified: the operator does not know whether a session is still open. Reactor ends it when the session time of the attempt's token ends.
	CleanupUnverified CleanupResult = "Unverified"
)

// Condition types of a ReactorSession, in addition to Ready and Stalled.
const (
	// ConditionTokenReady is True while the current attempt has its credential.
	ConditionTokenReady = "TokenReady"
	// ConditionSuspended is True while spec.suspend is true and nothing runs.
	ConditionSuspended = "Suspended"
	// ConditionComplete is True when the program completed, or spec.maxDuration was reached.
	ConditionComplete = "Complete"
	// ConditionFailed is True when the program failed more often than backoffLimit allows.
	ConditionFailed = "Failed"
)

// Reasons of the condition Ready of a ReactorSession.
const (
	// ReasonRunning (True): the container runs.
	ReasonRunning = "Running"
	// ReasonCompleted (True): the program ended with exit code 0.
	ReasonCompleted = "Completed"
	// ReasonDurationReached (True): the session ran for spec.maxDuration.
	ReasonDurationReached = "DurationReached"
	// ReasonWaitingForToken: the operator is requesting the attempt's token, or could not obtain it; TokenReady says why.
	ReasonWaitingForToken = "WaitingForToken"
	// ReasonWaitingForCapacity: the number of sessions that run with this API key, or that were started in the last minute, is the maximum of the
	// installation (--sessions-per-key, --session-starts-per-minute), or the namespace runs as many sessions as a quota of Reactor allows until
	// its limit is raised again. The oldest session goes first.
	ReasonWaitingForCapacity = "WaitingForCapacity"
	// ReasonSchedulingGated: scheduling gates hold the pod back from the scheduler, as in a queue of Kueue. The session holds no slot
	// and has no token until other clients have removed theirs; then the operator removes its own gate, reactor.inc/token.
	ReasonSchedulingGated = "SchedulingGated"
	// ReasonStarting: the pod exists, and its container does not run yet.
	ReasonStarting = "Starting"
	// ReasonStopping: the attempt is being stopped, or it ended and the operator is cleaning up its Reactor session.
	ReasonStopping = "Stopping"
	// ReasonBackingOff: an attempt failed; the next one starts at status.nextAttemptTime.
	ReasonBackingOff = "BackingOff"
	// ReasonCreditsDepleted: Reactor refused the last attempt a session (402), because the credits of the account are depleted. The operator
	// tries again at status.nextAttemptTime: four times every 15 minutes, then every hour.
	ReasonCreditsDepleted = "CreditsDepleted"
	// ReasonBillingNotSetUp: as ReasonCreditsDepleted, because the account has no billing.
	ReasonBillingNotSetUp = "BillingNotSetUp"
	// ReasonNodeUnreachable: the pod should end and does not, as on a node that is lost. The operator never deletes it by force: the next
	// attempt waits until the node is ready again, is deleted, or is tainted out-of-service.
	ReasonNodeUnreachable = "NodeUnreachable"
	// ReasonPodsConflict: more than one pod of this session exists. The operator changes nothing until at most one remains.
	ReasonPodsConflict = "PodsConflict"
	// ReasonTokenConflict: a ReactorToken that the session does not control has the name of the token of its current attempt. The
	// operator continues when that ReactorToken is deleted.
	ReasonTokenConflict = "TokenConflict"
	// ReasonInvalidTemplate: spec.template cannot be run as a session.
	ReasonInvalidTemplate = "InvalidTemplate"
	// ReasonPodRefused: the API server refuses the pod (a quota, Pod Security, an admission policy).
	ReasonPodRefused = "PodRefused"
	// ReasonWriteRefused: the API server, an admission policy or a webhook refuses a write that the session needs, such as the
	// removal of the operator's finalizer from a pod that has ended. The operator retries at least once a minute.
	ReasonWriteRefused = "WriteRefused"
	// ReasonBackoffLimitExceeded (False, Failed): the program failed too often.
	ReasonBackoffLimitExceeded = "BackoffLimitExceeded"
)

// Reasons of the other conditions of a ReactorSession.
const (
	// ReasonNotSuspended (Suspended=False): spec.suspend is false, or the session has not stopped yet.
	ReasonNotSuspended = "NotSuspended"
	// ReasonAPIKeyFound (TokenReady=True): under APIKeyEnv, the program gets the API key itself.
	ReasonAPIKeyFound = "APIKeyFound"
	// ReasonTokenDeleted (TokenReady=False): the ReactorToken of an attempt that has a pod does not exist any more. The program keeps the token
	// that it has read.
	ReasonTokenDeleted = "TokenDeleted"
)

// Reasons of events about a ReactorSession that are not reasons of its condition Ready.
const (
	// ReasonAttemptEnded: an attempt ended; the note says how. The end of the last attempt is part of the event that reports the end of the
	// session.
	ReasonAttemptEnded = "AttemptEnded"
	// ReasonCleanupUnverified (Warning): the operator does not know whether an attempt left a Reactor session open; the note says why.
	ReasonCleanupUnverified = "CleanupUnverified"
	// ReasonPodLeftBehind (Warning): a session that is being deleted no longer waits for the operator's finalizer to be removed from its pod,
	// because the API server refuses that. The operator keeps trying.
	ReasonPodLeftBehind = "PodLeftBehind"
)
