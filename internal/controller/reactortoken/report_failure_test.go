package reactortoken

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// What a wait after a failure needs stands in status: how often, until when, and what was attempted.
func TestWhatStatusKeepsOfAFailure(t *testing.T) {
	type kept struct {
		Failures int32
		Next     time.Duration // after noon; 0 for none
		Reason   string
	}
	// Three failures ago Reactor went away, and the next attempt was due at half past noon.
	failedBefore := func(observed *observation) {
		failing(v1alpha1.ReasonReactorUnavailable, noon.Add(30*time.Minute))(observed)
		observed.status.ConsecutiveFailures = 3
	}
	due := plan{cause: causeDue, write: writeMint}
	tests := []struct {
		name    string
		planned plan
		result  actResult
		want    kept
	}{
		{"a success forgets it", due, ended(issuing), kept{}},
		{"a token that is not due any more forgets it", plan{}, ended(), kept{}},
		{"another failure counts", due, ended(failed(backedUp)), kept{4, time.Minute, v1alpha1.ReasonReactorUnavailable}},
		{"a failure of another kind counts too, and names no instant", due, ended(failed(refusal)), kept{4, 0, v1alpha1.ReasonRequestRefused}},
		{"a wait in a backoff changes nothing", plan{cause: causeDue, obstacle: backedUp}, ended(), kept{3, 30 * time.Minute, v1alpha1.ReasonReactorUnavailable}},
		{"a key that is held is no attempt of its own", due, ended(waiting(limited)), kept{3, time.Minute, v1alpha1.ReasonRateLimited}},
		{"a key that was refused is no attempt of its own", due, ended(waiting(keyBad)), kept{3, time.Minute, v1alpha1.ReasonAPIKeyRefused}},
		{"a wait for a turn changes nothing", due, ended(waiting(inQueue)), kept{3, 30 * time.Minute, v1alpha1.ReasonReactorUnavailable}},
		{"a wait for another's answer changes nothing", due, ended(waiting(pending)), kept{3, 30 * time.Minute, v1alpha1.ReasonReactorUnavailable}},
		{"a spent budget names its instant", plan{cause: causeEdited, obstacle: spent}, ended(), kept{3, time.Minute, v1alpha1.ReasonReactorUnavailable}},
		{"a suspension takes the place of the failure", plan{cause: causeDue, obstacle: paused}, ended(), kept{0, 0, ""}},
		{"a pass that is repeated changes nothing", due, ended(func(d *actResult) { d.changed = true }), kept{3, 30 * time.Minute, v1alpha1.ReasonReactorUnavailable}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			status := buildReport(aToken(), observing(failedBefore), test.planned, test.result).status
			got := kept{Failures: status.ConsecutiveFailures}
			if status.NextAttemptTime != nil {
				got.Next = status.NextAttemptTime.Sub(noon)
			}
			if status.LastFailure != nil {
				got.Reason = status.LastFailure.Reason
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFailureThatLastsKeepsTheTimeAtWhichItStarted(t *testing.T) {
	started := new(metav1.NewTime(noon.Add(-time.Hour)))
	for reason, want := range map[string]*metav1.Time{v1alpha1.ReasonRequestRefused: started, v1alpha1.ReasonReactorUnavailable: new(metav1.NewTime(noon))} {
		observed := observing(failing(v1alpha1.ReasonRequestRefused, noon))
		observed.status.LastFailure.FirstTime = started
		now := &obstacle{kind: retryWithBackoff, until: noon.Add(time.Minute), problem: problem{reason, "no"}}
		got := buildReport(aToken(), observed, plan{cause: causeDue, write: writeMint}, ended(failed(now))).status.LastFailure.FirstTime
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", reason, diff)
		}
	}
}

func TestTheAttemptThatFailedIsDescribedWithoutASecret(t *testing.T) {
	long := &obstacle{kind: retryWithBackoff, until: noon.Add(time.Minute), problem: problem{v1alpha1.ReasonReactorUnavailable, strings.Repeat("ü", 5000)}}
	token := aToken(annotate(v1alpha1.RenewRequestedAtAnnotation, "now"))
	got := buildReport(token, observing(), plan{cause: causeRequested, write: writeMint}, ended(failed(long))).status.LastFailure
	want := &v1alpha1.FailedAttempt{Reason: v1alpha1.ReasonReactorUnavailable, Message: notice.Bounded(long.message, maxFailureMessage),
		RequestHash: requestHash(&token.Spec), KeyFingerprint: goodKey, RenewRequest: "now", FirstTime: new(metav1.NewTime(noon))}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attempt (-want +got):\n%s", diff)
	}
	if !lastFailureCounts(token, observing(func(o *observation) { o.status.LastFailure = got })) {
		t.Error("the attempt that was described does not count as what would be attempted now")
	}
}

func TestWhatStatusReportsOfTheToken(t *testing.T) {
	timeOf := func(at time.Time) *metav1.Time { return &metav1.Time{Time: at} }
	want := v1alpha1.ReactorTokenStatus{
		ObservedGeneration: 1, SecretName: "web", SecretResourceVersion: "8",
		IssuedTime: timeOf(noon), ExpirationTime: timeOf(noon.Add(6 * time.Hour)),
		RenewalTime:       timeOf(renewalTime(&aToken().Spec, aToken().UID, recordOfPending(aPendingToken()))),
		RequestedLifetime: "6h", GrantedLifetime: "6h", DeliveredTokenID: "token-2",
	}
	got := buildReport(aToken(), observing(noToken), plan{cause: causeNew, write: writeMint}, ended(issuing)).status
	got.Conditions = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func TestTheVersionInStatusIsOfASecretThatIsRight(t *testing.T) {
	for name, test := range map[string]struct {
		observed func(*observation)
		result   actResult
		want     string
	}{
		"one that was written":        {func(*observation) {}, ended(issuing), "8"},
		"one that was found right":    {func(*observation) {}, ended(), "7"},
		"not one that drifted":        {func(o *observation) { o.target.Drifted = true }, ended(), ""},
		"not one that is immutable":   {func(o *observation) { o.target.Unusable = "it is immutable" }, ended(), ""},
		"none when there is no token": {func(o *observation) { o.target.Edited = true }, ended(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			observed := observing(test.observed, func(o *observation) { o.status.SecretResourceVersion = "earlier" })
			if got := buildReport(aToken(), observed, plan{}, test.result).status.SecretResourceVersion; got != test.want {
				t.Errorf("version %q, want %q", got, test.want)
			}
		})
	}
}

func TestARequestToRenewThatWasAnsweredIsNotForgotten(t *testing.T) {
	observed := observing(func(o *observation) { o.status.LastHandledRenewRequest = "then" })
	if got := buildReport(aToken(), observed, plan{}, ended()).status.LastHandledRenewRequest; got != "then" {
		t.Errorf("after a token that answered none, %q", got)
	}
	observed.target.Record = aRecord(func(r *targetsecret.Record) { r.RenewRequest = "now" })
	if got := buildReport(aToken(), observed, plan{}, ended()).status.LastHandledRenewRequest; got != "now" {
		t.Errorf("after a token that answered one, %q", got)
	}
}

// never is no time for the next reconcile.
const never = time.Duration(-1)

// nextOf returns when a report wants the next reconcile.
func nextOf(report statusReport) time.Duration {
	if next, ok := requeue.Earliest(report.requeue...); ok {
		return next.After
	}
	return never
}

func TestWhenTheNextReconcileIsDue(t *testing.T) {
	renewal := renewalTime(&aToken().Spec, aToken().UID, aRecord()).Sub(noon)
	soon := func(left time.Duration) func(*observation) {
		return func(observed *observation) {
			observed.target.Record = aRecord(func(r *targetsecret.Record) { r.ExpiresAt = noon.Add(left) })
		}
	}
	after := func(elapsed time.Duration) actResult {
		return ended(func(result *actResult) { result.clocks.elapsed = elapsed })
	}
	due, parked := plan{cause: causeDue, write: writeMint}, plan{cause: causeExpired, obstacle: refusal}
	tests := []struct {
		name     string
		observed func(*observation)
		planned  plan
		result   actResult
		want     time.Duration
	}{
		{"at the renewal", func(*observation) {}, plan{}, ended(), renewal},
		{"at the renewal by Reactor's clock", func(o *observation) { o.target.Record = aRecord(func(r *targetsecret.Record) { r.Skew = time.Minute }) }, plan{}, ended(), renewal - time.Minute},
		{"at the next attempt", func(*observation) {}, due, ended(failed(backedUp)), time.Minute},
		{"at the expiry, when that comes before the next attempt", soon(30 * time.Second), due, ended(failed(backedUp)), 30 * time.Second},
		{"at the expiry, while the user must act", func(*observation) {}, plan{cause: causeDue, obstacle: refusal}, ended(), 5 * time.Hour},
		{"at the expiry, while suspended", func(*observation) {}, plan{obstacle: paused}, ended(), 5 * time.Hour},
		{"never, when there is no token and the user must act", noToken, plan{cause: causeNew, obstacle: refusal}, ended(), never},
		{"never, when there is no token and the object is suspended", noToken, plan{cause: causeNew, obstacle: paused}, ended(), never},
		{"after the longest wait, when the wall clock alone says that the token has expired", soon(-time.Second), parked, after(30 * time.Minute), maxWait},
		{"never, when both clocks say so", soon(-time.Second), parked, after(time.Hour), never},
		{"at the probe of a refused key", noToken, due, ended(waiting(keyBad)), time.Minute},
		{"at the end of a limit", noToken, due, ended(waiting(limited)), time.Minute},
		{"in a minute at the latest, in a line", noToken, due, ended(waiting(inQueue)), maxWaitForRequeue},
		{"in a minute at the latest, for another's answer", noToken, due, ended(waiting(pending)), maxWaitForRequeue},
		{"when the token becomes more urgent than others, in a line", soon(450 * time.Second), due, ended(waiting(inQueue)), 45 * time.Second},
		{"in a minute at the latest, in a line of the urgent", soon(5 * time.Minute), due, ended(waiting(inQueue)), maxWaitForRequeue},
		{"at the end of the budget's pause", noToken, plan{cause: causeEdited, obstacle: spent}, ended(), time.Minute},
		{"at once, when an instant has just passed", soon(5 * time.Hour), due, ended(failed(&obstacle{until: noon})), 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			report := buildReport(aToken(), observing(test.observed), test.planned, test.result)
			if diff := cmp.Diff(test.want, nextOf(report)); diff != "" {
				t.Errorf("the next reconcile (-want +got):\n%s", diff)
			}
		})
	}
}
