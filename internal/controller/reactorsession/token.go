package reactorsession

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// buildToken renders the ReactorToken of an attempt: limited to the model, to so many sessions, and always to the time that is left. That
// limit is what ends the billing when everything else fails: a lost node, a program that told no id, a key that is gone.
func buildToken(
	session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, attempt *v1alpha1.SessionAttempt, with settings,
) *v1alpha1.ReactorToken {
	token := &v1alpha1.ReactorToken{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: session.Namespace, Name: attempt.TokenName,
			Labels:          attemptLabels(session, attempt.Number),
			OwnerReferences: []metav1.OwnerReference{controllerReference(session)},
		},
		Spec: v1alpha1.ReactorTokenSpec{
			APIKeySecretRef: session.Spec.APIKeySecretRef,
			Scope: &v1alpha1.TokenScope{
				Models:             []v1alpha1.ModelName{session.Spec.Model},
				MaxSessions:        session.Spec.EffectiveMaxSessions(),
				MaxSessionDuration: v1alpha1.DurationOf(longestOf(&session.Spec, status)),
			},
		},
	}
	needs := attemptNeeds(&session.Spec, status)
	switch {
	case outlives(v1alpha1.DefaultLifetime, needs):
		lifetime := min(max(needs+tokenAllowance, minLife), v1alpha1.DefaultLifetime)
		token.Spec.Lifetime = v1alpha1.DurationOf(lifetime.Truncate(time.Second))
	case with.promptDelivery: // it is renewed while the attempt runs
		token.Spec.PromptDelivery = &v1alpha1.PromptDelivery{PodSelector: &metav1.LabelSelector{MatchLabels: attemptLabels(session, attempt.Number)}}
	}
	return token
}

// longestOf is how long Reactor is to let one session of the attempt live.
func longestOf(spec *v1alpha1.ReactorSessionSpec, status *v1alpha1.ReactorSessionStatus) time.Duration {
	left := remaining(spec, status)
	if left == 0 {
		return maxSession
	}
	return min(left+durationMargin, maxSession)
}

// tokenState is what is known of the credential of an attempt.
type tokenState struct {
	exists    bool
	ready     bool
	suspended bool          // it is not renewed any more
	granted   time.Duration // its lifetime
	left      time.Duration // how long it is valid yet
	reason    string        // of its condition Ready
	message   string
	stalled   bool // a person must act
}

func stateOfToken(token *v1alpha1.ReactorToken, now time.Time) tokenState {
	if token == nil {
		return tokenState{reason: v1alpha1.ReasonPending, message: tokenOnItsWay}
	}
	state := tokenState{exists: true, suspended: token.Spec.Suspended(), reason: v1alpha1.ReasonPending, message: tokenOnItsWay}
	timed := token.Status.ExpirationTime != nil && token.Status.IssuedTime != nil
	ready := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionReady)
	// A status that another client has edited may say Ready and tell no times: it counts as none.
	if ready != nil && token.Status.ObservedGeneration > 0 && (timed || ready.Status != metav1.ConditionTrue) {
		state.ready, state.reason, state.message = ready.Status == metav1.ConditionTrue, ready.Reason, ready.Message
	}
	state.stalled = meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionStalled)
	if timed {
		state.granted = token.Status.ExpirationTime.Sub(token.Status.IssuedTime.Time)
		state.left = token.Status.ExpirationTime.Sub(now)
	}
	return state
}

// isRequested reports whether a token is being requested, as far as its status tells: nothing is in the way of it.
func (s *tokenState) isRequested() bool {
	return s.exists && !s.ready && (s.reason == v1alpha1.ReasonPending || s.reason == v1alpha1.ReasonQueued)
}
