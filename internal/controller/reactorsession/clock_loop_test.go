package reactorsession

import (
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// What a container ran is told by its node's clock, and when it is stopped is decided by the operator's. Where they differ, a session whose
// time was used up must not begin again for what the other clock says is left.
func TestASessionWhoseTimeIsUsedUpDoesNotBeginAgainWhereTheNodesClockDiffers(t *testing.T) {
	for _, behind := range []time.Duration{6 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, -30 * time.Second} {
		for _, policy := range policies {
			t.Run(behind.String()+" behind, "+string(policy), func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.node.be(func(k *kubelet) { k.behind = behind })
					w.node.runNow(runs(10 * time.Hour))
					w.create(newSession("night", func(s *v1alpha1.ReactorSession) {
						s.Spec.MaxDuration, s.Spec.RestartPolicy = "20m", policy
					}))
					w.start()
					w.pass(2 * time.Hour)
					w.want("night", "Ready=True/DurationReached", "Complete=True/DurationReached")
					if attempts := w.session("night").Status.Attempts; attempts != 1 {
						t.Errorf("%d attempts were made", attempts)
					}
					w.wantOpen(0)
				})
			})
		}
	}
}
