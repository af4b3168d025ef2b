package reactorsession

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
)

// What the gates of a pod, its token and its slot lead to.
func TestWhatComesBeforeAProgramCanRun(t *testing.T) {
	waiting := func(reason string) func(*observation, *v1alpha1.ReactorToken) {
		return func(observed *observation, token *v1alpha1.ReactorToken) {
			token.Status.ObservedGeneration = 1
			token.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason}}
			observed.token = token
		}
	}
	for name, test := range map[string]struct {
		gates []string
		token func(*observation, *v1alpha1.ReactorToken)
		want  string
		slot  bool
	}{
		"nothing":                                   {nil, nil, "CreateToken/WaitingForToken", true},
		"a token that is requested, with a slot":    {nil, waiting(v1alpha1.ReasonPending), "/WaitingForToken", true},
		"a token that waits for its turn":           {nil, waiting(v1alpha1.ReasonQueued), "/WaitingForToken", true},
		"a token that waits for its key":            {nil, waiting(v1alpha1.ReasonAPIKeyRefused), "/WaitingForToken", false},
		"a token that Reactor limits":               {nil, waiting(v1alpha1.ReasonRateLimited), "/WaitingForToken", false},
		"a pod in a queue":                          {[]string{"queue", attempts.TokenGate}, nil, "/SchedulingGated", false},
		"a pod in a queue that has a token":         {[]string{"queue", attempts.TokenGate}, waiting(v1alpha1.ReasonPending), "DeleteToken/SchedulingGated", false},
		"a pod that is admitted":                    {[]string{attempts.TokenGate}, nil, "CreateToken/SchedulingGated", true},
		"a pod that is admitted, and its token":     {[]string{attempts.TokenGate}, waiting(v1alpha1.ReasonPending), "/SchedulingGated", true},
		"a pod that a webhook gates, and its token": {[]string{"queue"}, waiting(v1alpha1.ReasonPending), "/SchedulingGated", false},
	} {
		t.Run(name, func(t *testing.T) {
			session := aSession()
			observed := &observation{now: noon, status: session.Status, slotSince: noon}
			if len(test.gates) > 0 {
				observed.pod = podOfAttempt(session, session.Status.CurrentAttempt.Number)
				observed.pod.Spec.NodeName, observed.pod.Status = "", corev1.PodStatus{}
				for _, gate := range test.gates {
					observed.pod.Spec.SchedulingGates = append(observed.pod.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: gate})
				}
			}
			if test.token != nil {
				test.token(observed, attempts.BuildToken(session, &session.Status, session.Status.CurrentAttempt, attempts.Settings{}))
			}
			planned := decide(session, observed)
			if got := describePlan(&planned); got != test.want || planned.slot != test.slot {
				t.Errorf("%s, slot %t, want %s, %t", got, planned.slot, test.want, test.slot)
			}
			if planned.do == doNothing && planned.slot && planned.requeue[0].After != slotBound {
				t.Errorf("the session keeps its slot for %s", planned.requeue[0].After)
			}
			observed.now = noon.Add(slotBound)
			if planned := decide(session, observed); planned.do == doNothing && planned.slot {
				t.Error("the slot is held for longer")
			}
		})
	}
}

// Without a key, a slot would be held for nothing.
func TestNoSlotIsTakenWithoutAKey(t *testing.T) {
	session := aSession()
	observed := &observation{now: noon, status: session.Status}
	observed.key.Problem = &apikey.Problem{Reason: v1alpha1.ReasonAPIKeyNotFound}
	if planned := decide(session, observed); planned.do != doNothing || planned.slot {
		t.Errorf("%q, slot %t", planned.do, planned.slot)
	}
}

// The clock of the operator is ahead by hours, and the cache does not show the Secret of a token that was just issued, which has the skew.
func TestATokenIsNotTooOldWhileTheSkewIsUnknown(t *testing.T) {
	session := aSession()
	token := attempts.BuildToken(session, &session.Status, session.Status.CurrentAttempt, attempts.Settings{})
	token.Status.ObservedGeneration = 1
	token.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTokenValid}}
	token.Status.IssuedTime, token.Status.ExpirationTime = new(metav1.NewTime(noon)), new(metav1.NewTime(noon.Add(6*time.Hour)))
	observed := &observation{now: noon.Add(12 * time.Hour), status: session.Status, token: token}
	if planned := decide(session, observed); planned.do != doCreatePod {
		t.Errorf("%q, want %q", planned.do, doCreatePod)
	}
	observed.skewKnown = true
	if planned := decide(session, observed); planned.do != doDeleteToken {
		t.Errorf("with a known skew: %q, want %q", planned.do, doDeleteToken)
	}
}
