package attempts

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// BuildToken returns the ReactorToken of an attempt. It is limited to the model, to a number of sessions, and always to the time that is left. That
// limit ends the billing if everything else fails: after a lost node, a program that reported no ID, a key that was deleted.
func BuildToken(
	session *v1alpha1.ReactorSession, status *v1alpha1.ReactorSessionStatus, attempt *v1alpha1.SessionAttempt, with Settings,
) *v1alpha1.ReactorToken {
	token := &v1alpha1.ReactorToken{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: session.Namespace, Name: attempt.TokenName,
			Labels:          Labels(session, attempt.Number),
			OwnerReferences: []metav1.OwnerReference{ControllerReference(session)},
		},
		Spec: v1alpha1.ReactorTokenSpec{
			APIKeySecretRef: session.Spec.APIKeySecretRef,
			Scope: &v1alpha1.TokenScope{
				Models:             []v1alpha1.ModelName{session.Spec.Model},
				MaxSessions:        session.Spec.EffectiveMaxSessions(),
				MaxSessionDuration: v1alpha1.DurationOf(maxSessionDuration(&session.Spec, status)),
			},
		},
	}
	needs := TokenNeeds(&session.Spec, status)
	switch {
	case Outlives(v1alpha1.DefaultLifetime, needs):
		lifetime := min(max(needs+tokenAllowance, minLife), v1alpha1.DefaultLifetime)
		token.Spec.Lifetime = v1alpha1.DurationOf(lifetime.Truncate(time.Second))
	case with.PromptDelivery: // it is renewed while the attempt runs
		token.Spec.PromptDelivery = &v1alpha1.PromptDelivery{PodSelector: &metav1.LabelSelector{MatchLabels: Labels(session, attempt.Number)}}
	}
	return token
}

// TokenPending is the message while a token is being requested.
const TokenPending = "the token of the attempt is being requested"

// TokenState is what is known of the credential of an attempt.
type TokenState struct {
	Exists    bool
	Ready     bool
	Suspended bool          // it is not renewed anymore
	Granted   time.Duration // its lifetime
	Left      time.Duration // how long it is still valid
	Reason    string        // of its condition Ready
	Message   string
	Stalled   bool // a user must act
}

// StateOfToken returns the state of a ReactorToken at a time of Reactor's clock. token may be nil.
func StateOfToken(token *v1alpha1.ReactorToken, now time.Time) TokenState {
	if token == nil {
		return TokenState{Reason: v1alpha1.ReasonPending, Message: TokenPending}
	}
	state := TokenState{Exists: true, Suspended: token.Spec.Suspended(), Reason: v1alpha1.ReasonPending, Message: TokenPending}
	timed := token.Status.ExpirationTime != nil && token.Status.IssuedTime != nil
	ready := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionReady)
	// A status that another client has edited may be Ready without times. Such a token counts as pending.
	if ready != nil && token.Status.ObservedGeneration > 0 && (timed || ready.Status != metav1.ConditionTrue) {
		state.Ready, state.Reason, state.Message = ready.Status == metav1.ConditionTrue, ready.Reason, ready.Message
	}
	state.Stalled = meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionStalled)
	if timed {
		state.Granted = token.Status.ExpirationTime.Sub(token.Status.IssuedTime.Time)
		state.Left = token.Status.ExpirationTime.Sub(now)
	}
	return state
}

// IsRequested reports whether the token is being requested, as far as its status shows, and nothing prevents that.
func (s TokenState) IsRequested() bool {
	return s.Exists && !s.Ready && (s.Reason == v1alpha1.ReasonPending || s.Reason == v1alpha1.ReasonQueued)
}
