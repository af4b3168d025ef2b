package tokenserver

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

func TestACallerGetsATokenForTheModelsAndLimitsThatAreConfigured(t *testing.T) {
	inWorld(t, func(s *config.TokenServer) { s.MaxSessions, s.MaxSessionDuration = 3, 20*time.Minute }, func(w *world) {
		got := w.ask(http.MethodPost, "ada")
		w.want(got, http.StatusOK, "")
		claims, err := w.reactor.Verify(got.JWT)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%+v", claims)
		if !strings.Contains(text, model) {
			t.Errorf("the claims do not name the model: %s", text)
		}
		call := w.reactor.Ledger().Calls[0]
		if call.Requested != time.Hour || len(call.Models) != 1 || call.Models[0] != model {
			t.Errorf("requested: %+v", call)
		}
		if got.Expires != 0 {
			t.Error("expires_at is told without being asked for")
		}
	})
}

func TestACallersTokenIsHandedOutAgainUntilItHasTooLittleLeft(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.ask(http.MethodPost, "ada")
		w.pass(49 * time.Minute)
		if again := w.ask(http.MethodPost, "ada"); again.JWT != first.JWT {
			t.Error("another token was handed out while the first had enough left")
		}
		w.wantMints(1)
		w.pass(2 * time.Minute)
		if later := w.ask(http.MethodPost, "ada"); later.JWT == first.JWT {
			t.Error("a token with less left than a session needs was handed out")
		}
		w.wantMints(2)
	})
}

func TestEachCallerGetsATokenOfItsOwn(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		seen := map[string]string{}
		for range 3 {
			for _, caller := range []string{"ada", "grace", "ada ", "Ada"} {
				token := w.ask(http.MethodGet, caller).JWT
				if other, taken := seen[token]; taken && other != caller {
					t.Errorf("%q got the token of %q", caller, other)
				}
				seen[token] = caller
			}
		}
		w.wantMints(4)
	})
}

func TestWhoIsNotKnownNeverGetsATokenTwice(t *testing.T) {
	inWorld(t, func(s *config.TokenServer) { s.ProxyHeader, s.AllowAnonymous = "", true }, func(w *world) {
		seen := map[string]bool{}
		for range 5 {
			seen[w.ask(http.MethodPost, "").JWT] = true
		}
		if len(seen) != 5 {
			t.Errorf("5 requests got %d tokens", len(seen))
		}
	})
}

// Many requests of one caller at once are one page that was reloaded, or one with many frames.
func TestManyRequestsOfACallerAtOnceCostOneMint(t *testing.T) {
	inWorld(t, func(s *config.TokenServer) { s.CallerRequestsPerMinute = 1000 }, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Latency: 2 * time.Second})
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { w.want(w.ask(http.MethodPost, "ada"), http.StatusOK, "") })
		}
		all.Wait()
		w.wantMints(1)
	})
}

func TestTenThousandCallersAtOnceCostNoMoreMintsThanTheLimitsAllow(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var all sync.WaitGroup
		for i := range 10_000 {
			all.Go(func() {
				got := w.ask(http.MethodPost, fmt.Sprint("caller-", i))
				if got.status != http.StatusOK {
					w.want(got, http.StatusServiceUnavailable, reasonBusy)
				}
			})
		}
		all.Wait()
		w.wantMints(10) // --mint-burst
		w.pass(time.Minute)
		for i := range 10_000 {
			w.ask(http.MethodPost, fmt.Sprint("caller-", i))
		}
		if got := w.reactor.Ledger().Mints(); got != 20 { // no time passes while they ask, and the bucket holds no more than its burst
			t.Errorf("%d tokens were minted in a minute and an instant, want 20", got)
		}
	})
}

func TestARotatedKeyIsUsedFromTheNextMintOn(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.ask(http.MethodPost, "ada")
		w.reactor.RevokeKey(firstKey)
		w.want(w.ask(http.MethodPost, "grace"), http.StatusServiceUnavailable, reasonKeyRefused)
		w.want(w.ask(http.MethodPost, "edsger"), http.StatusServiceUnavailable, reasonKeyRefused)
		if calls := len(w.reactor.Ledger().Calls); calls != 2 {
			t.Errorf("a key that is refused was tried %d times, want once after its success", calls-1)
		}
		w.rotate(secondKey)
		w.want(w.ask(http.MethodPost, "grace"), http.StatusOK, "")
		if again := w.ask(http.MethodPost, "ada"); again.JWT != first.JWT {
			t.Error("a token that lives was thrown away with its key")
		}
	})
}

func TestAnswersWithoutATokenAreNotAskedForAgainAtOnce(t *testing.T) {
	for name, test := range map[string]struct {
		fault  emulator.Fault
		reason string
		wait   time.Duration // until Reactor is asked again
	}{
		"429 with an instant":    {emulator.Fault{Status: 429, RetryAfter: 90 * time.Second}, reasonRateLimited, 90 * time.Second},
		"429 without one":        {emulator.Fault{Status: 429}, reasonRateLimited, limitedHold},
		"503":                    {emulator.Fault{Status: 503}, reasonReactorAway, firstBackoff},
		"503 with an instant":    {emulator.Fault{Status: 503, RetryAfter: time.Minute}, reasonReactorAway, time.Minute},
		"400":                    {emulator.Fault{Status: 400}, reasonRefused, refusedHold},
		"a cut answer":           {emulator.Fault{Cut: true}, reasonReactorAway, firstBackoff},
		"expired on arrival":     {emulator.Fault{ExpiresIn: new(-time.Hour)}, reasonReactorAway, firstBackoff},
		"too short for sessions": {emulator.Fault{ExpiresIn: new(5 * time.Minute)}, reasonTooShort, refusedHold},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				kept := w.ask(http.MethodPost, "ada")
				w.reactor.SetFaults(test.fault)
				w.want(w.ask(http.MethodPost, "grace"), http.StatusServiceUnavailable, test.reason)
				w.want(w.ask(http.MethodPost, "edsger"), http.StatusServiceUnavailable, test.reason)
				if calls := len(w.reactor.Ledger().Calls); calls != 2 {
					t.Errorf("Reactor was asked %d times for two callers", calls-1)
				}
				w.reactor.ClearFaults()
				if again := w.ask(http.MethodPost, "ada"); again.JWT != kept.JWT {
					t.Error("a token that is there was not handed out")
				}
				w.pass(test.wait - time.Millisecond)
				w.want(w.ask(http.MethodPost, "grace"), http.StatusServiceUnavailable, test.reason)
				w.pass(time.Millisecond)
				w.want(w.ask(http.MethodPost, "grace"), http.StatusOK, "")
			})
		})
	}
}

func TestAReactorThatStaysAwayIsAskedMoreAndMoreSeldom(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Status: 500})
		for range 3600 {
			w.ask(http.MethodPost, "ada")
			w.pass(time.Second)
		}
		if calls := len(w.reactor.Ledger().Calls); calls > 70 {
			t.Errorf("Reactor was asked %d times in an hour", calls)
		}
		w.reactor.ClearFaults()
		w.pass(longestBackoff)
		w.want(w.ask(http.MethodPost, "ada"), http.StatusOK, "")

		w.reactor.SetFaults(emulator.Fault{Status: 500, Times: 1}) // what was before a success does not count
		w.want(w.ask(http.MethodPost, "grace"), http.StatusServiceUnavailable, reasonReactorAway)
		w.pass(firstBackoff)
		w.want(w.ask(http.MethodPost, "grace"), http.StatusOK, "")
	})
}

// Two callers ask at once: the answer that comes later must not shorten what the first one's asks for.
func TestTheLongerOfTwoWaitsHolds(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Status: 429, RetryAfter: time.Hour, Latency: time.Second, Times: 1}, emulator.Fault{Status: 503, Latency: 2 * time.Second, Times: 1})
		var all sync.WaitGroup
		for _, caller := range []string{"ada", "grace"} {
			all.Go(func() { w.ask(http.MethodPost, caller) })
		}
		all.Wait()
		w.pass(30 * time.Minute)
		w.want(w.ask(http.MethodPost, "edsger"), http.StatusServiceUnavailable, reasonRateLimited)
		w.pass(30 * time.Minute)
		w.want(w.ask(http.MethodPost, "edsger"), http.StatusOK, "")
	})
}

func TestWhoGoesAwayDoesNotTakeTheTokenFromThoseWhoWait(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Latency: 5 * time.Second})
		var all sync.WaitGroup
		all.Go(func() {
			got := w.ask(http.MethodPost, "ada", givesUpAfter(t, time.Second))
			if got.status == http.StatusOK {
				t.Error("who gave up got a token")
			}
		})
		w.pass(500 * time.Millisecond)
		all.Go(func() { w.want(w.ask(http.MethodPost, "ada"), http.StatusOK, "") })
		all.Wait()
		w.wantMints(1)
	})
}

func TestAKeyThatIsNotThereIsTold(t *testing.T) {
	inWorld(t, func(s *config.TokenServer) { s.APIKeyFile += ".gone" }, func(w *world) {
		w.want(w.ask(http.MethodPost, "ada"), http.StatusServiceUnavailable, reasonKeyRefused)
		if log := w.logged.String(); !strings.Contains(log, "api-key.gone") {
			t.Errorf("the log does not name the file: %s", log)
		}
	})
}
