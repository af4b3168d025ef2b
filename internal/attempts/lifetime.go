package attempts

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

const (
	// defaultGrace is the grace period of a pod that names none.
	defaultGrace = 30 * time.Second
	// tokenMargin is how much longer a token is valid than its attempt can run: for the cleanup after it.
	tokenMargin = 5 * time.Minute
	// durationMargin is how much longer Reactor lets a session live than the operator does. That limits what the session may cost if everything
	// else fails.
	durationMargin = 5 * time.Minute
	// maxSession is the maximum of max_session_duration_seconds that Reactor accepts.
	maxSession = 24 * time.Hour
	// tokenAllowance is how old a token may be when the pod is created that uses it. A slot that is lost in between, a pod that the API server
	// refuses for a while, and the reconciles of many sessions that start at the same time take as long.
	tokenAllowance = 10 * time.Minute
	// minLife is the shortest lifetime of a token.
	minLife = time.Minute
)

// Remaining is how long the session may still run; 0 without a limit. For a session that has used up its time, it is one second, because 0 means no
// limit: see DurationReached.
func Remaining(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) time.Duration {
	limit := spec.MaxDuration.Std()
	if limit == 0 {
		return 0
	}
	return max(limit-time.Duration(status.RunningSeconds)*time.Second, time.Second)
}

// DurationReached reports whether the attempts that ended have used up the session's time.
func DurationReached(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) bool {
	limit := spec.MaxDuration.Std()
	return limit > 0 && time.Duration(status.RunningSeconds)*time.Second >= limit
}

// GracePeriod is the grace period of the pods of a template.
func GracePeriod(template *corev1.PodTemplateSpec) time.Duration {
	if seconds := template.Spec.TerminationGracePeriodSeconds; seconds != nil {
		return time.Duration(*seconds) * time.Second
	}
	return defaultGrace
}

// TokenNeeds is how long the token of an attempt must be valid when its pod is created; 0 if the session has no time limit.
func TokenNeeds(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) time.Duration {
	left := Remaining(spec, status)
	if left == 0 {
		return 0
	}
	return left + spec.EffectiveStartDeadline() + GracePeriod(&spec.Template) + tokenMargin
}

// Outlives reports whether a new token with the granted lifetime is valid for a whole attempt. Such a token is not renewed while the attempt runs: a
// renewed token is a new grant, which may not act on the session that its predecessor started.
func Outlives(granted, needs time.Duration) bool { return needs > 0 && needs <= granted }

// MinLeft is how long a token must still be valid when the pod is created that uses it. A token that is renewed while the attempt runs needs half of
// its lifetime. Any other one must be valid for the attempt, but may be as old as tokenAllowance: Reactor may have granted less than requested.
func MinLeft(granted, needs time.Duration) time.Duration {
	if !Outlives(granted, needs) {
		return granted / 2
	}
	return min(needs, max(granted/2, granted-tokenAllowance))
}

// maxSessionDuration is how long Reactor lets one session of the attempt live.
func maxSessionDuration(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) time.Duration {
	left := Remaining(spec, status)
	if left == 0 {
		return maxSession
	}
	return min(left+durationMargin, maxSession)
}
