package reactorsession

import (
	"strings"
	"testing"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestASuspendedSessionDoesNotSayThatNothingIsBilledAfterAnAttemptWithoutAPod(t *testing.T) {
	status := &v1alpha1.ReactorSessionStatus{RecentAttempts: []v1alpha1.EndedAttempt{
		{Number: 4, Cleanup: v1alpha1.CleanupNotNeeded}, {Number: 3, Cleanup: v1alpha1.CleanupUnverified},
	}}
	if got := suspendedMessage(status, &readyCondition{reason: v1alpha1.ReasonSuspended}); !strings.Contains(got, "attempt 3") {
		t.Errorf("it says %q", got)
	}
	// status keeps the last five attempts: an older one, which is not listed any more, may have left a Reactor session open.
	status.RecentAttempts = status.RecentAttempts[:1]
	if got := suspendedMessage(status, &readyCondition{reason: v1alpha1.ReasonSuspended}); strings.Contains(got, "billed") {
		t.Errorf("it says %q, and cannot know that", got)
	}
}
