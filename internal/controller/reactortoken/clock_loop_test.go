package reactortoken

import (
	"fmt"
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// Status tells instants of Reactor's clock. Whatever the operator's own clock says, the renewal happens when Reactor's clock
// has come so far, also when the operator was restarted and knows the skew from the Secret alone.
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

func TestExpiryIsToldByReactorsClock(t *testing.T) {
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

func TestASkewThatComesAndGoesIsToldEachTime(t *testing.T) {
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
