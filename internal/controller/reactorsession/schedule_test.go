package reactorsession

import (
	"context"
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/requeue"
)

func TestScheduleOfAPassWhoseStatusWasNotWritten(t *testing.T) {
	for name, test := range map[string]struct {
		wake, at, again, want time.Duration
	}{
		"what was to follow at once waits for the conflict to be over":      {wake: atOnce, again: 4 * time.Second, want: 4 * time.Second},
		"an instant that is near does not come before that either":          {at: time.Second, again: 4 * time.Second, want: 4 * time.Second},
		"a status that was written lets the next step follow at once":       {wake: atOnce, at: time.Minute, want: atOnce},
		"without either the next pass comes at the instant that was stated": {at: time.Minute, want: time.Minute},
		"a far instant is cut into pieces":                                  {at: 5 * time.Hour, want: maxWait},
	} {
		t.Run(name, func(t *testing.T) {
			entry := func(wait time.Duration) []requeue.Entry {
				if wait == 0 {
					return nil
				}
				return after(wait, "test")
			}
			got, err := schedule(context.Background(), result{next: entry(test.wake)}, entry(test.at), entry(test.again))
			if err != nil || got.RequeueAfter != test.want {
				t.Errorf("the next pass comes after %s (%v), want %s", got.RequeueAfter, err, test.want)
			}
		})
	}
}
