package reactorsession

import (
	"slices"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// decideNextAttempt is what follows an attempt that has ended, from the status that already counts it. usedUp tells that it was stopped because the
// session's time was.
func decideNextAttempt(
	session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, ended *v1alpha1.EndedAttempt, usedUp bool,
) (show *readyCondition, condition string, wait time.Duration) {
	clean := ended.Cleanup != v1alpha1.CleanupUnverified && ended.Class != v1alpha1.ClassFailed
	policy := session.Spec.RestartPolicy
	switch {
	case ended.Class == v1alpha1.ClassSucceeded && policy != v1alpha1.RestartAlways:
		return &readyCondition{ready: true, reason: v1alpha1.ReasonCompleted, message: "the program has ended with exit code 0"}, v1alpha1.ConditionComplete, 0
	case usedUp, durationReached(&session.Spec, status), stoppedForDuration(session, status, ended):
		return durationDone(session), v1alpha1.ConditionComplete, 0
	case ended.Class == v1alpha1.ClassSucceeded:
		return nil, "", backoff(1, clean)
	case ended.Class == v1alpha1.ClassStopped:
		return nil, "", restartBackoff(status.RecentAttempts)
	case ended.Class == v1alpha1.ClassKeyRefused:
		return nil, "", 0
	case ended.Class == v1alpha1.ClassIgnored && refusedWait(status.RecentAttempts) > 0:
		return nil, "", max(refusedWait(status.RecentAttempts), backoff(1, clean))
	case ended.Class == v1alpha1.ClassIgnored:
		return nil, "", backoff(status.IgnoredFailures, clean)
	case policy != v1alpha1.RestartAlways && status.Failures > session.Spec.EffectiveBackoffLimit():
		return &readyCondition{reason: v1alpha1.ReasonBackoffLimitExceeded, stalled: true, message: lastAttempt(status)}, v1alpha1.ConditionFailed, 0
	default:
		return nil, "", backoff(status.Failures, clean)
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
	return backoff(int32(min(stops, maxRecent)-1), true)
}

// stoppedForDuration reports whether the attempt was stopped because the session's time was used up, to the second: what a container ran is
// told in whole ones. Where time was added since it began, or the limit taken away, the kubelet ended the pod at the limit of before, and the
// next attempt follows.
func stoppedForDuration(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, ended *v1alpha1.EndedAttempt) bool {
	const rounding = 5 * time.Second
	return ended.Class == v1alpha1.ClassStopped && ended.Reason == outcome.StopDuration &&
		session.Spec.MaxDuration.Std() > 0 && remaining(&session.Spec, status) <= rounding
}

// stoppedInTime reports whether the operator has stopped the current attempt for the session's time, and by the operator's clock that is
// used up. What the attempt ran is told by its node's clock: by one that is behind there would be time left, and it would be spent in
// attempts that are stopped as they begin. Where time was added meanwhile, it is not used up.
func stoppedInTime(session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, now time.Time) bool {
	attempt, left := status.CurrentAttempt, remaining(&session.Spec, status)
	return attempt.StopReason == outcome.StopDuration && attempt.StartTime != nil && left > 0 && !now.Before(attempt.StartTime.Add(left))
}

const (
	// unpaidWait is how long to wait after a refusal that lasts until a person pays; unpaidCap is the wait after several in a row.
	unpaidWait, unpaidCap = 15 * time.Minute, time.Hour
	// shortageCap is the longest wait for a model that has no free server: Reactor's own client tries every six seconds.
	shortageCap = time.Minute
)

// refusedWait is how long to wait after the attempt that ended last, which Reactor refused something for a reason that is no failure: nobody
// paid, or the model has no free server. 0 if it ended in another way.
func refusedWait(recent []v1alpha1.EndedAttempt) time.Duration {
	reason := recent[0].Reason
	inARow := slices.IndexFunc(recent, func(ended v1alpha1.EndedAttempt) bool { return ended.Reason != reason })
	if inARow < 0 {
		inARow = len(recent)
	}
	switch {
	case outcome.IsUnpaid(reason) && inARow < maxRecent:
		return unpaidWait
	case outcome.IsUnpaid(reason):
		return unpaidCap
	case reason == outcome.ReasonNoModelCapacity:
		return min(backoffBase<<min(inARow-1, 8), shortageCap)
	default:
		return 0
	}
}
