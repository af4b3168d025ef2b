package reactortoken

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// Whoever may write the Secret may write anything into its annotations, and an object that was stored before a rule of the API may break
// it: whatever a record and a spec say, a pass comes to a decision, and never sleeps past the end of a token that it calls valid.
func FuzzDecision(f *testing.F) {
	good := aRecord()
	expiry, issued := good.ExpiresAt.Format(time.RFC3339), good.IssuedAt.Format(time.RFC3339)
	for _, seed := range []struct{ issued, expires, skew, lifetime, renewBefore string }{
		{issued, expiry, "0s", "6h", ""},
		{issued, expiry, "-1.5s", "1m", "59s"},
		{issued, expiry, "2562047h47m16s", "6h", "6h"},
		{issued, expiry, "-2562047h47m16s", "6h", "1s"},
		{"0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0s", "6h", ""},
		{"2026-03-01T11:59:59Z", "2026-03-01T12:00:01Z", "1ns", "2s", "1s"},
		{"2026-03-01T11:00:00+14:00", "9999-12-31T23:59:59-12:00", "0s", "-5m", "2562047h"},
		{"", "", "", "", ""},
	} {
		f.Add(seed.issued, seed.expires, seed.skew, "token-1", goodKey, good.RequestHash, "", seed.lifetime, seed.renewBefore, "now", int64(time.Hour), "reactor/helios", int32(1), "20m", false)
		f.Add(seed.issued, seed.expires, seed.skew, "", "", "", "now", seed.lifetime, seed.renewBefore, "now", int64(-time.Hour), "", int32(-1), "soon", true)
	}
	f.Fuzz(func(t *testing.T, issued, expires, skew, id, key, hash, request, lifetime, renewBefore, renew string, elapsed int64,
		model string, sessions int32, sessionDuration string, suspend bool) {
		token := aToken(func(token *v1alpha1.ReactorToken) {
			token.Spec.Lifetime, token.Spec.RenewBefore = v1alpha1.Duration(lifetime), v1alpha1.Duration(renewBefore)
			token.Spec.Scope = &v1alpha1.TokenScope{Models: []v1alpha1.ModelName{v1alpha1.ModelName(model)}, MaxSessions: sessions, MaxSessionDuration: v1alpha1.Duration(sessionDuration)}
			token.Spec.Suspend = new(suspend)
			token.Annotations = map[string]string{v1alpha1.RenewRequestedAtAnnotation: renew}
		})
		annotations := map[string]string{
			v1alpha1.IssuedAtAnnotation: issued, v1alpha1.ExpiresAtAnnotation: expires, v1alpha1.ClockSkewAnnotation: skew, v1alpha1.TokenIDAnnotation: id,
			v1alpha1.KeyFingerprintAnnotation: key, v1alpha1.RequestHashAnnotation: hash, v1alpha1.HandledRenewRequestAnnotation: request,
			v1alpha1.TokenChecksumAnnotation: "sum",
		}
		observed := observing(func(observed *observation) {
			observed.target.Record = targetsecret.ReadRecord(annotations)
			observed.clocks.elapsed = time.Duration(elapsed)
		})
		planned := decide(token, observed)
		if planned.write != writeNothing && (planned.cause == causeNone || planned.obstacle != nil) {
			t.Fatalf("a write without a cause, or past an obstacle: %+v", planned)
		}
		report := buildReport(token, observed, planned, actResult{clocks: observed.clocks})
		current := observed.target.Record
		valid := current != nil && observed.clocks.until(current.ExpiresAt, current) > 0
		if ready := meta.IsStatusConditionTrue(report.status.Conditions, v1alpha1.ConditionReady); ready != valid {
			t.Fatalf("Ready is %t with %+v", ready, current)
		}
		next := schedule(t.Context(), planned.requeue, report.requeue).RequeueAfter
		if next < 0 || next > maxWait || valid && (next == 0 || next > max(observed.clocks.until(current.ExpiresAt, current), time.Millisecond)) {
			t.Fatalf("the next reconcile is in %s, and the token lives for %s", next, observed.clocks.until(current.ExpiresAt, current))
		}
		if current == nil {
			return
		}
		due := renewalTime(&token.Spec, token.UID, current)
		if due.Before(current.IssuedAt.Truncate(time.Second)) || due.After(current.ExpiresAt.Add(minTimeToRenewal)) {
			t.Fatalf("due at %s, issued at %s for %s", due, current.IssuedAt, current.Granted())
		}
		for _, at := range []*metav1.Time{report.status.IssuedTime, report.status.ExpirationTime, report.status.RenewalTime} {
			if at == nil { // the year 1
				continue
			}
			if stored, err := time.Parse(time.RFC3339, at.Format(time.RFC3339)); err != nil || !stored.Equal(at.Time) {
				t.Fatalf("the API server would store %s for %s, %v", stored, at, err)
			}
		}
	})
}
