package emulator

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	testclock "k8s.io/utils/clock/testing"
)

// reach is a way to an emulator.
type reach struct {
	client *http.Client
	base   string
}

// overBoth runs a test in memory and over a socket: what a client sees must not differ.
func overBoth(t *testing.T, test func(t *testing.T, e *Emulator, by reach)) {
	t.Run("in memory", func(t *testing.T) {
		e := emulatorAtNoon()
		test(t, e, reach{&http.Client{Transport: e.Transport(), CheckRedirect: stay}, "http://emulator.test"})
	})
	t.Run("over a socket", func(t *testing.T) {
		e := emulatorAtNoon()
		server := httptest.NewServer(e)
		defer server.Close()
		client := server.Client()
		client.CheckRedirect = stay
		test(t, e, reach{client, server.URL})
	})
}

func TestAFaultChangesTheAnswer(t *testing.T) {
	tests := []struct {
		name  string
		fault Fault
		check func(t *testing.T, got answer)
		mints int
	}{
		{"a status", Fault{Status: 503}, func(t *testing.T, got answer) {
			if got.status != 503 || !strings.Contains(got.body, `"error":"fault"`) {
				t.Errorf("%d %s", got.status, got.body)
			}
		}, 0},
		{"a status with a wait in seconds", Fault{Status: 429, RetryAfter: 90 * time.Second}, func(t *testing.T, got answer) {
			if got.status != 429 || got.header.Get("Retry-After") != "90" {
				t.Errorf("%d, Retry-After %q", got.status, got.header.Get("Retry-After"))
			}
		}, 0},
		{"a limit whose wait is in the body too", Fault{Status: 429, RetryAfter: 90 * time.Second, RetryAfterAsDate: true}, func(t *testing.T, got answer) {
			want := `{"error":"fault","message":"the emulator is set to answer 429","retry_after_seconds":90}`
			if got.body != want || got.header.Get("Retry-After") != "Mon, 23 Nov 2026 12:01:30 GMT" {
				t.Errorf("%s, Retry-After %q", got.body, got.header.Get("Retry-After"))
			}
		}, 0},
		{"a limit without a wait", Fault{Status: 429}, func(t *testing.T, got answer) {
			if strings.Contains(got.body, "retry_after_seconds") || len(got.header.Values("Retry-After")) != 0 {
				t.Errorf("%s, Retry-After %q", got.body, got.header.Get("Retry-After"))
			}
		}, 0},
		{"a refusal of Reactor's own", Fault{Status: 403}, func(t *testing.T, got answer) {
			want := `{"error":"fault","message":"the emulator is set to answer 403"}`
			if got.status != 403 || got.body != want || got.header.Get("Content-Type") != "application/json" || got.header.Get("Server") != "" {
				t.Errorf("%d %s %v", got.status, got.body, got.header)
			}
		}, 0},
		{"a wait until a date", Fault{Status: 503, RetryAfter: time.Minute, RetryAfterAsDate: true}, func(t *testing.T, got answer) {
			if got.header.Get("Retry-After") != "Mon, 23 Nov 2026 12:01:00 GMT" {
				t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
			}
		}, 0},
		{"a status without a body", Fault{Status: 204}, func(t *testing.T, got answer) {
			if got.status != 204 || got.body != "" {
				t.Errorf("%d %s", got.status, got.body)
			}
		}, 0},
		{"a body that is not JSON", Fault{Body: new("<html>")}, func(t *testing.T, got answer) {
			if got.status != 200 || got.body != "<html>" || got.header.Get("Content-Type") != "text/html" {
				t.Errorf("%d %s %v", got.status, got.body, got.header)
			}
		}, 0},
		{"an empty body", Fault{Body: new("")}, func(t *testing.T, got answer) {
			if got.status != 200 || got.body != "" || got.err != nil {
				t.Errorf("%d %q %v", got.status, got.body, got.err)
			}
		}, 0},
		{"a huge body", Fault{PadTo: 2 << 20}, func(t *testing.T, got answer) {
			if len(got.body) != 2<<20 || !json.Valid([]byte(got.body)) {
				t.Errorf("%d bytes", len(got.body))
			}
		}, 1},
		{"a redirect", Fault{RedirectTo: "http://elsewhere.test/"}, func(t *testing.T, got answer) {
			if got.status != 307 || got.header.Get("Location") != "http://elsewhere.test/" {
				t.Errorf("%d to %q", got.status, got.header.Get("Location"))
			}
		}, 0},
		{"a redirect of another kind", Fault{RedirectTo: "/other", Status: 302}, func(t *testing.T, got answer) {
			if got.status != 302 {
				t.Errorf("%d", got.status)
			}
		}, 0},
		{"no jwt", Fault{OmitJWT: true}, func(t *testing.T, got answer) {
			if got.status != 200 || strings.Contains(got.body, "jwt") || !strings.Contains(got.body, "expires_at") {
				t.Errorf("%d %s", got.status, got.body)
			}
		}, 1},
		{"no expires_at", Fault{OmitExpiresAt: true}, func(t *testing.T, got answer) {
			if got.status != 200 || !strings.Contains(got.body, "jwt") || strings.Contains(got.body, "expires_at") {
				t.Errorf("%d %s", got.status, got.body)
			}
		}, 1},
		{"an expiry in the past", Fault{ExpiresIn: new(-time.Minute)}, func(t *testing.T, got answer) {
			if !strings.Contains(got.body, strconv.FormatInt(noon.Unix()-60, 10)) {
				t.Error(got.body)
			}
		}, 1},
		{"another Date", Fault{DateSkew: time.Hour}, func(t *testing.T, got answer) {
			if got.header.Get("Date") != "Mon, 23 Nov 2026 13:00:00 GMT" || !strings.Contains(got.body, strconv.FormatInt(noon.Unix()+6*3600, 10)) {
				t.Errorf("Date %s, %s", got.header.Get("Date"), got.body)
			}
		}, 1},
		{"no Date", Fault{OmitDate: true}, func(t *testing.T, got answer) {
			if len(got.header.Values("Date")) != 0 {
				t.Errorf("Date %s", got.header.Get("Date"))
			}
		}, 1},
		{"a cut in the body", Fault{Cut: true}, func(t *testing.T, got answer) {
			if got.status != 200 || !errors.Is(got.err, io.ErrUnexpectedEOF) || !strings.HasPrefix(got.body, `{"expires_at"`) {
				t.Errorf("%d %s %v", got.status, got.body, got.err)
			}
		}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, e *Emulator, by reach) {
				e.SetFaults(test.fault)
				got := sendWith(t, by.client, by.base, http.MethodPost, "/tokens", testKey, "")
				test.check(t, got)
				ledger := e.Ledger()
				if ledger.Mints() != test.mints || len(ledger.Calls) != 1 || !ledger.Calls[0].Faulted || ledger.Calls[0].Status != got.status {
					t.Errorf("ledger %+v", ledger)
				}
				e.ClearFaults()
				if after := sendWith(t, by.client, by.base, http.MethodPost, "/tokens", testKey, ""); after.status != 200 {
					t.Errorf("status %d after the fault was cleared", after.status)
				}
			})
		})
	}
}

func TestAFaultMeetsTheCallsThatItNames(t *testing.T) {
	const scoped = `{"authorization_details":[{"type":"session","resources":{"models":{"match":["a","b"]}}}]}`
	tests := []struct {
		name   string
		faults []Fault
		body   string
		want   []int // the status of one call after the other
	}{
		{"all calls", []Fault{{Status: 500}}, "", []int{500, 500, 500}},
		{"a number of calls", []Fault{{Status: 500, Times: 2}}, "", []int{500, 500, 200, 200}},
		{"one after the other", []Fault{{Status: 500, Times: 1}, {Status: 429, Times: 1}, {Status: 503}}, "", []int{500, 429, 503, 503}},
		{"the key's calls", []Fault{{Status: 500, Key: Fingerprint(testKey)}}, "", []int{500}},
		{"not another key's", []Fault{{Status: 500, Key: Fingerprint("rk_other")}}, "", []int{200}},
		{"the model's calls", []Fault{{Status: 500, Model: "b"}}, scoped, []int{500}},
		{"not another model's", []Fault{{Status: 500, Model: "c"}}, scoped, []int{200}},
		{"not those without a scope", []Fault{{Status: 500, Model: "b"}}, "", []int{200}},
		{"calls of a body that breaks a rule", []Fault{{Status: 500, Times: 1}}, "{", []int{500, 400}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := emulatorAtNoon()
			faults := append([]Fault(nil), test.faults...)
			e.SetFaults(faults...)
			for i, want := range test.want {
				if got := send(t, e, http.MethodPost, "/tokens", testKey, test.body); got.status != want {
					t.Errorf("call %d: status %d, want %d", i+1, got.status, want)
				}
			}
		})
	}
}

func TestAnUnknownKeyIsRefusedEvenUnderAFaultThatMints(t *testing.T) {
	e := emulatorAtNoon()
	e.SetFaults(Fault{OmitJWT: true})
	if got := send(t, e, http.MethodPost, "/tokens", "rk_other", ""); got.status != http.StatusUnauthorized {
		t.Errorf("status %d", got.status)
	}
}

func TestLatencyPassesOnTheBubblesClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{Keys: []string{testKey}})
		e.SetFaults(Fault{Latency: time.Hour})
		start := time.Now()
		token := mint(t, e, `{"expires_after":60}`)
		if took := time.Since(start); took != time.Hour {
			t.Errorf("it took %s", took)
		}
		if token.ExpiresAt != time.Now().Unix()+60 {
			t.Errorf("the token was minted before the latency had passed")
		}
	})
}

func TestACallThatHangsEndsWithItsContext(t *testing.T) {
	for name, fault := range map[string]Fault{"hang": {Hang: true}, "latency": {Latency: 24 * time.Hour}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := New(Options{Keys: []string{testKey}})
				e.SetFaults(fault)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://emulator.test/tokens", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set(apiKeyHeader, testKey)
				_, err = e.Transport().RoundTrip(request)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the call ended with %v", err)
				}
				synctest.Wait()
				if calls := e.Ledger().Calls; len(calls) != 1 || calls[0].Status != 0 || calls[0].JTI != "" {
					t.Errorf("calls %+v", calls)
				}
			})
		})
	}
}

func TestAHangOverASocketEndsWhenTheClientGoes(t *testing.T) {
	e := emulatorAtNoon()
	e.SetFaults(Fault{Hang: true})
	arrived := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		e.ServeHTTP(w, r)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/tokens", strings.NewReader("null"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		response, err := server.Client().Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
		ended <- err
	}()
	<-arrived
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the call ended with %v", err)
	}
	server.Close() // returns once the handler has
}

func TestAFaultThatNoServerCouldHaveIsASlip(t *testing.T) {
	for name, fault := range map[string]Fault{
		"a status below 200":   {Status: 100},
		"a status above 599":   {Status: 600},
		"a negative count":     {Times: -1},
		"a negative latency":   {Latency: -1},
		"a negative wait":      {Status: 429, RetryAfter: -1},
		"a body beyond bounds": {PadTo: maxPadBytes + 1},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was taken")
				}
			}()
			emulatorAtNoon().SetFaults(fault)
		})
	}
}

func TestCallsAndControlsMayComeAtTheSameTime(t *testing.T) {
	e := New(Options{Clock: testclock.NewFakePassiveClock(noon), Keys: []string{testKey}})
	const workers, rounds = 8, 25
	done := make(chan struct{})
	for range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			for range rounds {
				send(t, e, http.MethodPost, "/tokens", testKey, `{"expires_after":60}`)
				e.SetFaults(Fault{Status: 500, Times: 1})
				e.SetLifetimes(time.Hour, time.Hour)
				e.SetDateSkew(time.Second)
				e.AddKey("rk_other")
				e.RevokeKey("rk_other")
				_, _ = e.Ledger().Mints(), e.IssuedJWTs()
			}
		}()
	}
	for range workers {
		<-done
	}
	if calls := len(e.Ledger().Calls); calls != workers*rounds {
		t.Errorf("%d calls, want %d", calls, workers*rounds)
	}
}
