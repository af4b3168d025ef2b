package tokenserver

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
			t.Error("expires_at is returned without a request")
		}
	})
}

func TestACallersTokenIsReturnedAgainUntilItHasTooLittleLeft(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.ask(http.MethodPost, "ada")
		w.pass(49 * time.Minute)
		if repeated := w.ask(http.MethodPost, "ada"); repeated.JWT != first.JWT {
			t.Error("another token was returned while the first had enough left")
		}
		w.wantMints(1)
		w.pass(2 * time.Minute)
		if later := w.ask(http.MethodPost, "ada"); later.JWT == first.JWT {
			t.Error("a token with less left than a session needs was returned")
		}
		w.wantMints(2)
	})
}

func TestEachCallerGetsATokenOfItsOwn(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		observed := map[string]string{}
		for range 3 {
			for _, caller := range []string{"ada", "grace", "ada ", "Ada"} {
				token := w.ask(http.MethodGet, caller).JWT
				if other, taken := observed[token]; taken && other != caller {
					t.Errorf("%q got the token of %q", caller, other)
				}
				observed[token] = caller
			}
		}
		w.wantMints(4)
	})
}

func TestAnUnknownCallerNeverGetsATokenTwice(t *testing.T) {
	inWorld(t, func(s *config.TokenServer) { s.ProxyHeader, s.AllowAnonymous = "", true }, func(w *world) {
		observed := map[string]bool{}
		for range 5 {
			observed[w.ask(http.MethodPost, "").JWT] = true
		}
		if len(observed) != 5 {
			t.Errorf("5 requests got %d tokens", len(observed))
		}
	})
}

// Many requests of one caller at once are one page that was reloaded, or one with many frames.
func TestManyRequestsOfACallerAtTheSameTimeCostOneMint(t *testing.T) {
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

func TestTenThousandCallersAtTheSameTimeCostNoMoreMintsThanTheLimitsAllow(t *testing.T) {
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
			t.Errorf("%d tokens were minted in little more than a minute, want 20", got)
		}
	})
}

func TestARotatedKeyIsUsedFromTheNextMintOn(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.ask(http.MethodPost, "ada")
		w.reactor.RevokeKey(firstKey)
		w.want(w.ask(http.MethodPost, "grace"), http.StatusServiceUnavailable, reasonKeyRejected)
		w.want(w.ask(http.MethodPost, "edsger"), http.StatusServiceUnavailable, reasonKeyRejected)
		if calls := len(w.reactor.Ledger().Calls); calls != 2 {
			t.Errorf("a key that is refused was tried %d times, want once after its success", calls-1)
		}
		w.rotate(secondKey)
		w.want(w.ask(http.MethodPost, "grace"), http.StatusOK, "")
		if repeated := w.ask(http.MethodPost, "ada"); repeated.JWT != first.JWT {
			t.Error("a token that lives was thrown away with its key")
		}
	})
}

func TestAfterAnAnswerWithoutATokenReactorIsNotCalledImmediately(t *testing.T) {
	for name, test := range map[string]struct {
		fault  emulator.Fault
		reason string
		wait   time.Duration // until Reactor is asked again
	}{
		"429 with a time":        {emulator.Fault{Status: 429, RetryAfter: 90 * time.Second}, reasonRateLimited, 90 * time.Second},
		"429 without one":        {emulator.Fault{Status: 429}, reasonRateLimited, rateLimitBackoff},
		"503":                    {emulator.Fault{Status: 503}, reasonReactorUnavailable, minBackoff},
		"503 with a time":        {emulator.Fault{Status: 503, RetryAfter: time.Minute}, reasonReactorUnavailable, time.Minute},
		"400":                    {emulator.Fault{Status: 400}, reasonRequestRejected, rejectedBackoff},
		"a cut answer":           {emulator.Fault{Cut: true}, reasonReactorUnavailable, minBackoff},
		"expired on arrival":     {emulator.Fault{ExpiresIn: new(-time.Hour)}, reasonReactorUnavailable, minBackoff},
		"too short for sessions": {emulator.Fault{ExpiresIn: new(5 * time.Minute)}, reasonTooShort, rejectedBackoff},
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
				if repeated := w.ask(http.MethodPost, "ada"); repeated.JWT != kept.JWT {
					t.Error("an existing token was not returned")
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
		w.pass(maxBackoff)
		w.want(w.ask(http.MethodPost, "ada"), http.StatusOK, "")

		w.reactor.SetFaults(emulator.Fault{Status: 500, Times: 1}) // what was before a success does not count
		w.want(w.ask(http.MethodPost, "grace"), http.StatusServiceUnavailable, reasonReactorUnavailable)
		w.pass(minBackoff)
		w.want(w.ask(http.MethodPost, "grace"), http.StatusOK, "")
	})
}

// Two callers send requests at the same time: the answer that comes later must not shorten the wait of the first one.
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

// The answer for an old key must not hide the answer for the new one.
func TestALimitIsKeptToAfterAnOldKeyWasRefused(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		w.want(w.ask(http.MethodPost, "ada"), http.StatusServiceUnavailable, reasonKeyRejected)
		w.rotate(secondKey)
		w.reactor.SetFaults(emulator.Fault{Status: 429, RetryAfter: rejectedBackoff / 2})
		for range 5 {
			w.want(w.ask(http.MethodPost, "ada"), http.StatusServiceUnavailable, reasonRateLimited)
		}
		if calls := len(w.reactor.Ledger().Calls); calls != 2 {
			t.Errorf("Reactor was asked %d times with the new key, want once", calls-1)
		}
	})
}

func TestAShortTokenDoesNotShortenTheWaitThatReactorRequested(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Status: 429, RetryAfter: time.Hour, Latency: time.Second, Times: 1},
			emulator.Fault{ExpiresIn: new(5 * time.Minute), Latency: 2 * time.Second, Times: 1})
		var all sync.WaitGroup
		for _, caller := range []string{"ada", "grace"} {
			all.Go(func() { w.ask(http.MethodPost, caller) })
		}
		all.Wait()
		w.pass(rejectedBackoff)
		w.want(w.ask(http.MethodPost, "edsger"), http.StatusServiceUnavailable, reasonRateLimited)
	})
}

// Anonymous visitors could otherwise block all others: by asking, and going away.
func TestAVisitorWhoGoesAwaySaysNothingAboutReactor(t *testing.T) {
	inWorld(t, func(s *config.TokenServer) { s.ProxyHeader, s.AllowAnonymous = "", true }, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Latency: 5 * time.Second, Times: 1})
		if got := w.ask(http.MethodPost, "", givesUpAfter(t, time.Second)); got.status == http.StatusOK {
			t.Error("a caller that gave up got a token")
		}
		w.want(w.ask(http.MethodPost, ""), http.StatusOK, "")
	})
}

// Whatever a request says, its token is for the models that are configured: Reactor starts no session of another one with it.
func TestNoRequestGetsATokenForAnotherModel(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		got := w.ask(http.MethodPost, "ada", func(r *http.Request) {
			r.URL.RawQuery = "models=reactor/other&model=reactor/other"
			r.Body = io.NopCloser(strings.NewReader(`{"models":["reactor/other"],"expires_after":21600}`))
			r.ContentLength = -1
		})
		w.want(got, http.StatusOK, "")
		if call := w.reactor.Ledger().Calls[0]; call.Requested != time.Hour || len(call.Models) != 1 || call.Models[0] != model {
			t.Errorf("requested: %+v", call)
		}
		for name, want := range map[string]int{"reactor/other": http.StatusForbidden, model: http.StatusCreated} {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/sessions", strings.NewReader(`{"model":{"name":"`+name+`"},`+
				`"client_info":{"sdk_version":"2.9.0","sdk_type":"js"},"supported_transports":[{"protocol":"webrtc","version":"1.0"}]}`))
			for header, value := range map[string]string{
				"Authorization": "Bearer " + got.JWT, "Content-Type": "application/json", "Reactor-API-Version": "1", "Reactor-API-Accept-Version": "1"} {
				request.Header.Set(header, value)
			}
			recorder := httptest.NewRecorder()
			w.reactor.ServeHTTP(recorder, request)
			if recorder.Code != want {
				t.Errorf("a session of %s: %d %s, want %d", name, recorder.Code, recorder.Body, want)
			}
		}
	})
}

func TestACallerThatLeavesDoesNotTakeTheTokenFromThoseThatWait(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.reactor.SetFaults(emulator.Fault{Latency: 5 * time.Second})
		var all sync.WaitGroup
		all.Go(func() {
			got := w.ask(http.MethodPost, "ada", givesUpAfter(t, time.Second))
			if got.status == http.StatusOK {
				t.Error("a caller that gave up got a token")
			}
		})
		w.pass(500 * time.Millisecond)
		all.Go(func() { w.want(w.ask(http.MethodPost, "ada"), http.StatusOK, "") })
		all.Wait()
		w.wantMints(1)
	})
}

func TestAMissingKeyIsReported(t *testing.T) {
	inWorld(t, func(s *config.TokenServer) { s.APIKeyFile += ".gone" }, func(w *world) {
		w.want(w.ask(http.MethodPost, "ada"), http.StatusServiceUnavailable, reasonKeyRejected)
		if log := w.logged.String(); !strings.Contains(log, "api-key.gone") {
			t.Errorf("the log does not name the file: %s", log)
		}
	})
}
