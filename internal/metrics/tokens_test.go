package metrics

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func newReader(t *testing.T, objects ...client.Object) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
}

func leading() <-chan struct{} {
	elected := make(chan struct{})
	close(elected)
	return elected
}

// newToken makes a ReactorToken that expires and renews at the given Unix seconds; 0 for a status without them.
func newToken(namespace, name string, expires, renews int64, ready ...metav1.Condition) *v1alpha1.ReactorToken {
	token := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	token.Status.Conditions = ready
	if expires > 0 {
		token.Status.IssuedTime = new(metav1.Unix(expires-1000, 0))
	}
	token.Status.ExpirationTime = unixTime(expires)
	token.Status.RenewalTime = unixTime(renews)
	return token
}

func unixTime(seconds int64) *metav1.Time {
	if seconds == 0 {
		return nil
	}
	return new(metav1.Unix(seconds, 0))
}

func readyCondition(status metav1.ConditionStatus, reason string) metav1.Condition {
	return metav1.Condition{Type: v1alpha1.ConditionReady, Status: status, Reason: reason, LastTransitionTime: metav1.Unix(1, 0)}
}

func renewedCondition(status metav1.ConditionStatus, reason string) metav1.Condition {
	condition := readyCondition(status, reason)
	condition.Type = v1alpha1.ConditionRenewed
	return condition
}

// threeTokens are one that is well, one that failed twice and has expired, and one that the operator has not observed yet.
func threeTokens() []client.Object {
	failing := newToken("studio", "failing", 1000, 500, readyCondition(metav1.ConditionFalse, v1alpha1.ReasonTokenExpired),
		renewedCondition(metav1.ConditionFalse, v1alpha1.ReasonAPIKeyRefused))
	failing.Spec.APIKeySecretRef.Name = "reactor-api-key"
	failing.Status.ConsecutiveFailures = 2
	return []client.Object{
		newToken("media", "well", 9000, 6000, readyCondition(metav1.ConditionTrue, v1alpha1.ReasonTokenValid),
			renewedCondition(metav1.ConditionTrue, v1alpha1.ReasonIssued)),
		failing,
		newToken("studio", "fresh", 0, 0),
	}
}

const wantTotals = `
# HELP reactor_tokens How many ReactorTokens there are, by status and reason of their condition Ready.
# TYPE reactor_tokens gauge
reactor_tokens{ready="false",reason="TokenExpired"} 1
reactor_tokens{ready="true",reason="TokenValid"} 1
reactor_tokens{ready="unknown",reason="Pending"} 1
# HELP reactor_tokens_not_renewed How many ReactorTokens the operator cannot renew, by the reason of their condition Renewed; suspended ones do not count.
# TYPE reactor_tokens_not_renewed gauge
reactor_tokens_not_renewed{reason="APIKeyRefused"} 1
# HELP reactor_token_earliest_expiration_timestamp_seconds When the first of all tokens expires, by Reactor's clock, in Unix seconds; suspended ones do not count.
# TYPE reactor_token_earliest_expiration_timestamp_seconds gauge
reactor_token_earliest_expiration_timestamp_seconds 1000
`

const wantPerObject = `
# HELP reactor_token_consecutive_failures Failed attempts to obtain a token since the last success.
# TYPE reactor_token_consecutive_failures gauge
reactor_token_consecutive_failures{name="failing",namespace="studio"} 2
reactor_token_consecutive_failures{name="fresh",namespace="studio"} 0
reactor_token_consecutive_failures{name="well",namespace="media"} 0
# HELP reactor_token_expiration_timestamp_seconds When the token in the Secret expires, by Reactor's clock, in Unix seconds.
# TYPE reactor_token_expiration_timestamp_seconds gauge
reactor_token_expiration_timestamp_seconds{name="failing",namespace="studio"} 1000
reactor_token_expiration_timestamp_seconds{name="well",namespace="media"} 9000
# HELP reactor_token_issued_timestamp_seconds When the token in the Secret was issued, by Reactor's clock, in Unix seconds.
# TYPE reactor_token_issued_timestamp_seconds gauge
reactor_token_issued_timestamp_seconds{name="failing",namespace="studio"} 0
reactor_token_issued_timestamp_seconds{name="well",namespace="media"} 8000
# HELP reactor_token_not_renewed 1 while the operator cannot renew the token, with the reason of the condition Renewed and the Secret of the API key; without a series otherwise.
# TYPE reactor_token_not_renewed gauge
reactor_token_not_renewed{api_key_secret="reactor-api-key",name="failing",namespace="studio",reason="APIKeyRefused"} 1
# HELP reactor_token_ready 1 while the Secret holds a valid token, else 0.
# TYPE reactor_token_ready gauge
reactor_token_ready{name="failing",namespace="studio"} 0
reactor_token_ready{name="fresh",namespace="studio"} 0
reactor_token_ready{name="well",namespace="media"} 1
# HELP reactor_token_renewal_timestamp_seconds When the next token is due, by Reactor's clock, in Unix seconds.
# TYPE reactor_token_renewal_timestamp_seconds gauge
reactor_token_renewal_timestamp_seconds{name="failing",namespace="studio"} 500
reactor_token_renewal_timestamp_seconds{name="well",namespace="media"} 6000
`

func TestTokenCollector(t *testing.T) {
	suspended := newToken("studio", "paused", 0, 0, readyCondition(metav1.ConditionFalse, v1alpha1.ReasonTokenExpired),
		renewedCondition(metav1.ConditionFalse, v1alpha1.ReasonSuspended))
	suspended.Status.ExpirationTime = unixTime(1)
	suspended.Spec.Suspend = new(true)
	for name, test := range map[string]struct {
		tokens    []client.Object
		elected   <-chan struct{}
		perObject bool
		want      string
	}{
		"the leader exports each token and the totals": {threeTokens(), leading(), true, wantTotals + wantPerObject},
		"without series per object the totals remain":  {threeTokens(), leading(), false, wantTotals},
		"a replica that does not lead exports nothing": {threeTokens(), make(chan struct{}), true, ""},
		"without tokens there are no series":           {nil, leading(), true, ""},
		"a suspended token neither fails nor expires first, and says so": {[]client.Object{suspended}, leading(), true, `
# HELP reactor_tokens How many ReactorTokens there are, by status and reason of their condition Ready.
# TYPE reactor_tokens gauge
reactor_tokens{ready="false",reason="TokenExpired"} 1
# HELP reactor_token_consecutive_failures Failed attempts to obtain a token since the last success.
# TYPE reactor_token_consecutive_failures gauge
reactor_token_consecutive_failures{name="paused",namespace="studio"} 0
# HELP reactor_token_expiration_timestamp_seconds When the token in the Secret expires, by Reactor's clock, in Unix seconds.
# TYPE reactor_token_expiration_timestamp_seconds gauge
reactor_token_expiration_timestamp_seconds{name="paused",namespace="studio"} 1
# HELP reactor_token_ready 1 while the Secret holds a valid token, else 0.
# TYPE reactor_token_ready gauge
reactor_token_ready{name="paused",namespace="studio"} 0
# HELP reactor_token_suspended 1 while spec.suspend is true; without a series otherwise.
# TYPE reactor_token_suspended gauge
reactor_token_suspended{name="paused",namespace="studio"} 1
`},
	} {
		t.Run(name, func(t *testing.T) {
			collector := NewTokenCollector(newReader(t, test.tokens...), test.elected, test.perObject)
			if err := testutil.CollectAndCompare(collector, strings.NewReader(test.want)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNoSeriesOutlivesItsObject(t *testing.T) {
	tokens := threeTokens()
	reader := newReader(t, tokens...)
	collector := NewTokenCollector(reader, leading(), true)
	if got := testutil.CollectAndCount(collector, "reactor_token_ready"); got != 3 {
		t.Fatalf("%d tokens, want 3", got)
	}
	if err := reader.Delete(t.Context(), tokens[0]); err != nil {
		t.Fatal(err)
	}
	if got := testutil.CollectAndCount(collector, "reactor_token_ready"); got != 2 {
		t.Errorf("%d tokens after a deletion, want 2", got)
	}
}

func TestAScrapeFailsWhenTheTokensCannotBeRead(t *testing.T) {
	refusing := interceptor.NewClient(newReader(t), interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("cache is not started")
		},
	})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewTokenCollector(refusing, leading(), true))
	if _, err := registry.Gather(); err == nil || !strings.Contains(err.Error(), "listing ReactorTokens: cache is not started") {
		t.Errorf("got %v", err)
	}
}

func TestNamesFollowTheConventionsOfPrometheus(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	paused := newToken("studio", "paused", 0, 0)
	paused.Spec.Suspend = new(true)
	registry.MustRegister(NewTokenCollector(newReader(t, append(threeTokens(), paused)...), leading(), true), NewBuildCollector("v1.2.3"),
		NewLeaderCollector(leading()))
	registry.MustRegister(NewSessionCollector(newReader(t, fourSessions()...), leading(), true))
	if _, err := NewAttempts(registry); err != nil {
		t.Fatal(err)
	}
	minter, _ := newInstrumented(t, registry, answers{{}}, time.Second)
	if _, err := mint(t, minter); err != nil {
		t.Fatal(err)
	}

	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, family := range families {
		names = append(names, family.GetName())
	}
	if diff := cmp.Diff(allNames, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// allNames are the metrics that alerts and dashboards rely on.
var allNames = []string{
	"reactor_clock_skew_seconds",
	"reactor_mint_duration_seconds",
	"reactor_mint_requests_total",
	"reactor_operator_build_info",
	"reactor_operator_leader",
	"reactor_session_attempts_total",
	"reactor_session_cleanups_total",
	"reactor_session_running_seconds_total",
	"reactor_session_stalled",
	"reactor_sessions",
	"reactor_token_consecutive_failures",
	"reactor_token_earliest_expiration_timestamp_seconds",
	"reactor_token_expiration_timestamp_seconds",
	"reactor_token_issued_timestamp_seconds",
	"reactor_token_not_renewed",
	"reactor_token_ready",
	"reactor_token_renewal_timestamp_seconds",
	"reactor_token_suspended",
	"reactor_tokens",
	"reactor_tokens_not_renewed",
}
