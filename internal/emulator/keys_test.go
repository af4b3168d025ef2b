package emulator

import (
	"net/http"
	"testing"
	"time"
)

func TestTwoKeysAreValidAtTheSameTime(t *testing.T) {
	inBubble(t, noQuotas, func(t *testing.T, e *Emulator) {
		e.AddKey("rk_next")
		for _, key := range []string{testKey, "rk_next", testKey} {
			wantStatus(t, key, send(t, e, http.MethodPost, "/tokens", key, ""), 200, "")
		}
		e.RevokeKey(testKey)
		wantStatus(t, "the old key", send(t, e, http.MethodPost, "/tokens", testKey, ""), 401, "invalid_api_key")
		wantStatus(t, "the new key", send(t, e, http.MethodPost, "/tokens", "rk_next", ""), 200, "")
	})
}

func TestARevocationTakesEffectAfterItsDelay(t *testing.T) {
	inBubble(t, noQuotas, func(t *testing.T, e *Emulator) {
		status := func() int { return send(t, e, http.MethodPost, "/tokens", testKey, "").status }
		e.SetRevocation(Revocation{Delay: 40 * time.Second})
		if !e.RevokeKey(testKey) {
			t.Fatal("the key was not known")
		}
		time.Sleep(40*time.Second - time.Nanosecond)
		e.SetRevocation(Revocation{Delay: time.Minute}) // for later revocations
		if e.RevokeKey(testKey) {
			t.Error("a key was revoked twice")
		}
		if got := status(); got != 200 {
			t.Errorf("a nanosecond before: %d", got)
		}
		time.Sleep(time.Nanosecond)
		if got := status(); got != 401 {
			t.Errorf("after the delay: %d", got)
		}
		e.AddKey(testKey)
		if got := status(); got != 200 {
			t.Errorf("after the key was added again: %d", got)
		}
	})
}

func TestAKeyThatIsAddedAgainInTimeIsNotRevoked(t *testing.T) {
	inBubble(t, noQuotas, func(t *testing.T, e *Emulator) {
		e.SetRevocation(Revocation{Delay: time.Minute})
		e.RevokeKey(testKey)
		e.AddKey(testKey)
		time.Sleep(time.Hour)
		wantStatus(t, "an hour later", send(t, e, http.MethodPost, "/tokens", testKey, ""), 200, "")
	})
}

func TestTheTokensOfARevokedKeyAreRefusedIfThatIsSet(t *testing.T) {
	for name, test := range map[string]struct {
		control string
		after   int
		code    string
	}{
		"not by default": {`{"delay":"30s"}`, 200, ""},
		"with the knob":  {`{"delay":"30s","refuse_tokens":true}`, 401, "unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, noQuotas, func(t *testing.T, e *Emulator) {
				wantStatus(t, "the knob", send(t, e, "PUT", "/_emulator/revocation", "", test.control), 204, "")
				token := mint(t, e, scope("")).JWT
				id := start(t, e, token)
				wantStatus(t, "the revocation", send(t, e, "DELETE", "/_emulator/keys", "", `{"key":"`+testKey+`"}`), 204, "")
				time.Sleep(30*time.Second - time.Nanosecond)
				wantStatus(t, "before it takes effect", as(t, e, token, "GET /sessions/"+id, ""), 200, "")
				time.Sleep(time.Nanosecond)
				wantStatus(t, "after it", as(t, e, token, "GET /sessions/"+id, ""), test.after, test.code)
				if open := len(e.Ledger().Open()); open != 1 {
					t.Errorf("%d sessions are open, want 1: a revocation ends none", open)
				}
				e.AddKey("rk_next")
				next := mintWith(t, e, "rk_next", scope("", id)).JWT
				wantStatus(t, "a token of another key", as(t, e, next, "GET /sessions/"+id, ""), 200, "")
			})
		})
	}
}

func TestARevocationThatReactorDoesNotHaveIsRefused(t *testing.T) {
	for _, delay := range []time.Duration{-1, time.Minute + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a delay of %s is accepted", delay)
				}
			}()
			emulatorAtNoon().SetRevocation(Revocation{Delay: delay})
		}()
	}
}
