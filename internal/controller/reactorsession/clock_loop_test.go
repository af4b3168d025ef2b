package reactorsession

import (
	"testing"
	"time"

	"k8s.io/utils/clock"

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

// aheadClock is the clock of an operator's host that is ahead of all others, or behind.
type aheadClock struct {
	clock.RealClock

	ahead time.Duration
}

func (c aheadClock) Now() time.Time                     { return time.Now().Add(c.ahead) }
func (c aheadClock) Since(then time.Time) time.Duration { return c.Now().Sub(then) }

// Pods tell the time by the clocks of the API server and of their node. Where the operator's is another, its sessions start, run for the time
// that they have, and end cleanly all the same.
func TestSessionsRunAsAskedWhereTheOperatorsClockDiffers(t *testing.T) {
	for _, ahead := range []time.Duration{90 * time.Minute, 3 * time.Minute, -3 * time.Minute, -90 * time.Minute} {
		inWorldWithClock := func(t *testing.T, test func(*world)) {
			t.Helper()
			inWorld(t, func(w *world) {
				w.tune = func(o *Options) { o.Clock = aheadClock{ahead: ahead} }
				w.node.runNow(runs(10 * time.Hour))
				test(w)
			})
		}
		t.Run(ahead.String()+" ahead, a session has its whole time", func(t *testing.T) {
			inWorldWithClock(t, func(w *world) {
				w.create(newSession("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "20m" }))
				w.start()
				w.pass(19 * time.Minute)
				w.want("night", "Ready=True/Running")
				w.pass(3 * time.Minute)
				w.want("night", "Ready=True/DurationReached", "Complete=True/DurationReached")
				if attempts := w.session("night").Status.Attempts; attempts != 1 {
					t.Errorf("%d attempts were made", attempts)
				}
				w.wantOpen(0)
			})
		})
		t.Run(ahead.String()+" ahead, a session that is deleted is seen to before it is let go of", func(t *testing.T) {
			inWorldWithClock(t, func(w *world) {
				w.create(newSession("night"))
				w.start()
				w.pass(time.Minute)
				w.remove(w.session("night"))
				w.pass(2 * time.Minute)
				if !w.gone("night") {
					w.Error("the session is still there")
				}
				if told := w.count("night", "CleanupUnverified"); told > 0 {
					w.Errorf("it was let go of %d times without a look", told)
				}
				w.wantOpen(0)
			})
		})
	}
}

func TestAPodThatDoesNotStartIsGivenUpAtItsDeadlineWhereTheOperatorsClockDiffers(t *testing.T) {
	for _, ahead := range []time.Duration{90 * time.Minute, -90 * time.Minute} {
		t.Run(ahead.String()+" ahead", func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.tune = func(o *Options) { o.Clock = aheadClock{ahead: ahead} }
				w.node.be(func(k *kubelet) { k.stuck = true })
				w.create(newSession("night"))
				w.start()
				w.pass(9 * time.Minute)
				w.want("night", "Ready=False/Starting")
				w.pass(2 * time.Minute)
				if ended := w.ended("night"); ended != "1 Ignored NeverStarted NotNeeded" {
					w.Errorf("the attempts that ended: %q", ended)
				}
			})
		})
	}
}

func TestANodeCountsAsLostAMinuteAfterTheGracePeriodWhereTheOperatorsClockDiffers(t *testing.T) {
	for _, ahead := range []time.Duration{90 * time.Minute, -90 * time.Minute} {
		t.Run(ahead.String()+" ahead", func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.tune = func(o *Options) { o.Clock = aheadClock{ahead: ahead} }
				w.node.runNow(runs(10 * time.Hour))
				w.create(newSession("night"))
				w.start()
				w.node.be(func(k *kubelet) { k.lost = true })
				w.remove(&w.pods()[0])
				w.pass(time.Minute)
				w.want("night", "Ready=False/Stopping")
				w.pass(time.Minute)
				w.want("night", "Ready=False/NodeUnreachable")
			})
		})
	}
}
