package integration

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

func TestARefusedKeyParksAllItsTokensWithOneCallAndAChangedKeyFreesThem(t *testing.T) {
	t.Parallel()
	const count = 6
	w := newWorld(t)
	o := w.start()
	wrong := newKey()
	w.setKey(wrong)
	begin := time.Now()
	for i := range count {
		w.create(fmt.Sprintf("web-%d", i))
	}
	for i := range count {
		name := fmt.Sprintf("web-%d", i)
		w.waitForCondition(name, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAPIKeyRefused)
		w.waitForCondition(name, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonAPIKeyRefused)
		w.requestRenewal(name, "now")
	}
	w.settle(o)
	// One token tries the key again after 30 seconds, and then after twice that: on a slow machine that may be now.
	most := func(first int) int { return first + int(time.Since(begin)/(30*time.Second)) }
	if calls := w.reactor.Ledger().CallsByKey()[emulator.Fingerprint(wrong)]; calls < 1 || calls > most(1) {
		t.Errorf("%d calls with a refused key", calls)
	}

	// A restart knows nothing of the key, and so costs one call.
	o.kill()
	o = w.start()
	o.waitUntilIdle(count)
	w.settle(o)
	if calls := w.reactor.Ledger().CallsByKey()[emulator.Fingerprint(wrong)]; calls < 2 || calls > most(2) {
		t.Errorf("%d calls with a refused key, over a restart", calls)
	}
	w.rotateKey()
	for i := range count {
		w.waitUntilReady(fmt.Sprintf("web-%d", i))
	}
	w.settle(o)
	if mints := w.mints(); mints != count {
		t.Errorf("%d mints for %d tokens", mints, count)
	}
}

func TestARevokedKeyLeavesTheTokenInPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	w.create("web")
	secret := w.waitUntilReady("web")
	w.reactor.RevokeKey(w.key)
	w.requestRenewal("web", "now")
	token := w.waitForCondition("web", v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonAPIKeyRefused)
	if err := checkCondition(token, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid); err != nil {
		t.Error("Ready:", err)
	}
	if meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionStalled) != nil {
		t.Error("Stalled, although there is a valid token")
	}
	w.settle(o)
	if after := w.secret("web"); after.ResourceVersion != secret.ResourceVersion {
		t.Error("the Secret has changed")
	}
	w.rotateKey()
	w.waitForAnother("web", idOf(secret))
}

func TestABadRequestHoldsNobodyElse(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusBadRequest, http.StatusForbidden} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := w.start()
			// A refusal of Reactor's that quotes what it was sent: nothing of it may be shown.
			quoted := `{"error":"refused","message":"key ` + w.key + `, token ` + mintDirectly(t, w.reactor.Emulator, w.key) + `"}`
			minted := w.mints()
			w.reactor.SetFaults(emulator.Fault{Model: string(modelOf("bad")), Status: status, Body: &quoted})
			w.create("bad", func(token *v1alpha1.ReactorToken) {
				token.Spec.Scope = &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{modelOf("bad")}}
			})
			w.waitForCondition("bad", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRequestRefused)
			for i := range 3 {
				w.create(fmt.Sprintf("good-%d", i))
				w.waitUntilReady(fmt.Sprintf("good-%d", i))
			}
			w.settle(o)
			if calls := len(w.reactor.Ledger().Calls) - minted; calls != 4 {
				t.Errorf("%d calls for one bad and three good requests", calls)
			}
			o.kill()
			o = w.start()
			w.settle(o)
			if calls := len(w.reactor.Ledger().Calls) - minted; calls != 4 {
				t.Errorf("%d calls, over a restart", calls)
			}
			w.reactor.ClearFaults()
			w.requestRenewal("bad", "now")
			w.waitUntilReady("bad")
		})
	}
}

func TestARateLimitHoldsTheKeyAndNotOneObject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.reactor.SetFaults(emulator.Fault{Times: 1, Status: http.StatusTooManyRequests, RetryAfter: 5 * time.Second})
	for i := range 4 {
		w.create(fmt.Sprintf("web-%d", i))
	}
	for i := range 4 {
		w.waitForCondition(fmt.Sprintf("web-%d", i), v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRateLimited)
	}
	for i := range 4 {
		w.waitUntilReady(fmt.Sprintf("web-%d", i))
	}
	calls := w.reactor.Ledger().Calls
	if len(calls) != 5 {
		t.Fatalf("%d calls, want the limited one and one for each token", len(calls))
	}
	if held := calls[1].Time.Sub(calls[0].Time); held < 5*time.Second {
		t.Errorf("the second call came %s after the first, and not after the 5s that Reactor asked for", held)
	}
}

func TestAnUnavailableReactorIsTriedAgain(t *testing.T) {
	t.Parallel()
	garbled := `{"jwt":`
	for name, fault := range map[string]emulator.Fault{
		"an error of the server":    {Times: 1, Status: http.StatusServiceUnavailable},
		"a cut connection":          {Times: 1, Cut: true},
		"an answer that is no JSON": {Times: 1, Body: &garbled},
		"no expiry":                 {Times: 1, OmitExpiresAt: true},
		"expired on arrival":        {Times: 1, ExpiresIn: new(-time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.start()
			w.reactor.SetFaults(fault)
			w.create("web")
			token := w.waitForCondition("web", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonReactorUnavailable)
			if token.Status.NextAttemptTime == nil || token.Status.ConsecutiveFailures != 1 {
				t.Errorf("status tells of %d failures, and of the next attempt at %v", token.Status.ConsecutiveFailures, token.Status.NextAttemptTime)
			}
			w.waitUntilReady("web")
			if calls := len(w.reactor.Ledger().Calls); calls != 2 {
				t.Errorf("%d calls", calls)
			}
		})
	}
}
