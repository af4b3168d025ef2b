package reactortoken

import (
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestTheAnswerOfACallThatWasOnItsWayDoesNotOpenAClosedGate(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	limited := http.StatusText(http.StatusTooManyRequests)
	for name, test := range map[string]struct {
		closing    answer
		late       answer
		retryAfter time.Duration
		want       gateView
	}{
		"a token after " + limited:                  {answerLimited, answerAccepted, 0, gateView{gateHeld, now.Add(10 * time.Minute)}},
		"a second 429 that names no instant":        {answerLimited, answerLimited, 0, gateView{gateHeld, now.Add(10 * time.Minute)}},
		"a second 429 that names a later instant":   {answerLimited, answerLimited, time.Hour, gateView{gateHeld, now.Add(time.Hour)}},
		"a 401 after a 429":                         {answerLimited, answerRefused, 0, gateView{gateHeld, now.Add(10 * time.Minute)}},
		"a 429 after a 401":                         {answerRefused, answerLimited, time.Hour, gateView{gateRefused, now.Add(refusedProbeInterval)}},
		"a token after a 401, of the key as it was": {answerRefused, answerAccepted, 0, gateView{gateRefused, now.Add(refusedProbeInterval)}},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{state: gateOpen, waiting: map[types.NamespacedName]struct{}{}}
			g.answered(types.NamespacedName{Name: "first"}, test.closing, 10*time.Minute, now)
			g.answered(types.NamespacedName{Name: "second"}, test.late, test.retryAfter, now)
			if got := g.view(now); got != test.want {
				t.Errorf("the gate is %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestOnlyARefusedWritePutsARepairOff(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	token := &v1alpha1.ReactorToken{}
	for reason, wantWait := range map[string]bool{
		v1alpha1.ReasonReactorUnavailable: false,
		v1alpha1.ReasonSecretWriteRefused: true,
	} {
		seen := &observation{clocks: clocks{now: now}}
		seen.status.NextAttemptTime = &metav1.Time{Time: now.Add(time.Minute)}
		seen.status.LastFailure = &v1alpha1.FailedAttempt{Reason: reason, RequestHash: requestHash(&token.Spec)}
		if waits := repairRefused(token, seen) != nil; waits != wantWait {
			t.Errorf("%s: waits %v, want %v", reason, waits, wantWait)
		}
	}
}
