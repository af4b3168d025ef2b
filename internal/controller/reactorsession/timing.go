package reactorsession

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

const (
	// defaultGrace is the grace period of a pod that names none.
	defaultGrace = 30 * time.Second
	// tokenMargin is what a token lives longer than its attempt can: for the clean-up after it.
	tokenMargin = 5 * time.Minute
	// durationMargin is how much longer Reactor lets a session live than the operator does: the outer bound of what it may cost
	// when everything else has failed.
	durationMargin = 5 * time.Minute
	// maxSession is the longest max_session_duration_seconds that Reactor takes.
	maxSession = 24 * time.Hour
	// tokenAllowance is how old a token may be when the pod is created that uses it. A slot that is lost in between, a pod that the API server
	// refuses for a while, and the reconciles of many sessions that start at the same time take as long.
	tokenAllowance = 10 * time.Minute
	// slotBound is how long a session holds a slot while its token is requested.
	slotBound = 2 * time.Minute
	// minLife is the shortest lifetime of a token.
	minLife = time.Minute

	backoffBase = 10 * time.Second
	backoffCap  = 5 * time.Minute
	// uncleanFloor is the least wait after an attempt whose Reactor session may still be open: it holds one of the account's slots.
	uncleanFloor = 30 * time.Second

	// steadyRun is a run after which waits begin small again, as a kubelet's do.
	steadyRun = 10 * time.Minute

	// cleanupBound is how long the operator tries to see to the Reactor sessions of a pod that has ended, from its first try.
	cleanupBound = 5 * time.Minute
	// unreachableAfter is how long after its grace period a pod may take to end before its node counts as lost.
	unreachableAfter = time.Minute
	// deletionBound is how long a session that is being deleted waits for a pod that does not end.
	deletionBound = 10 * time.Minute
)

// remaining is how long the session may still run; 0 for ever. A session that has used up its time has at least a second left, since
// 0 stands for none: see durationReached.
func remaining(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) time.Duration {
	limit := spec.MaxDuration.Std()
	if limit == 0 {
		return 0
	}
	return max(limit-time.Duration(status.RunningSeconds)*time.Second, time.Second)
}

// durationReached reports whether the attempts that ended have used the session's time up.
func durationReached(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) bool {
	limit := spec.MaxDuration.Std()
	return limit > 0 && time.Duration(status.RunningSeconds)*time.Second >= limit
}

func graceOf(template *corev1.PodTemplateSpec) time.Duration {
	if seconds := template.Spec.TerminationGracePeriodSeconds; seconds != nil {
		return time.Duration(*seconds) * time.Second
	}
	return defaultGrace
}

// attemptNeeds is how long the token of an attempt must live when its pod is created; 0 when there is no such time, because the
// session has no limit.
func attemptNeeds(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) time.Duration {
	left := remaining(spec, status)
	if left == 0 {
		return 0
	}
	return left + spec.EffectiveStartDeadline() + graceOf(&spec.Template) + tokenMargin
}

// outlives reports whether a token of the granted lifetime, just renewed, lasts for a whole attempt. Such a token is not renewed while
// the attempt runs: a renewed one is a new grant, without power over the session that its predecessor started.
func outlives(granted, needs time.Duration) bool { return needs > 0 && needs <= granted }

// minLeft is what a token must have left when the pod is created that uses it. One that is renewed while the attempt runs needs half of its
// life. Any other needs to last for the attempt, but may be as old as tokenAllowance: Reactor may have granted less than was requested.
func minLeft(granted, needs time.Duration) time.Duration {
	if !outlives(granted, needs) {
		return granted / 2
	}
	return min(needs, max(granted/2, granted-tokenAllowance))
}

// backoff is how long to wait after so many failures in a row (at least 1), with a floor when the Reactor session may still be open.
func backoff(failures int32, clean bool) time.Duration {
	wait := min(backoffBase<<min(max(failures-1, 0), 10), backoffCap)
	if !clean {
		wait = max(wait, uncleanFloor)
	}
	return wait
}

// maxBackoff is longer than any wait for the next attempt: a time beyond it was set by a clock that was wrong.
func maxBackoff(status *v1alpha1.ReactorSessionStatus) time.Duration {
	if recent := status.RecentAttempts; len(recent) > 0 && outcome.IsUnpaid(recent[0].Reason) {
		return unpaidCap + time.Second
	}
	return backoffCap + time.Second
}

// releaseBound is when a session that is being deleted is let go of, whatever has become of its pod; zero when it is not being deleted. It
// counts from the pod's deletion too: the operator may have been away when the session's was asked for. A pod's deletion timestamp includes
// its grace period.
func releaseBound(session *v1alpha1.ReactorSession, pod *corev1.Pod) time.Time {
	if session.DeletionTimestamp == nil {
		return time.Time{}
	}
	bound := session.DeletionTimestamp.Add(deletionBound + graceOf(&session.Spec.Template))
	if pod.DeletionTimestamp != nil {
		bound = later(bound, pod.DeletionTimestamp.Add(deletionBound))
	}
	return bound
}

// expiry is when a session that has finished is to be deleted; zero for never.
func expiry(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) time.Time {
	if spec.TTLAfterFinished == "" || status.FinishedTime == nil {
		return time.Time{}
	}
	return status.FinishedTime.Add(spec.TTLAfterFinished.Std())
}
