package reactortoken

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

var (
	refusal  = &obstacle{kind: userMustAct, problem: problem{v1alpha1.ReasonRequestRefused, "no"}}
	backedUp = &obstacle{kind: retryWithBackoff, until: noon.Add(time.Minute), problem: problem{v1alpha1.ReasonReactorUnavailable, "away"}}
	inQueue  = &obstacle{kind: retryAtTime, problem: problem{v1alpha1.ReasonQueued, "wait"}}
	pending  = &obstacle{kind: retryAtTime, problem: problem{v1alpha1.ReasonPending, "wait"}}
	limited  = &obstacle{kind: retryAtTime, until: noon.Add(time.Minute), problem: problem{v1alpha1.ReasonRateLimited, "wait"}}
	keyBad   = &obstacle{kind: userMustAct, until: noon.Add(time.Minute), problem: problem{v1alpha1.ReasonAPIKeyRefused, "no"}}
	spent    = &obstacle{kind: retryAtTime, until: noon.Add(time.Minute), problem: problem{v1alpha1.ReasonMintBudgetSpent, "wait"}}
	paused   = &obstacle{kind: retryAtTime, problem: problem{v1alpha1.ReasonSuspended, "off"}}
)

// ended is the result of a pass that ended at noon.
func ended(changes ...func(*actResult)) actResult {
	result := actResult{clocks: clocks{now: noon}}
	for _, change := range changes {
		change(&result)
	}
	return result
}

func failed(o *obstacle) func(*actResult)  { return func(result *actResult) { result.failed = o } }
func waiting(o *obstacle) func(*actResult) { return func(result *actResult) { result.waiting = o } }

// issuing is an result in which a new token was written.
func issuing(result *actResult) {
	result.record, result.version, result.issued, result.delivered = recordOfPending(aPendingToken()), "8", true, true
}

func noToken(observed *observation) {
	observed.target, observed.status = targetsecret.State{}, v1alpha1.ReactorTokenStatus{}
}

func expired(observed *observation) {
	observed.target.Record = aRecord(func(r *targetsecret.Record) { r.IssuedAt, r.ExpiresAt = noon.Add(-6*time.Hour), noon })
}

// before is a status with conditions, given as type=status/reason.
func before(conditions ...string) func(*observation) {
	return func(observed *observation) {
		for _, text := range conditions {
			kind, state, _ := strings.Cut(text, "=")
			status, reason, _ := strings.Cut(state, "/")
			meta.SetStatusCondition(&observed.status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status), Reason: reason,
				LastTransitionTime: metav1.NewTime(noon.Add(-time.Hour)), ObservedGeneration: 1})
		}
	}
}

func TestConditions(t *testing.T) {
	due, none := plan{cause: causeDue, write: writeMint}, plan{}
	tests := []struct {
		name     string
		token    func(*v1alpha1.ReactorToken)
		observed []func(*observation)
		planned  plan
		result   actResult
		want     string // Ready|Renewed|LifetimeClamped|Stalled
	}{
		{name: "a token was issued", observed: []func(*observation){noToken}, planned: plan{cause: causeNew, write: writeMint}, result: ended(issuing),
			want: "True/TokenValid|True/Issued|False/AsRequested|-"},
		{name: "all is well", planned: none, result: ended(), want: "True/TokenValid|True/Issued|False/AsRequested|-"},
		{name: "the world changed under the first pass", observed: []func(*observation){noToken}, planned: plan{cause: causeNew, write: writeMint},
			result: ended(func(result *actResult) { result.changed = true }), want: "False/Pending|Unknown/Pending|-|-"},
		{name: "a renewal failed", planned: due, result: ended(failed(backedUp)), want: "True/TokenValid|False/ReactorUnavailable|False/AsRequested|-"},
		{name: "a renewal is parked", planned: plan{cause: causeDue, obstacle: refusal}, result: ended(), want: "True/TokenValid|False/RequestRefused|False/AsRequested|-"},
		{name: "a renewal is parked, and the token has expired", observed: []func(*observation){expired}, planned: plan{cause: causeExpired, obstacle: refusal}, result: ended(),
			want: "False/TokenExpired|False/RequestRefused|False/AsRequested|True/RequestRefused"},
		{name: "a renewal fails, and the token has expired", observed: []func(*observation){expired}, planned: due, result: ended(failed(backedUp)),
			want: "False/TokenExpired|False/ReactorUnavailable|False/AsRequested|-"},
		{name: "a first token is parked", observed: []func(*observation){noToken}, planned: plan{cause: causeNew, obstacle: refusal}, result: ended(),
			want: "False/RequestRefused|False/RequestRefused|-|True/RequestRefused"},
		{name: "a first token is tried again later", observed: []func(*observation){noToken}, planned: plan{cause: causeNew}, result: ended(failed(backedUp)),
			want: "False/ReactorUnavailable|False/ReactorUnavailable|-|-"},
		{name: "the key was refused for the first token", observed: []func(*observation){noToken}, planned: plan{cause: causeNew}, result: ended(failed(keyBad)),
			want: "False/APIKeyRefused|False/APIKeyRefused|-|True/APIKeyRefused"},
		{name: "the key is limited", observed: []func(*observation){noToken}, planned: plan{cause: causeNew}, result: ended(waiting(limited)),
			want: "False/RateLimited|False/RateLimited|-|-"},
		{name: "a new object waits for its turn", observed: []func(*observation){noToken}, planned: plan{cause: causeNew}, result: ended(waiting(inQueue)),
			want: "False/Queued|Unknown/Pending|-|-"},
		{name: "a renewal waits for its turn", observed: []func(*observation){before("Renewed=True/Issued")}, planned: due, result: ended(waiting(inQueue)),
			want: "True/TokenValid|True/Issued|False/AsRequested|-"},
		{name: "a renewal that failed waits for its turn", observed: []func(*observation){before("Renewed=False/ReactorUnavailable")}, planned: due, result: ended(waiting(inQueue)),
			want: "True/TokenValid|False/ReactorUnavailable|False/AsRequested|-"},
		{name: "a renewal waits for the first answer to its key", observed: []func(*observation){before("Renewed=True/Issued")}, planned: due, result: ended(waiting(pending)),
			want: "True/TokenValid|True/Issued|False/AsRequested|-"},
		{name: "a suspended object has a token", planned: plan{obstacle: paused}, result: ended(), want: "True/TokenValid|False/Suspended|False/AsRequested|-"},
		{name: "a suspended object has none", observed: []func(*observation){noToken}, planned: plan{cause: causeNew, obstacle: paused}, result: ended(), want: "False/Suspended|False/Suspended|-|-"},
		{name: "a budget is spent", observed: []func(*observation){func(o *observation) { o.target.Edited = true }}, planned: plan{cause: causeEdited, obstacle: spent}, result: ended(),
			want: "False/MintBudgetSpent|False/MintBudgetSpent|-|-"},
		{name: "what stalled goes on", observed: []func(*observation){noToken, before("Ready=False/RequestRefused", "Stalled=True/RequestRefused")},
			planned: plan{cause: causeNew, write: writeMint}, result: ended(issuing), want: "True/TokenValid|True/Issued|False/AsRequested|-"},
		{name: "the grant is shorter than the wish", observed: []func(*observation){func(o *observation) { o.target.Record.ExpiresAt = noon.Add(time.Hour) }}, planned: none, result: ended(),
			want: "True/TokenValid|True/Issued|True/Shortened|-"},
		{name: "renewBefore does not fit into the grant", token: func(token *v1alpha1.ReactorToken) { token.Spec.RenewBefore = "5h59m" },
			observed: []func(*observation){func(o *observation) { o.target.Record.ExpiresAt = noon.Add(time.Hour) }}, planned: none, result: ended(),
			want: "True/TokenValid|True/Issued|True/RenewBeforeIgnored|-"},
		{name: "the token that was there is gone", observed: []func(*observation){func(o *observation) { o.target = targetsecret.State{} }, before("LifetimeClamped=True/Shortened", "Renewed=True/Issued", "Ready=True/TokenValid")},
			planned: plan{cause: causeDeleted}, result: ended(failed(backedUp)), want: "False/ReactorUnavailable|False/ReactorUnavailable|-|-"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			token := aToken()
			if test.token != nil {
				test.token(token)
			}
			report := buildReport(token, observing(test.observed...), test.planned, test.result)
			if diff := cmp.Diff(test.want, fourConditions(&report.status)); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
		})
	}
}

func fourConditions(status *v1alpha1.ReactorTokenStatus) string {
	var report []string
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionRenewed, v1alpha1.ConditionLifetimeClamped, v1alpha1.ConditionStalled} {
		if text := conditionOf(status, kind); text != "" {
			report = append(report, text)
		} else {
			report = append(report, "-")
		}
	}
	return strings.Join(report, "|")
}

// Whatever comes together, the rules that kubectl wait, Argo CD and Flux rely on hold.
func TestTheRulesOfConditionsHoldForEveryCombination(t *testing.T) {
	tokens := map[string]func(*observation){"no token": noToken, "a valid token": func(*observation) {}, "an expired token": expired}
	earlier := map[string]func(*observation){
		"nothing told before": func(*observation) {},
		"ready before":        before("Ready=True/TokenValid", "Renewed=True/Issued", "LifetimeClamped=False/AsRequested"),
		"stalled before":      before("Ready=False/RequestRefused", "Renewed=False/RequestRefused", "Stalled=True/RequestRefused"),
	}
	outcomes := map[string]actResult{"nothing done": ended(), "issued": ended(issuing), "again": ended(func(d *actResult) { d.changed = true })}
	obstacles := map[string]*obstacle{"nothing in the way": nil}
	for i, found := range []*obstacle{refusal, backedUp, inQueue, pending, limited, keyBad, spent, paused} {
		obstacles[fmt.Sprint("planned ", i)] = found
		outcomes[fmt.Sprint("failed ", i)] = ended(failed(found))
		outcomes[fmt.Sprint("waiting ", i)] = ended(waiting(found))
	}
	for tokenName, current := range tokens {
		for earlierName, failure := range earlier {
			for obstacleName, found := range obstacles {
				for outcomeName, result := range outcomes {
					name := strings.Join([]string{tokenName, earlierName, obstacleName, outcomeName}, ", ")
					observed := observing(current, failure)
					holdsTheRules(t, name, observed, buildReport(aToken(), observed, plan{cause: causeDue, obstacle: found}, result), result)
				}
			}
		}
	}
}

func holdsTheRules(t *testing.T, name string, observed *observation, report statusReport, result actResult) {
	t.Helper()
	status := &report.status
	current := observed.target.Current()
	if result.record != nil {
		current = result.record
	}
	valid := current != nil && current.ExpiresAt.After(noon)
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	stalled := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionStalled)
	switch {
	case ready == nil || meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRenewed) == nil:
		t.Errorf("%s: Ready or Renewed is missing", name)
		return
	case (ready.Status == metav1.ConditionTrue) != valid:
		t.Errorf("%s: Ready is %s", name, ready.Status)
	case stalled != nil && (stalled.Status != metav1.ConditionTrue || valid):
		t.Errorf("%s: Stalled is %s, and Ready %s", name, stalled.Status, ready.Status)
	case status.ObservedGeneration != 1:
		t.Errorf("%s: observed generation %d", name, status.ObservedGeneration)
	case (current == nil) != (status.SecretName == "" && status.ExpirationTime == nil && status.RenewalTime == nil):
		t.Errorf("%s: status tells of a token that is not there, or not of one that is", name)
	case valid && nextOf(report) == never:
		t.Errorf("%s: nothing wakes the next pass before the token expires", name)
	}
	for _, condition := range status.Conditions {
		was := meta.FindStatusCondition(observed.status.Conditions, condition.Type)
		changed := was == nil || was.Status != condition.Status
		if since := condition.LastTransitionTime.Time; changed != since.Equal(noon) {
			t.Errorf("%s: %s changed: %v, and its last transition is at %s", name, condition.Type, changed, since)
		}
		if condition.ObservedGeneration != 1 || condition.Reason == "" || len(condition.Message) > maxConditionMessage {
			t.Errorf("%s: condition %+v", name, condition)
		}
	}
}

func TestASecondReportOfTheSameChangesNothing(t *testing.T) {
	for name, result := range map[string]actResult{"well": ended(), "waiting for a key": ended(waiting(keyBad)), "in line": ended(waiting(inQueue))} {
		t.Run(name, func(t *testing.T) {
			observed := observing()
			first := buildReport(aToken(), observed, plan{}, result)
			later := observing(func(o *observation) { o.status, o.target.ResourceVersion = first.status, "9" })
			result.clocks.now = noon.Add(time.Second)
			second := buildReport(aToken(), later, plan{}, result)
			if statusChanged(&first.status, &second.status, noon) {
				t.Errorf("status (-first +second):\n%s", cmp.Diff(first.status, second.status))
			}
			if len(second.events) != 0 {
				t.Errorf("events %+v", second.events)
			}
		})
	}
}

func TestStatusChanged(t *testing.T) {
	base := buildReport(aToken(), observing(), plan{}, ended()).status
	base.NextAttemptTime = new(metav1.NewTime(noon.Add(time.Minute)))
	tests := []struct {
		name   string
		change func(*v1alpha1.ReactorTokenStatus)
		want   bool
	}{
		{"nothing", func(*v1alpha1.ReactorTokenStatus) {}, false},
		{"the version of the Secret alone", func(s *v1alpha1.ReactorTokenStatus) { s.SecretResourceVersion = "99" }, false},
		{"the same instant in another time zone", func(s *v1alpha1.ReactorTokenStatus) {
			s.RenewalTime = new(metav1.NewTime(s.RenewalTime.In(time.FixedZone("CET", 3600))))
		}, false},
		{"the expiry", func(s *v1alpha1.ReactorTokenStatus) { s.ExpirationTime = new(metav1.NewTime(noon)) }, true},
		{"a message", func(s *v1alpha1.ReactorTokenStatus) { s.Conditions[0].Message = "x" }, true},
		{"the generation", func(s *v1alpha1.ReactorTokenStatus) { s.ObservedGeneration = 2 }, true},
		{"a count", func(s *v1alpha1.ReactorTokenStatus) { s.ConsecutiveFailures = 1 }, true},
		{"a failure", func(s *v1alpha1.ReactorTokenStatus) { s.LastFailure = &v1alpha1.FailedAttempt{} }, true},
		{"a next attempt that moved", func(s *v1alpha1.ReactorTokenStatus) { s.NextAttemptTime = new(metav1.NewTime(noon.Add(time.Hour))) }, false},
		{"a next attempt that another object makes now", func(s *v1alpha1.ReactorTokenStatus) { s.NextAttemptTime = nil }, false},
	}
	passed := base.DeepCopy()
	passed.NextAttemptTime = nil
	if !statusChanged(&base, passed, noon.Add(time.Minute)) {
		t.Error("a next attempt whose time has passed stays in status")
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			after := base.DeepCopy()
			test.change(after)
			if got := statusChanged(&base, after, noon); got != test.want {
				t.Errorf("changed: %v, want %v", got, test.want)
			}
		})
	}
}

func TestSchedule(t *testing.T) {
	for name, test := range map[string]struct {
		stages [][]requeue.Entry
		want   time.Duration
	}{
		"nothing to wait for":                    {},
		"a time that one stage has":              {[][]requeue.Entry{nil, {{After: time.Minute}}, nil}, time.Minute},
		"a long wait is cut into pieces":         {[][]requeue.Entry{{{After: 4 * time.Hour}}}, maxWait},
		"the earliest time of several stages":    {[][]requeue.Entry{{{After: time.Hour}}, {{After: time.Minute}, {After: time.Second}}}, time.Second},
		"a time that has passed, without a loop": {[][]requeue.Entry{{{After: -time.Hour}}}, time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			want := ctrl.Result{RequeueAfter: test.want}
			if test.want > 0 {
				want.Priority = new(0) // even after a reconcile that had a slot, and with that its priority
			}
			if diff := cmp.Diff(want, schedule(t.Context(), test.stages...)); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBoundedCutsBetweenCharacters(t *testing.T) {
	for name, text := range map[string]string{
		"letters": strings.Repeat("x", 5000), "umlauts": strings.Repeat("ü", 5000), "emoji": strings.Repeat("🎥", 5000), "mixed": strings.Repeat("xü🎥", 3000),
	} {
		for limit := range 50 {
			limit += 10
			got := notice.Bounded(text, limit)
			if len(got) > limit || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") || len(got) < limit-4 {
				t.Errorf("%s cut to %d bytes: %q", name, limit, got)
			}
		}
	}
	for _, text := range []string{"", "short", strings.Repeat("ü", 5)} {
		if got := notice.Bounded(text, 10); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}
