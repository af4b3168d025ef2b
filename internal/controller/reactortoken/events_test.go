package reactortoken

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

func TestEventsReportTransitions(t *testing.T) {
	ready, renewed := "Ready=True/TokenValid", "Renewed=True/Issued"
	due := plan{cause: causeDue, write: writeMint}
	skewed := func(by time.Duration) func(*actResult) {
		return func(result *actResult) {
			pending := aPendingToken()
			pending.token.Skew = by
			result.record, result.version, result.issued = recordOfPending(pending), "8", true
		}
	}
	tests := []struct {
		name     string
		token    func(*v1alpha1.ReactorToken)
		observed []func(*observation)
		planned  plan
		result   actResult
		want     string
	}{
		{name: "nothing happened", observed: []func(*observation){before(ready, renewed)}, result: ended()},
		{name: "a token was issued", observed: []func(*observation){before(ready, renewed)}, planned: due, result: ended(issuing), want: "Normal/TokenIssued"},
		{name: "a Secret was adopted", observed: []func(*observation){noToken}, planned: due, result: ended(issuing, func(d *actResult) { d.adopted = true }),
			want: "Normal/TokenIssued Normal/SecretAdopted"},
		{name: "a Secret was repaired", observed: []func(*observation){before(ready, renewed)}, result: ended(func(d *actResult) { d.repaired = true }), want: "Normal/SecretRepaired"},
		{name: "a renewal began to fail", observed: []func(*observation){before(ready, renewed)}, planned: due, result: ended(failed(backedUp)), want: "Warning/ReactorUnavailable"},
		{name: "a renewal goes on failing", observed: []func(*observation){before(ready, "Renewed=False/ReactorUnavailable")}, planned: due, result: ended(failed(backedUp))},
		{name: "a renewal fails for another reason", observed: []func(*observation){before(ready, "Renewed=False/ReactorUnavailable")}, planned: due, result: ended(failed(refusal)),
			want: "Warning/RequestRefused"},
		{name: "a first attempt failed", observed: []func(*observation){noToken}, planned: due, result: ended(failed(backedUp)), want: "Warning/ReactorUnavailable"},
		{name: "an object was suspended", observed: []func(*observation){before(ready, renewed)}, planned: plan{obstacle: paused}, result: ended(), want: "Normal/Suspended"},
		{name: "a token expired", observed: []func(*observation){expired, before(ready, "Renewed=False/ReactorUnavailable")}, planned: due, result: ended(failed(backedUp)),
			want: "Warning/TokenExpired"},
		{name: "a token had expired before", observed: []func(*observation){expired, before("Ready=False/TokenExpired", "Renewed=False/ReactorUnavailable")}, planned: due, result: ended(failed(backedUp))},
		{name: "a turn is waited for", observed: []func(*observation){noToken}, planned: due, result: ended(waiting(inQueue))},
		{name: "a skew came", observed: []func(*observation){before(ready, renewed)}, planned: due, result: ended(skewed(-31 * time.Second)), want: "Normal/TokenIssued Warning/ClockSkew"},
		{name: "a skew of half a minute is none", observed: []func(*observation){before(ready, renewed)}, planned: due, result: ended(skewed(30 * time.Second)), want: "Normal/TokenIssued"},
		{name: "a skew stays", observed: []func(*observation){before(ready, renewed), func(o *observation) { o.target.Record = aRecord(func(r *targetsecret.Record) { r.Skew = time.Hour }) }},
			planned: due, result: ended(skewed(2 * time.Hour)), want: "Normal/TokenIssued"},
		{name: "a new spec with a short renewBefore", token: func(token *v1alpha1.ReactorToken) { token.Generation, token.Spec.RenewBefore = 2, "89s" },
			observed: []func(*observation){before(ready, renewed)}, result: ended(), want: "Warning/RenewBeforeShort"},
		{name: "a new spec with a short renewBefore and prompt delivery", token: func(token *v1alpha1.ReactorToken) {
			token.Generation, token.Spec.RenewBefore = 2, "89s"
			prompt(token)
		}, observed: []func(*observation){before(ready, renewed)}, result: ended()},
		{name: "a new spec with a renewBefore that is long enough", token: func(token *v1alpha1.ReactorToken) { token.Generation, token.Spec.RenewBefore = 2, "90s" },
			observed: []func(*observation){before(ready, renewed)}, result: ended()},
		{name: "a new spec with a lifetime that makes the default renewBefore short", token: func(token *v1alpha1.ReactorToken) {
			token.Generation, token.Spec.Lifetime = 2, "4m29s"
		}, observed: []func(*observation){before(ready, renewed)}, result: ended(), want: "Warning/RenewBeforeShort"},
		{name: "a new spec with a lifetime that makes the default renewBefore just long enough", token: func(token *v1alpha1.ReactorToken) {
			token.Generation, token.Spec.Lifetime = 2, "4m30s"
		}, observed: []func(*observation){before(ready, renewed)}, result: ended()},
		{name: "an old spec with a short renewBefore", token: func(token *v1alpha1.ReactorToken) { token.Spec.RenewBefore = "89s" },
			observed: []func(*observation){before(ready, renewed)}, result: ended()},
		{name: "something else to tell", observed: []func(*observation){before(ready, renewed)}, result: ended(func(d *actResult) {
			d.notices = []notice.Notice{notice.Warning("Odd", "Do", "%d", 1)}
		}), want: "Warning/Odd"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			token := aToken()
			if test.token != nil {
				test.token(token)
			}
			var got []string
			for _, n := range buildReport(token, observing(test.observed...), test.planned, test.result).events {
				got = append(got, n.Kind+"/"+n.Reason)
				if n.Action == "" || n.Note == "" {
					t.Errorf("notice %+v", n)
				}
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// An event without its status is worse than none: the next pass finds the same transition again, and tells it then.
func TestEventsFollowTheWriteOfTheStatus(t *testing.T) {
	inWorld(t, func(w *world) {
		w.reactor.RevokeKey(firstKey)
		w.api.MeddleWith(withoutStatus)
		w.create(newToken("web"))
		w.start()
		if got := w.eventsOf("web"); len(got) != 0 {
			t.Errorf("events %q without a status", got)
		}
		w.api.MeddleWith(nil)
		w.pass(retryCap)
		if diff := cmp.Diff([]string{"APIKeyRefused"}, w.eventsOf("web")); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestALongNoteFitsIntoAnEvent(t *testing.T) {
	recorder := &output{}
	r := &Reconciler{recorder: recorder}
	r.emit(t.Context(), aToken(), lastStatus{notices: []notice.Notice{notice.Normal("Long", "Do", "%s", strings.Repeat("ü", 2000))}})
	if note := strings.TrimSuffix(recorder.events[0].note, " Do"); len(note) > notice.MaxNote || len(note) < notice.MaxNote-4 {
		t.Errorf("a note of %d bytes", len(note))
	}
}
