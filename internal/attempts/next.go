package attempts

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

const (
	backoffBase = 10 * time.Second
	backoffCap  = 5 * time.Minute
	// uncleanFloor is the minimum wait after an attempt whose Reactor session may still be open: it uses one of the account's slots.
	uncleanFloor = 30 * time.Second
	// steadyRun is how long an attempt must run before waits start small again, as those of a kubelet do.
	steadyRun = 10 * time.Minute
)

// MaxRecent is how many attempts that ended are kept in status.
const MaxRecent = 5

// Next is what follows an attempt that ended.
type Next struct {
	Condition string        // Complete or Failed if the session is finished; empty if another attempt follows
	Reason    string        // of that condition
	Wait      time.Duration // until the next attempt; 0: it follows immediately
}

// Record records the outcome of the current attempt in a status, and returns what follows.
func Record(status *v1alpha1.ReactorSessionStatus, session *v1alpha1.ReactorSession, ended *v1alpha1.EndedAttempt, now time.Time) Next {
	usedUp := stoppedInTime(session, status, now)
	status.CurrentAttempt = nil
	status.RunningSeconds += ended.RunningSeconds
	status.RecentAttempts = slices.Insert(status.RecentAttempts, 0, *ended)
	status.RecentAttempts = status.RecentAttempts[:min(len(status.RecentAttempts), MaxRecent)]
	if ended.RunningSeconds >= int64(steadyRun/time.Second) { // earlier failures do not count anymore
		status.IgnoredFailures = 0
		if session.Spec.RestartPolicy == v1alpha1.RestartAlways { // it has no limit of failures
			status.Failures = 0
		}
	}
	switch ended.Class {
	case v1alpha1.ClassSucceeded:
		status.Failures, status.IgnoredFailures = 0, 0
	case v1alpha1.ClassFailed:
		status.Failures++
		status.IgnoredFailures = 0
	case v1alpha1.ClassIgnored:
		if refusedWait(status.RecentAttempts) == 0 { // a refusal has a wait of its own, and is no failure
			status.IgnoredFailures++
		}
	case v1alpha1.ClassStopped, v1alpha1.ClassKeyRefused:
	}
	return decideNextAttempt(session, status, ended, usedUp)
}

// decideNextAttempt returns what follows an attempt that ended, from the status that counts it already. usedUp says that it was stopped because
// the time of the session was over.
func decideNextAttempt(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, ended *v1alpha1.EndedAttempt, usedUp bool) Next {
	clean := ended.Cleanup != v1alpha1.CleanupUnverified && ended.Class != v1alpha1.ClassFailed
	policy := session.Spec.RestartPolicy
	switch {
	case ended.Class == v1alpha1.ClassSucceeded && policy != v1alpha1.RestartAlways:
		return Next{Condition: v1alpha1.ConditionComplete, Reason: v1alpha1.ReasonCompleted}
	case usedUp, DurationReached(&session.Spec, status), stoppedForDuration(session, status, ended):
		return Next{Condition: v1alpha1.ConditionComplete, Reason: v1alpha1.ReasonDurationReached}
	case ended.Class == v1alpha1.ClassSucceeded:
		return Next{Wait: Backoff(1, clean)}
	case ended.Class == v1alpha1.ClassStopped:
		return Next{Wait: restartBackoff(status.RecentAttempts)}
	case ended.Class == v1alpha1.ClassKeyRefused:
		return Next{}
	case ended.Class == v1alpha1.ClassIgnored && refusedWait(status.RecentAttempts) > 0:
		return Next{Wait: max(refusedWait(status.RecentAttempts), Backoff(1, clean))}
	case ended.Class == v1alpha1.ClassIgnored:
		return Next{Wait: Backoff(status.IgnoredFailures, clean)}
	case policy != v1alpha1.RestartAlways && status.Failures > session.Spec.EffectiveBackoffLimit():
		return Next{Condition: v1alpha1.ConditionFailed, Reason: v1alpha1.ReasonBackoffLimitExceeded}
	default:
		return Next{Wait: Backoff(status.Failures, clean)}
	}
}

// restartBackoff is how long to wait after attempts that were stopped before they had a pod, the latest first. The next one after a single
// stop follows immediately. More of them in a row are something that keeps changing the session, and each costs a token.
func restartBackoff(recent []v1alpha1.EndedAttempt) time.Duration {
	stops := slices.IndexFunc(recent, func(ended v1alpha1.EndedAttempt) bool {
		return ended.Class != v1alpha1.ClassStopped || ended.Cleanup != v1alpha1.CleanupNotNeeded
	})
	if stops < 0 {
		stops = len(recent)
	}
	if stops < 2 {
		return 0
	}
	return Backoff(int32(min(stops, MaxRecent)-1), true)
}

// stoppedForDuration reports whether the attempt was stopped because the session's time was used up. The times of a container are whole seconds.
// If a user has raised or removed the limit since the attempt started, the kubelet ended the pod at the earlier limit, and the next attempt follows.
func stoppedForDuration(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, ended *v1alpha1.EndedAttempt) bool {
	const rounding = 5 * time.Second
	return ended.Class == v1alpha1.ClassStopped && ended.Reason == outcome.StopDuration &&
		session.Spec.MaxDuration.Std() > 0 && Remaining(&session.Spec, status) <= rounding
}

// stoppedInTime reports whether the operator has stopped the current attempt because the session's time was used up, and by the operator's clock it
// is. How long the attempt ran is measured by its node's clock. By a clock that is behind, there would be time left, and it would be spent in
// attempts that are stopped when they start. If a user has raised the limit meanwhile, the time is not used up.
func stoppedInTime(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, now time.Time) bool {
	attempt, left := status.CurrentAttempt, Remaining(&session.Spec, status)
	return attempt.StopReason == outcome.StopDuration && attempt.StartTime != nil && left > 0 && !now.Before(attempt.StartTime.Add(left))
}

const (
	// unpaidWait is how long to wait after a refusal that lasts until a user pays; unpaidCap is the wait after several in a row.
	unpaidWait, unpaidCap = 15 * time.Minute, time.Hour
	// shortageCap is the longest wait for a model that has no free server: Reactor's own client tries every six seconds.
	shortageCap = time.Minute
)

// refusedWait is how long to wait after the attempt that ended last, if Reactor refused it a session for a reason that is not a failure of the
// program: the account is not paid, or the model has no free server. 0 if it ended in another way.
func refusedWait(recent []v1alpha1.EndedAttempt) time.Duration {
	reason := recent[0].Reason
	inARow := slices.IndexFunc(recent, func(ended v1alpha1.EndedAttempt) bool { return ended.Reason != reason })
	if inARow < 0 {
		inARow = len(recent)
	}
	switch {
	case outcome.IsUnpaid(reason) && inARow < MaxRecent:
		return unpaidWait
	case outcome.IsUnpaid(reason):
		return unpaidCap
	case reason == outcome.ReasonNoModelCapacity:
		return min(backoffBase<<min(inARow-1, 8), shortageCap)
	default:
		return 0
	}
}

// Backoff is how long to wait after a number of failures in a row (at least 1), with a minimum if the Reactor session may still be open.
func Backoff(failures int32, clean bool) time.Duration {
	wait := min(backoffBase<<min(max(failures-1, 0), 10), backoffCap)
	if !clean {
		wait = max(wait, uncleanFloor)
	}
	return wait
}

// MaxBackoff is longer than any wait for the next attempt: a later time was set by a clock that was wrong.
func MaxBackoff(status *v1alpha1.ReactorSessionStatus) time.Duration {
	if recent := status.RecentAttempts; len(recent) > 0 && outcome.IsUnpaid(recent[0].Reason) {
		return unpaidCap + time.Second
	}
	return backoffCap + time.Second
}

// IsFinished reports whether a session makes no further attempt.
func IsFinished(status *v1alpha1.ReactorSessionStatus) bool {
	return meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionComplete) || meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionFailed)
}
