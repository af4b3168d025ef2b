package attempts

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
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
	// minLife is the shortest lifetime of a token.
	minLife = time.Minute
)

// remaining is how long the session may still run; 0 for ever. A session that has used up its time has at least a second left, since
// 0 stands for none: see durationReached.
func Remaining(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) time.Duration {
	limit := spec.MaxDuration.Std()
	if limit == 0 {
		return 0
	}
	return max(limit-time.Duration(status.RunningSeconds)*time.Second, time.Second)
}

// durationReached reports whether the attempts that ended have used the session's time up.
func DurationReached(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) bool {
	limit := spec.MaxDuration.Std()
	return limit > 0 && time.Duration(status.RunningSeconds)*time.Second >= limit
}

func GracePeriod(template *corev1.PodTemplateSpec) time.Duration {
	if seconds := template.Spec.TerminationGracePeriodSeconds; seconds != nil {
		return time.Duration(*seconds) * time.Second
	}
	return defaultGrace
}

// attemptNeeds is how long the token of an attempt must live when its pod is created; 0 when there is no such time, because the
// session has no limit.
func TokenNeeds(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) time.Duration {
	left := Remaining(spec, status)
	if left == 0 {
		return 0
	}
	return left + spec.EffectiveStartDeadline() + GracePeriod(&spec.Template) + tokenMargin
}

// outlives reports whether a token of the granted lifetime, just renewed, lasts for a whole attempt. Such a token is not renewed while
// the attempt runs: a renewed one is a new grant, without power over the session that its predecessor started.
func Outlives(granted, needs time.Duration) bool { return needs > 0 && needs <= granted }

// minLeft is what a token must have left when the pod is created that uses it. One that is renewed while the attempt runs needs half of its
// life. Any other needs to last for the attempt, but may be as old as tokenAllowance: Reactor may have granted less than was requested.
func MinLeft(granted, needs time.Duration) time.Duration {
	if !Outlives(granted, needs) {
		return granted / 2
	}
	return min(needs, max(granted/2, granted-tokenAllowance))
}

// longestOf is how long Reactor is to let one session of the attempt live.
func maxSessionDuration(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) time.Duration {
	left := Remaining(spec, status)
	if left == 0 {
		return maxSession
	}
	return min(left+durationMargin, maxSession)
}
