package reactorsession

import (
	"context"
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/requeue"
)

func TestScheduleAfterAStatusWriteThatMetAConflict(t *testing.T) {
	for name, test := range map[string]struct {
		result, plan, conflict, want time.Duration
	}{
		"an immediate next step waits for the conflict":           {result: minWait, conflict: 4 * time.Second, want: 4 * time.Second},
		"a time that is near waits for it too":                    {plan: time.Second, conflict: 4 * time.Second, want: 4 * time.Second},
		"without a conflict the next step follows immediately":    {result: minWait, plan: time.Minute, want: minWait},
		"without a next step the time of the plan counts":         {plan: time.Minute, want: time.Minute},
		"a wait is cut into pieces, for a host that is suspended": {plan: 5 * time.Hour, want: maxWait},
	} {
		t.Run(name, func(t *testing.T) {
			entry := func(wait time.Duration) []requeue.Entry {
				if wait == 0 {
					return nil
				}
				return after(wait, "test")
			}
			if got := schedule(context.Background(), entry(test.conflict), entry(test.plan), entry(test.result)); got.RequeueAfter != test.want {
				t.Errorf("the next reconcile is after %s, want %s", got.RequeueAfter, test.want)
			}
		})
	}
}
