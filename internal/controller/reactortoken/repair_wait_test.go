package reactortoken

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestOnlyARefusedWritePutsARepairOff(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	token := &v1alpha1.ReactorToken{}
	for reason, wantWait := range map[string]bool{
		v1alpha1.ReasonReactorUnavailable: false,
		v1alpha1.ReasonSecretWriteRefused: true,
	} {
		observed := &observation{clocks: clocks{now: now}}
		observed.status.NextAttemptTime = &metav1.Time{Time: now.Add(time.Minute)}
		observed.status.LastFailure = &v1alpha1.FailedAttempt{Reason: reason, RequestHash: requestHash(&token.Spec)}
		if waits := repairRefused(token, observed) != nil; waits != wantWait {
			t.Errorf("%s: waits %v, want %v", reason, waits, wantWait)
		}
	}
}
