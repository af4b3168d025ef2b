package metrics

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func newSession(name string, conditions ...metav1.Condition) *v1alpha1.ReactorSession {
	session := &v1alpha1.ReactorSession{ObjectMeta: metav1.ObjectMeta{Namespace: "media", Name: name}}
	session.Status.Conditions = conditions
	return session
}

func stalledCondition(status metav1.ConditionStatus, reason string) metav1.Condition {
	condition := readyCondition(status, reason)
	condition.Type = v1alpha1.ConditionStalled
	return condition
}

// fourSessions are two that run, one of which was stalled once, one that is stalled, and one that the operator has not observed yet.
func fourSessions() []client.Object {
	return []client.Object{
		newSession("day", readyCondition(metav1.ConditionTrue, v1alpha1.ReasonRunning)),
		newSession("dusk", readyCondition(metav1.ConditionTrue, v1alpha1.ReasonRunning), stalledCondition(metav1.ConditionFalse, v1alpha1.ReasonRunning)),
		newSession("night", readyCondition(metav1.ConditionFalse, v1alpha1.ReasonInvalidTemplate),
			stalledCondition(metav1.ConditionTrue, v1alpha1.ReasonInvalidTemplate)),
		newSession("fresh"),
	}
}

const wantSessions = `
# HELP reactor_sessions How many ReactorSessions there are, by status and reason of their condition Ready.
# TYPE reactor_sessions gauge
reactor_sessions{ready="false",reason="InvalidTemplate"} 1
reactor_sessions{ready="true",reason="Running"} 2
reactor_sessions{ready="unknown",reason="Pending"} 1
`

const wantStalled = `
# HELP reactor_session_stalled 1 while a user must act before the session continues. There is no series otherwise.
# TYPE reactor_session_stalled gauge
reactor_session_stalled{name="night",namespace="media",reason="InvalidTemplate"} 1
`

func TestSessionCollector(t *testing.T) {
	for name, test := range map[string]struct {
		sessions  []client.Object
		elected   <-chan struct{}
		perObject bool
		want      string
	}{
		"the leader exports the totals, and names what is stalled": {fourSessions(), leading(), true, wantSessions + wantStalled},
		"without series per object the totals remain":              {fourSessions(), leading(), false, wantSessions},
		"a replica that does not lead exports nothing":             {fourSessions(), make(chan struct{}), true, ""},
		"without sessions there are no series":                     {nil, leading(), true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			collector := NewSessionCollector(newReader(t, test.sessions...), test.elected, test.perObject)
			if err := testutil.CollectAndCompare(collector, strings.NewReader(test.want)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestASessionThatGoesOnIsNamedNoLonger(t *testing.T) {
	session := newSession("night", stalledCondition(metav1.ConditionTrue, v1alpha1.ReasonInvalidTemplate))
	reader := newReader(t, session)
	collector := NewSessionCollector(reader, leading(), true)
	if got := testutil.CollectAndCount(collector, "reactor_session_stalled"); got != 1 {
		t.Fatalf("%d stalled sessions, want 1", got)
	}
	session.Status.Conditions = nil
	if err := reader.Update(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	if got := testutil.CollectAndCount(collector, "reactor_session_stalled"); got != 0 {
		t.Errorf("%d stalled sessions after it continued, want 0", got)
	}
}

func TestAScrapeFailsWhenTheSessionsCannotBeRead(t *testing.T) {
	refusing := interceptor.NewClient(newReader(t), interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("cache is not started")
		},
	})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewSessionCollector(refusing, leading(), true))
	if _, err := registry.Gather(); err == nil || !strings.Contains(err.Error(), "listing ReactorSessions: cache is not started") {
		t.Errorf("got %v", err)
	}
}

func TestAttemptsAreCountedByTheirClassAndCleanUpsByTheirResult(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	attempts, err := NewAttempts(registry)
	if err != nil {
		t.Fatal(err)
	}
	attempts.AttemptEnded(v1alpha1.ClassFailed, 90*time.Second)
	attempts.AttemptEnded(v1alpha1.ClassFailed, 10*time.Second)
	attempts.AttemptEnded(v1alpha1.ClassIgnored, 0)
	attempts.CleanedUp(v1alpha1.CleanupUnverified)
	compare(t, registry, `
# HELP reactor_session_attempts_total Attempts of sessions that have ended, by their class: whose matter the end was.
# TYPE reactor_session_attempts_total counter
reactor_session_attempts_total{outcome="Failed"} 2
reactor_session_attempts_total{outcome="Ignored"} 1
reactor_session_attempts_total{outcome="KeyRefused"} 0
reactor_session_attempts_total{outcome="Stopped"} 0
reactor_session_attempts_total{outcome="Succeeded"} 0
# HELP reactor_session_cleanups_total Results of the cleanup of the Reactor sessions of ended attempts: NotNeeded; AlreadyOver; Ended, by the operator; or Unverified, then one may be open and billed.
# TYPE reactor_session_cleanups_total counter
reactor_session_cleanups_total{result="AlreadyOver"} 0
reactor_session_cleanups_total{result="Ended"} 0
reactor_session_cleanups_total{result="NotNeeded"} 0
reactor_session_cleanups_total{result="Unverified"} 1
# HELP reactor_session_running_seconds_total How long the containers of ended attempts ran, by the attempts' class.
# TYPE reactor_session_running_seconds_total counter
reactor_session_running_seconds_total{outcome="Failed"} 100
reactor_session_running_seconds_total{outcome="Ignored"} 0
reactor_session_running_seconds_total{outcome="KeyRefused"} 0
reactor_session_running_seconds_total{outcome="Stopped"} 0
reactor_session_running_seconds_total{outcome="Succeeded"} 0
`)
}

func TestASecondCountInOneRegistryIsAnError(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	if _, err := NewAttempts(registry); err != nil {
		t.Fatal(err)
	}
	if _, err := NewAttempts(registry); err == nil {
		t.Error("no error")
	}
}
