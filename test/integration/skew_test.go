package integration

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

func TestARenewalHappensAtTheRightTimeOfAServerWhoseClockIsOff(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]time.Duration{"ahead": 10 * time.Minute, "behind": -10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.reactor.SetDateSkew(skew)
			w.reactor.SetLifetimes(0, 40*time.Second)
			o := w.start()
			w.create("web", func(token *v1alpha1.ReactorToken) { token.Spec.RenewBefore = "15s" })
			secret := w.waitUntilReady("web")
			token := w.token("web")
			w.waitForEvent(token.UID, "ClockSkew")
			expect.Eventually(t, "the metric of the skew", func() error {
				text, err := o.scrape()
				if got := sum(text, "reactor_clock_skew_seconds"); err != nil || math.Abs(got-skew.Seconds()) > 5 {
					return errors.Join(fmt.Errorf("it tells of %g s", got), err)
				}
				return nil
			})
			o.kill()
			o = w.start() // which did not receive the token, and knows its age from the Secret alone
			if skew < 0 {
				// The host's clock is ahead of Reactor's. After a restart the operator does not know whether the skew in the Secret is
				// that of this host, and renews once too early.
				w.waitForAnother("web", idOf(secret))
				w.settle(o)
				if mints := w.mints(); mints != 2 {
					t.Errorf("%d mints after the restart", mints)
				}
				return
			}
			w.settle(o)
			if mints := w.mints(); mints != 1 {
				t.Errorf("%d mints after the restart", mints)
			}
			w.waitForAnother("web", idOf(secret))
			renewal := w.reactor.Ledger().Calls[1]
			// The two clocks are compared by a header that has whole seconds.
			if renewal.Time.Before(token.Status.RenewalTime.Add(-time.Second)) || renewal.Time.After(token.Status.ExpirationTime.Time) {
				t.Errorf("renewed at %s; it was due at %s and expired at %s", renewal.Time, token.Status.RenewalTime, token.Status.ExpirationTime)
			}
			w.settle(o)
			if calls := len(w.reactor.Ledger().Calls); calls != 2 {
				t.Errorf("%d calls", calls)
			}
		})
	}
}
