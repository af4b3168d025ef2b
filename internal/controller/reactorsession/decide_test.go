package reactorsession

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

// The kubelet shows for a moment that a container has ended before it says that the pod has. A pod that is deleted in that moment is gone
// with its logs.
func TestAPodIsStoppedForTheEndOfItsProgramOnlyWhileOthersRun(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	done := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.NewTime(now), FinishedAt: metav1.NewTime(now)}}
	runs := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now)}}
	for name, test := range map[string]struct {
		others []corev1.ContainerState
		inits  []corev1.ContainerState
		want   action
	}{
		"it is the only one":               {want: doNothing},
		"all others have ended too":        {others: []corev1.ContainerState{done, done}, want: doNothing},
		"another one runs":                 {others: []corev1.ContainerState{done, runs}, want: doStop},
		"another one waits":                {others: []corev1.ContainerState{{Waiting: &corev1.ContainerStateWaiting{}}}, want: doStop},
		"the kubelet ends native sidecars": {inits: []corev1.ContainerState{runs}, want: doNothing},
	} {
		t.Run(name, func(t *testing.T) {
			session := newSession("night")
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "night-1", UID: "1", Labels: attempts.Labels(session, 1), Annotations: map[string]string{outcome.ContainerAnnotation: "stream"}}}
			pod.Status.Phase = corev1.PodRunning
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "stream", State: done}}
			for _, state := range test.others {
				pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: "other", State: state})
			}
			for _, state := range test.inits {
				pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, corev1.ContainerStatus{Name: "sidecar", State: state})
			}
			observed := &observation{now: now, pod: pod}
			observed.status.CurrentAttempt = &v1alpha1.SessionAttempt{Number: 1, PodName: pod.Name, PodUID: "1"}
			if got := decide(session, observed); got.do != test.want {
				t.Errorf("%q, want %q", got.do, test.want)
			}
		})
	}
}

// theChecks are what there can be to do, or to wait for, in the order in which it is looked for, each with how it comes about and what follows.
var theChecks = []struct {
	name, want string // the action, and the reason that is shown or with which the attempt ends
	happen     func(*v1alpha1.ReactorSession, *observation)
}{
	{"several pods", "/PodsConflict", func(s *v1alpha1.ReactorSession, observed *observation) {
		observed.add(s, podOfAttempt(s, 7), podOfAttempt(s, 8))
	}},
	{"a token of an attempt that has ended", "Release/", func(_ *v1alpha1.ReactorSession, observed *observation) { observed.stale = []string{"night-0"} }},
	{"a stray pod", "DeletePod/Stopping", func(s *v1alpha1.ReactorSession, observed *observation) {
		observed.add(s, podOfAttempt(s, 9))
	}},
	{"an attempt whose pod has ended", "EndAttempt/Completed", func(s *v1alpha1.ReactorSession, observed *observation) {
		observed.pod = podOfAttempt(s, 1)
		observed.pod.Status.Phase = corev1.PodSucceeded
		observed.pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.NewTime(noon), FinishedAt: metav1.NewTime(noon)}}
		observed.status.CurrentAttempt = &v1alpha1.SessionAttempt{Number: 1, PodName: observed.pod.Name, PodUID: string(observed.pod.UID)}
	}},
	{"a stray pod that ends", "/Stopping", func(s *v1alpha1.ReactorSession, observed *observation) {
		pod := podOfAttempt(s, 9)
		pod.DeletionTimestamp = new(metav1.NewTime(noon))
		observed.add(s, pod)
	}},
	{"an attempt whose pod is lost", "EndAttempt/PodLost", func(s *v1alpha1.ReactorSession, observed *observation) {
		if observed.status.CurrentAttempt == nil {
			observed.status.CurrentAttempt = &v1alpha1.SessionAttempt{Number: 1, PodName: attempts.Name(s, 1), PodUID: "lost"}
		}
	}},
	{"a session that is being deleted", "RemoveFinalizer/", func(s *v1alpha1.ReactorSession, _ *observation) {
		s.DeletionTimestamp, s.Finalizers = new(metav1.NewTime(noon)), []string{attempts.CleanupFinalizer}
	}},
	{"a session that has failed", "/BackoffLimitExceeded", func(_ *v1alpha1.ReactorSession, observed *observation) {
		meta.SetStatusCondition(&observed.status.Conditions, metav1.Condition{Type: v1alpha1.ConditionFailed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonBackoffLimitExceeded})
	}},
	{"a suspended session", "/Suspended", func(s *v1alpha1.ReactorSession, _ *observation) { s.Spec.Suspend = new(true) }},
	{"a session whose time is up", "Finish/DurationReached", func(s *v1alpha1.ReactorSession, observed *observation) {
		s.Spec.MaxDuration, observed.status.RunningSeconds = "1h", 3600
	}},
	{"a missing key", "/WaitingForToken", func(_ *v1alpha1.ReactorSession, observed *observation) {
		observed.key.Problem = &apikey.Problem{Reason: v1alpha1.ReasonAPIKeyNotFound}
	}},
	{"a refused key", "/APIKeyRefused", func(_ *v1alpha1.ReactorSession, observed *observation) {
		observed.status.RecentAttempts = []v1alpha1.EndedAttempt{{Number: 1, Class: v1alpha1.ClassKeyRefused, KeyFingerprint: observed.key.Fingerprint}}
	}},
	{"a wait between attempts", "/BackingOff", func(_ *v1alpha1.ReactorSession, observed *observation) {
		observed.status.NextAttemptTime = new(metav1.NewTime(noon.Add(time.Minute)))
	}},
	{"a template that cannot be run", "/InvalidTemplate", func(s *v1alpha1.ReactorSession, _ *observation) { s.Spec.Container = "other" }},
	{"nothing else", "StartAttempt/WaitingForToken", func(*v1alpha1.ReactorSession, *observation) {}},
}

// podOfAttempt is a pod that runs.
func podOfAttempt(session *v1alpha1.ReactorSession, number int32) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: attempts.Name(session, number), UID: types.UID(attempts.Name(session, number)),
		Labels: attempts.Labels(session, number), Annotations: map[string]string{outcome.ContainerAnnotation: "stream"},
	}}
	pod.Spec.NodeName, pod.Status.Phase = "node", corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "stream", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(noon)}}}}
	return pod
}

// describePlan is the action of a plan, and the reason that it shows or with which it ends the attempt.
func describePlan(planned *plan) string {
	switch {
	case planned.end != nil:
		return string(planned.do) + "/" + planned.end.Reason
	case planned.ready != nil:
		return string(planned.do) + "/" + planned.ready.reason
	default:
		return string(planned.do) + "/"
	}
}

func TestOfTwoThingsToDoTheEarlierIsDone(t *testing.T) {
	// Of these the earlier does not happen when the later does.
	together := map[string]bool{
		"several pods and a session that is being deleted": true, // then all of them are stopped
		"several pods and a suspended session":             true,
		"a stray pod and a stray pod that ends":            true, // these are several pods
	}
	for i, earlier := range theChecks {
		for _, later := range theChecks[i:] {
			if together[earlier.name+" and "+later.name] {
				continue
			}
			t.Run(earlier.name+" before "+later.name, func(t *testing.T) {
				session := aSession()
				session.Status = v1alpha1.ReactorSessionStatus{Attempts: 1}
				observed := &observation{now: noon, status: session.Status}
				observed.key.Fingerprint = "fingerprint"
				earlier.happen(session, observed)
				if later.name != earlier.name {
					later.happen(session, observed)
				}
				planned := decide(session, observed)
				if got := describePlan(&planned); got != earlier.want {
					t.Errorf("%s, want %s", got, earlier.want)
				}
			})
		}
	}
	if len(theChecks) != len(checks)+1 {
		t.Errorf("%d situations for %d checks", len(theChecks)-1, len(checks))
	}
}

// Another leader, whose clock is far ahead, has set the time of the next attempt.
func TestAWaitThatAnotherClockHasSetCountsFromWhenItIsRead(t *testing.T) {
	session := aSession()
	session.Status = v1alpha1.ReactorSessionStatus{Attempts: 3, IgnoredFailures: 3, NextAttemptTime: new(metav1.NewTime(noon.Add(95 * time.Minute)))}
	for after, want := range map[time.Duration]string{0: "/BackingOff", 39 * time.Second: "/BackingOff", 40 * time.Second: "StartAttempt/WaitingForToken", -time.Hour: "StartAttempt/WaitingForToken"} {
		observed := &observation{now: noon.Add(after), status: session.Status, state: objectState{next: observedNext{since: noon}}}
		planned := decide(session, observed)
		if got := describePlan(&planned); got != want {
			t.Errorf("%s after it was read: %s, want %s", after, got, want)
		}
	}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// add gives the observation pods of the session.
func (o *observation) add(session *v1alpha1.ReactorSession, pods ...*corev1.Pod) {
	for _, pod := range pods {
		pod.Labels = map[string]string{attempts.SessionUIDLabel: string(session.UID), attempts.AttemptLabel: pod.Labels[attempts.AttemptLabel]}
		o.pods = append(o.pods, attempts.Classify(session, &o.status, []corev1.Pod{*pod}, nil)...)
	}
}

// Another client may remove the expiry from the status of a token while its session waits. The token counts as pending until its controller has
// corrected the status.
func TestATokenWhoseExpiryIsUnknownIsPending(t *testing.T) {
	session := aSession()
	token := attempts.BuildToken(session, &session.Status, session.Status.CurrentAttempt, attempts.Settings{})
	token.Status.ObservedGeneration = 1
	token.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTokenValid}}
	observed := &observation{now: noon, status: session.Status, token: token}
	if got := decide(session, observed); got.do != doNothing || got.ready == nil || got.ready.reason != v1alpha1.ReasonWaitingForToken {
		t.Errorf("%q, and it shows %+v, want it to wait for the token", got.do, got.ready)
	}
}
