package authn

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"k8s.io/utils/clock"

	"github.com/reactor-operator/reactor-operator/test/infra/authntest"
)

// slowIssuer answers as an issuer does, after some time. It counts the requests.
type slowIssuer struct {
	issuer *authntest.Issuer
	takes  time.Duration
	asked  atomic.Int32
}

// RoundTrip implements http.RoundTripper. It needs no connection, so it works in a bubble of virtual time.
func (s *slowIssuer) RoundTrip(request *http.Request) (*http.Response, error) {
	s.asked.Add(1)
	select {
	case <-time.After(s.takes):
		return s.issuer.Respond(request), nil
	case <-request.Context().Done():
		return nil, request.Context().Err()
	}
}

// beforeSlowIssuer runs a test in a bubble of virtual time, with an issuer that takes this long for each answer.
func beforeSlowIssuer(t *testing.T, takes time.Duration, test func(t *testing.T, slow *slowIssuer, authenticator *oidcTokens)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		slow := &slowIssuer{issuer: authntest.NewIssuer(t), takes: takes}
		test(t, slow, oidcOf(slow.issuer, slow, clock.RealClock{}))
	})
}

// outcome is what a caller got, and when.
type outcome struct {
	err   error
	after time.Duration
}

// callAt starts a caller after a delay. The caller gives up after its patience.
func callAt(t *testing.T, authenticator Authenticator, delay, timeout time.Duration, token string) <-chan outcome {
	t.Helper()
	landed, request := make(chan outcome, 1), bearer(t, token)
	start := time.Now()
	go func() {
		time.Sleep(delay)
		ctx, cancel := context.WithTimeout(request.Context(), timeout)
		defer cancel()
		_, err := authenticator.Authenticate(request.WithContext(ctx))
		landed <- outcome{err, time.Since(start)}
	}()
	return landed
}

// The scenario: the issuer accepts connections and never answers. Four callers ask at the same time. Each of them must have its answer when
// the one call has timed out, and not when the calls of those before it have timed out, one after the other.
func TestAnIssuerThatHangsIsAskedOnceForAllCallers(t *testing.T) {
	beforeSlowIssuer(t, time.Hour, func(t *testing.T, slow *slowIssuer, authenticator *oidcTokens) {
		token := slow.issuer.Sign(t, jwt.SigningMethodES256, slow.issuer.Key, nil)
		var callers []<-chan outcome
		for range 4 {
			callers = append(callers, callAt(t, authenticator, 0, time.Hour, token))
		}
		for _, caller := range callers {
			if got := <-caller; !isUnavailable(got.err) || got.after != issuerTimeout {
				t.Errorf("after %s: %v", got.after, got.err)
			}
		}
		if asked := slow.asked.Load(); asked != 1 {
			t.Errorf("the issuer was asked %d times", asked)
		}
	})
}

// The pause starts when the call has failed: one that started with the call would be over when a call that hangs times out.
func TestAfterACallThatHangsTheIssuerIsNotAskedAgainImmediately(t *testing.T) {
	beforeSlowIssuer(t, time.Hour, func(t *testing.T, slow *slowIssuer, authenticator *oidcTokens) {
		token := slow.issuer.Sign(t, jwt.SigningMethodES256, slow.issuer.Key, nil)
		<-callAt(t, authenticator, 0, time.Hour, token)
		if got := <-callAt(t, authenticator, time.Second, time.Hour, token); !isUnavailable(got.err) || got.after != time.Second {
			t.Errorf("a second later, after %s: %v", got.after, got.err)
		}
		if asked := slow.asked.Load(); asked != 1 {
			t.Errorf("the issuer was asked %d times", asked)
		}
		time.Sleep(discoveryRetryDelay)
		slow.takes = 0
		if got := <-callAt(t, authenticator, 0, time.Hour, token); got.err != nil {
			t.Errorf("after the pause: %v", got.err)
		}
	})
}

// A caller that gives up is gone when it gives up, and takes nothing from the others, though its request was the one that asked the issuer.
func TestACallerThatGivesUpIsNotKeptAndFailsNoOther(t *testing.T) {
	beforeSlowIssuer(t, 3*time.Second, func(t *testing.T, slow *slowIssuer, authenticator *oidcTokens) {
		token := slow.issuer.Sign(t, jwt.SigningMethodES256, slow.issuer.Key, nil)
		impatient, patient := callAt(t, authenticator, 0, time.Second, token), callAt(t, authenticator, 500*time.Millisecond, time.Hour, token)
		if got := <-impatient; !errors.Is(got.err, context.DeadlineExceeded) || got.after != time.Second {
			t.Errorf("the first, after %s: %v", got.after, got.err)
		}
		if got := <-patient; got.err != nil || got.after != 6*time.Second { // the configuration, and the keys
			t.Errorf("the second, after %s: %v", got.after, got.err)
		}
		if asked := slow.asked.Load(); asked != 2 {
			t.Errorf("the issuer was asked %d times", asked)
		}
	})
}
