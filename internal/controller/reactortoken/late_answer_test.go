package reactortoken

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestAnAnswerToACallThatWasSentBeforeTheGateClosed(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	first, second := ticket{object: objectNamed("first")}, ticket{object: objectNamed("second")}
	for name, test := range map[string]struct {
		closing    answer
		late       answer
		retryAfter time.Duration
		want       gateView // of the one that closed it
	}{
		"a token after a 429":                       {answerLimited, answerAccepted, 0, gateView{gateRateLimited, true, now.Add(10 * time.Minute)}},
		"a second 429 that names no time":           {answerLimited, answerLimited, 0, gateView{gateRateLimited, true, now.Add(10 * time.Minute)}},
		"a second 429 that names a later time":      {answerLimited, answerLimited, time.Hour, gateView{gateRateLimited, true, now.Add(time.Hour)}},
		"a 401 after a 429":                         {answerLimited, answerRefused, 0, gateView{gateRateLimited, true, now.Add(10 * time.Minute)}},
		"a 429 after a 401":                         {answerRefused, answerLimited, time.Hour, gateView{gateRefused, true, now.Add(minProbeWait)}},
		"a second 401":                              {answerRefused, answerRefused, 0, gateView{gateRefused, true, now.Add(minProbeWait)}},
		"a token after a 401, which was a mistake":  {answerRefused, answerAccepted, 0, gateView{state: gateOpen}},
		"no answer after a 401, which says nothing": {answerRefused, answerNone, 0, gateView{gateRefused, true, now.Add(minProbeWait)}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate("k")
			g.state = gateOpen
			g.recordAnswer(first, test.closing, 10*time.Minute, now)
			g.recordAnswer(second, test.late, test.retryAfter, now)
			if got := g.view(first.object, now); got != test.want {
				t.Errorf("the gate is %+v, want %+v", got, test.want)
			}
			if _, waits := g.waiting[second.object]; waits != (test.late == answerRefused || test.late == answerLimited) {
				t.Errorf("the one that was answered late waits for the key: %v", waits)
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
