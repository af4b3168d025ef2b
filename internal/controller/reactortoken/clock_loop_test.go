package reactortoken

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// Status has times of Reactor's clock. Whatever the operator's own clock says, the renewal happens when Reactor's clock has come
// so far. An operator that was restarted on a host whose clock is fast renews once too early, because it cannot know yet that
// the skew in the Secret is that of its own host.
func TestRenewalsHappenByReactorsClock(t *testing.T) {
	for _, skew := range []time.Duration{-10 * time.Minute, 10 * time.Minute, -7 * time.Hour, 7 * time.Hour} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("skew %s, restarted %v", skew, restarted), func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.reactor.SetDateSkew(skew)
					w.create(newToken("web"))
					w.start()
					w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
					if got := w.count("web", "ClockSkew"); got != 1 {
						t.Errorf("the skew was told %d times", got)
					}
					for mints := 1; mints <= 3; mints++ {
						renewal := w.token("web").Status.RenewalTime.Add(-skew)
						w.passUntil(renewal.Add(-20 * time.Minute))
						if restarted {
							w.stop()
							w.start()
						}
						w.passUntil(renewal.Add(-2 * time.Second))
						if early := restarted && skew < 0; early {
							w.wantMints(mints + 1)
							continue
						}
						w.wantMints(mints)
						w.pass(4 * time.Second)
						w.wantMints(mints + 1)
						w.wantValid("web")
					}
					if got := w.count("web", "ClockSkew"); got != 1 {
						t.Errorf("after three renewals the skew was told %d times", got)
					}
				})
			})
		}
	}
}

func TestExpiryIsReportedByReactorsClock(t *testing.T) {
	for _, skew := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.reactor.SetDateSkew(skew)
				w.create(newToken("web", lifetime("1h")))
				w.start()
				w.reactor.SetFaults(emulator.Fault{Status: 503})
				expiry := w.token("web").Status.ExpirationTime.Add(-skew)
				w.passUntil(expiry.Add(-2 * time.Second))
				w.want("web", "Ready=True/TokenValid")
				w.pass(4 * time.Second)
				w.want("web", "Ready=False/TokenExpired")
			})
		})
	}
}

func TestAnAnswerWithoutADateIsTakenByTheTokensOwnTime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetDateSkew(-10 * time.Minute)
		w.reactor.SetFaults(emulator.Fault{OmitDate: true})
		w.create(newToken("web"))
		w.start()
		renewal := w.token("web").Status.RenewalTime.Add(10 * time.Minute)
		w.passUntil(renewal.Add(-2 * time.Second))
		w.wantMints(1)
		w.pass(4 * time.Second)
		w.wantMints(2)
	})
}

func TestASkewThatComesAndGoesIsReportedEachTime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1h")))
		w.start()
		for i, skew := range []time.Duration{time.Minute, 2 * time.Minute, 0, -time.Minute} {
			w.reactor.SetDateSkew(skew)
			w.edit("web", annotate("reactor.inc/renew-requested-at", fmt.Sprint(i)))
			w.settle()
		}
		if got := w.count("web", "ClockSkew"); got != 2 {
			t.Errorf("the skew was told %d times, want 2: when it came, and when it came again", got)
		}
	})
}

// Leader A runs on a host whose clock is 30 minutes fast, and leader B on one whose clock is right. In the test, Reactor's clock
// is the one that changes: what matters is the difference.
func TestALeaderOnAnotherHostNeverReportsAnExpiredTokenAsValid(t *testing.T) {
	for name, test := range map[string]struct{ skewA, skewB time.Duration }{
		"the first clock was fast": {-30 * time.Minute, 0},
		"the first clock was slow": {30 * time.Minute, 0},
		"the second clock is fast": {0, -30 * time.Minute},
		"the second clock is slow": {0, 30 * time.Minute},
		"the one slow, then fast":  {30 * time.Minute, -30 * time.Minute},
		"the one fast, then slow":  {-30 * time.Minute, 30 * time.Minute},
	} {
		for _, other := range []bool{false, true} { // another token has been requested in the meantime, and so the skew was measured
			if !other && test.skewB > test.skewA && test.skewB > 0 {
				continue // nothing that the leader knows says that its clock is slow
			}
			t.Run(fmt.Sprint(name, ", measured ", other), func(t *testing.T) {
				inWorld(t, func(w *world) {
					w.reactor.SetDateSkew(test.skewA)
					w.create(newToken("web", lifetime("1h")), newToken("other", lifetime("1h"), withOtherKey))
					w.start()
					expiry := w.token("web").Status.ExpirationTime.Add(-test.skewB) // by the clock of B's host
					w.stop()
					w.reactor.SetDateSkew(test.skewB)
					w.reactor.SetFaults(emulator.Fault{Status: 503, Key: emulator.Fingerprint(firstKey)})
					if other {
						w.create(secretIn(namespace, otherKeySecret, v1alpha1.DefaultAPIKeyKey, secondKey))
					}
					w.start()
					w.passUntil(expiry.Add(time.Second))
					w.want("web", "Ready=False/TokenExpired")
					w.reactor.ClearFaults()
					w.pass(10 * time.Minute)
					w.want("web", "Ready=True/TokenValid", "Renewed=True/Issued")
					w.wantValid("web")
				})
			})
		}
	}
}

// hostClock is the clock of a host. It is ahead of the true time, which Reactor's clock shows.
type hostClock struct {
	clock.RealClock

	ahead time.Duration
}

func (c hostClock) Now() time.Time                     { return c.RealClock.Now().Add(c.ahead) }
func (c hostClock) Since(then time.Time) time.Duration { return c.Now().Sub(then) }

// moveToAFastHost starts the operator again, on a host whose clock is two hours fast.
func (w *world) moveToAFastHost() {
	w.Helper()
	w.clock = hostClock{ahead: 2 * time.Hour}
	w.start()
}

// A fast clock lets a new leader report a valid token as expired. The leader knows better as soon as it receives any token. The renewal of
// this token is suspended, so no attempt of its own corrects the status.
func TestAMeasurementCorrectsWhatAFastClockReported(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1h")))
		w.start()
		w.edit("web", func(token *v1alpha1.ReactorToken) { token.Spec.Suspend = new(true) })
		w.settle()
		w.moveToAFastHost()
		w.want("web", "Ready=False/TokenExpired")
		w.create(newToken("other"))
		w.settle()
		w.want("web", "Ready=True/TokenValid", "Renewed=False/Suspended")
		w.wantMints(2)
	})
}

// A leader on a host whose clock is fast takes a valid token for an expired one and requests another one. The API server refuses to write
// that. Meanwhile the measurement shows that the old token is valid. The new one is written when the old one is due.
func TestATokenThatAFastClockRequestedEarlyIsKeptUntilItIsDue(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newToken("web", lifetime("1h")))
		w.start()
		before := w.token("web").Status
		w.pass(20 * time.Minute)
		w.api.MeddleWith(forbidden)
		w.moveToAFastHost()
		w.wantMints(2)
		w.api.MeddleWith(nil)
		w.passUntil(before.RenewalTime.Add(-time.Second))
		w.want("web", "Ready=True/TokenValid")
		w.pass(2 * time.Second)
		w.wantMints(2)
		w.wantValid("web")
		if got := w.token("web").Status.IssuedTime; !got.After(before.IssuedTime.Time) {
			t.Error("the Secret still holds the token that is due")
		}
	})
}

// After a restart on a host whose clock is fast, a valid token counts as expired until the first measurement. If Reactor refuses the key before
// that, the key is tried again as soon as the token needs it.
func TestTwoMistaken401sAfterARestartLetNoTokenExpire(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.SetDateSkew(-30 * time.Minute)
		w.create(newToken("web", lifetime("2m")))
		w.start()
		w.pass(time.Minute)
		w.reactor.SetFaults(emulator.Fault{Status: 401, Times: 2})
		w.start()
		for range 10 {
			w.pass(10 * time.Second)
			w.wantValid("web")
		}
	})
}
