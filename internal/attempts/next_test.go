package attempts

import (
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func TestHowLongARefusalIsWaitedFor(t *testing.T) {
	for name, test := range map[string]struct {
		reasons []string // the latest first
		cleanup v1alpha1.CleanupResult
		want    time.Duration
	}{
		"no credits":                          {[]string{"CreditsDepleted", "ExitCode"}, v1alpha1.CleanupNotNeeded, 15 * time.Minute},
		"no credits four times":               {[]string{"CreditsDepleted", "CreditsDepleted", "CreditsDepleted", "CreditsDepleted", "ExitCode"}, v1alpha1.CleanupNotNeeded, 15 * time.Minute},
		"no credits five times":               {[]string{"CreditsDepleted", "CreditsDepleted", "CreditsDepleted", "CreditsDepleted", "CreditsDepleted"}, v1alpha1.CleanupNotNeeded, time.Hour},
		"no free server":                      {[]string{"NoModelCapacity"}, v1alpha1.CleanupNotNeeded, 10 * time.Second},
		"no free server twice":                {[]string{"NoModelCapacity", "NoModelCapacity"}, v1alpha1.CleanupNotNeeded, 20 * time.Second},
		"no free server five times":           {[]string{"NoModelCapacity", "NoModelCapacity", "NoModelCapacity", "NoModelCapacity", "NoModelCapacity"}, v1alpha1.CleanupNotNeeded, time.Minute},
		"no free server, and one may be open": {[]string{"NoModelCapacity"}, v1alpha1.CleanupUnverified, 30 * time.Second},
		"a quota":                             {[]string{"QuotaExceeded"}, v1alpha1.CleanupNotNeeded, 10 * time.Second},
	} {
		status := &v1alpha1.ReactorSessionStatus{IgnoredFailures: 1}
		for _, reason := range test.reasons {
			status.RecentAttempts = append(status.RecentAttempts, v1alpha1.EndedAttempt{Class: v1alpha1.ClassIgnored, Reason: reason, Cleanup: test.cleanup})
		}
		next := decideNextAttempt(&v1alpha1.ReactorSession{}, status, &status.RecentAttempts[0], false)
		if next.Wait != test.want || next.Condition != "" {
			t.Errorf("%s: %+v, want a wait of %s", name, next, test.want)
		}
	}
}
