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

	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// attempts is how many attempts were begun. It is written before the pod of an
	// attempt exists.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Attempts int32 `json:"attempts,omitempty"`

	// currentAttempt is the attempt that was begun and has not ended.
	// +optional
	CurrentAttempt *SessionAttempt `json:"currentAttempt,omitempty"`

	// recentAttempts are the last attempts that ended, the latest first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=5
	RecentAttempts []EndedAttempt `json:"recentAttempts,omitempty"`

	// countedFailures is how many attempts failed by the program's fault since the
	// last success.
	// +optional
	// +kubebuilder:validation:Minimum=0
	CountedFailures int32 `json:"countedFailures,omitempty"`

	// uncountedFailures is how many attempts in a row ended by no fault of the
	// program's. Attempts that Reactor refused because the account is not paid, or
	// because the model has no free server, are not among them.
	// +optional
	// +kubebuilder:validation:Minimum=0
	UncountedFailures int32 `json:"uncountedFailures,omitempty"`

	// runningSeconds is how long the container ran in all attempts that ended.
	// +optional
	// +kubebuilder:validation:Minimum=0
	RunningSeconds int64 `json:"runningSeconds,omitempty"`

	// nextAttemptTime is when the next attempt begins, by the operator's clock;
	// absent unless the session is backing off.
	// +optional
	NextAttemptTime *metav1.Time `json:"nextAttemptTime,omitempty"`

	// finishedTime is when the session completed or failed.
	// +optional
	FinishedTime *metav1.Time `json:"finishedTime,omitempty"`
}

// SessionAttempt is an attempt that was begun.
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
	// finds at its start. A token in its Secret that was issued at another time is a
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

	// startTime is when the container began to run.
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

	// class says whose matter the end was: Succeeded, Stopped (by the operator),
	// Counted (the program failed), Uncounted (something else did), or Hold (the
	// API key was refused).
	// +required
	Class AttemptClass `json:"class,omitempty"`

	// reason is the cause in one word, such as ExitCode, OOMKilled or Evicted.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// exitCode is the container's exit code; absent when it never ended by itself.
	// +optional
	ExitCode *int32 `json:"exitCode,omitempty"`

	// message is what is known beyond that, without secrets.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`

	// runningSeconds is how long the container ran.
	// +optional
	// +kubebuilder:validation:Minimum=0
	RunningSeconds int64 `json:"runningSeconds,omitempty"`

	// cleanup says what became of the Reactor session: NotNeeded, AlreadyOver,
	// Ended (by the operator), or Unverified.
	// +optional
	Cleanup CleanupResult `json:"cleanup,omitempty"`

	// keyFingerprint identifies the API key of the attempt, without revealing it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	KeyFingerprint string `json:"keyFingerprint,omitempty"`
}

// AttemptClass says whose matter the end of an attempt was.
//
// +kubebuilder:validation:Enum=Succeeded;Stopped;Counted;Uncounted;Hold
type AttemptClass string

// The classes of ended attempts.
const (
	// ClassSucceeded: the program ended with exit code 0.
	ClassSucceeded AttemptClass = "Succeeded"
	// ClassStopped: the operator stopped it, for spec.suspend or spec.maxDuration.
	ClassStopped AttemptClass = "Stopped"
	// ClassCounted: the program failed.
	ClassCounted AttemptClass = "Counted"
	// ClassUncounted: it never started, its node failed it, or Reactor did.
	ClassUncounted AttemptClass = "Uncounted"
	// ClassHold: the API key was refused; the next attempt waits for another one.
	ClassHold AttemptClass = "Hold"
)

// CleanupResult says what became of the Reactor session of an attempt.
//
// +kubebuilder:validation:Enum=NotNeeded;AlreadyOver;Ended;Unverified
type CleanupResult string

// The results of a clean-up.
const (
	// CleanupNotNeeded: the program never ran, or reported that Reactor refused it a session.
	CleanupNotNeeded CleanupResult = "NotNeeded"
	// CleanupAlreadyOver: the program had ended its session.
	CleanupAlreadyOver CleanupResult = "AlreadyOver"
	// CleanupEnded: the operator ended the session that the program left open.
	CleanupEnded CleanupResult = "Ended"
	// CleanupUnverified: whether a session is left open is not known; Reactor ends it when the attempt's token says so.
	CleanupUnverified CleanupResult = "Unverified"
)

// Condition types of a ReactorSession, beside Ready and Stalled.
const (
	// ConditionTokenReady is True while the current attempt has its credential.
	ConditionTokenReady = "TokenReady"
	// ConditionSuspended is True while spec.suspend is true and nothing runs.
	ConditionSuspended = "Suspended"
	// ConditionComplete is True when the session has done what was asked for.
	ConditionComplete = "Complete"
	// ConditionFailed is True when the program failed more often than backoffLimit allows.
	ConditionFailed = "Failed"
)

// Reasons of the condition Ready of a ReactorSession.
const (
	// ReasonRunning (True): the container runs.
	ReasonRunning = "Running"
	// ReasonCompleted (True): the program has ended with exit code 0.
	ReasonCompleted = "Completed"
	// ReasonDurationReached (True): the session has run for as long as spec.maxDuration says.
	ReasonDurationReached = "DurationReached"
	// ReasonWaitingForToken: the attempt's token is on its way, or cannot be had; TokenReady says why.
	ReasonWaitingForToken = "WaitingForToken"
	// ReasonWaitingForCapacity: as many sessions run with this API key, or were started in the last minute, as the
	// installation allows (--sessions-per-key, --session-starts-per-minute), or as many sessions of this namespace as a quota of Reactor
	// allows until its limit is raised again. The oldest goes first.
	ReasonWaitingForCapacity = "WaitingForCapacity"
	// ReasonSchedulingGated: scheduling gates hold the pod back from the scheduler, as in a queue of Kueue. The session holds no slot
	// and has no token until other clients have removed theirs; then the operator removes its own gate, reactor.inc/token.
	ReasonSchedulingGated = "SchedulingGated"
	// ReasonStarting: the pod exists, and its container does not run yet.
	ReasonStarting = "Starting"
	// ReasonStopping: the attempt has ended or is being stopped, and its Reactor session is seen to.
	ReasonStopping = "Stopping"
	// ReasonBackingOff: an attempt failed; the next one begins at status.nextAttemptTime.
	ReasonBackingOff = "BackingOff"
	// ReasonCreditsDepleted: Reactor refused the last attempt a session (402), because the credits of the account are depleted. The operator
	// tries again at status.nextAttemptTime: four times every 15 minutes, then every hour.
	ReasonCreditsDepleted = "CreditsDepleted"
	// ReasonBillingNotSetUp: as ReasonCreditsDepleted, because the account has no billing.
	ReasonBillingNotSetUp = "BillingNotSetUp"
	// ReasonNodeUnreachable: the pod is to end and does not, as on a node that is lost. It is never deleted by force: the next
	// attempt waits until the node is back, gone, or tainted out-of-service.
	ReasonNodeUnreachable = "NodeUnreachable"
	// ReasonPodsConflict: more than one pod of this session lives. Nothing is done until one of them is gone.
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
