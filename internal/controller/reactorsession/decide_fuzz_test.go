package reactorsession

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
)

// Somebody may write anything into status, an object that was stored before a rule of the API may break it, and a pod's status is what
// kubelets and programs make of it. Whatever they say, a pass comes to a decision that starts nothing twice, and tells no secret.
func FuzzDecision(f *testing.F) {
	for shape := range uint64(20) {
		f.Add(shape*0x9E3779B97F4A7C15, "10m", "5h", "24h", `{"sessionId":"a"}`, "Evicted", int64(time.Minute), int64(time.Hour), int64(3600), int32(1))
	}
	f.Add(^uint64(0), "", "", "", "eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjF9.c2lnbmF0dXJl", "", int64(-1), int64(1)<<62, int64(-5), int32(-1))
	f.Add(uint64(0), "-5m", "2562047h", "1s", "rk_0123456789abcdef0123", "DeadlineExceeded", int64(1)<<62, int64(-1)<<62, int64(1)<<62, int32(1)<<30)
	f.Fuzz(func(t *testing.T, shape uint64, startDeadline, maxDuration, ttl, message, reason string, age, ran, running int64, attempts int32) {
		dice := &bits{shape}
		now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		session := anySession(dice, now, startDeadline, maxDuration, ttl)
		observed := &observation{now: now, status: session.Status}
		observed.status = anyStatus(dice, session, now.Add(-time.Duration(age)), running, attempts)
		if dice.flip() {
			observed.pod = anyPod(dice, session, now.Add(-time.Duration(age)), time.Duration(ran), message, reason)
			if observed.status.CurrentAttempt == nil { // it is not the current attempt's, as observe has it
				observed.add(session, observed.pod)
				observed.pod = nil
			}
		}
		if dice.flip() {
			other := anyPod(dice, session, now.Add(-time.Duration(ran)), time.Duration(age), message, reason)
			other.Name, other.UID = "night-other", "other"
			observed.add(session, other)
		}
		if dice.flip() {
			observed.token = anyToken(dice, session, now.Add(time.Duration(ran)))
		}
		observed.key.Fingerprint = "fingerprint"

		planned := decide(session, observed)
		checkPlan(t, session, observed, &planned)
		report := buildReport(session, observed, planned, carriedOut(&planned, message, ran))
		checkReported(t, observed, &planned, &report)
	})
}

// bits are choices.
type bits struct{ left uint64 }

func (b *bits) flip() bool { return b.below(2) == 1 }

func (b *bits) below(n uint64) uint64 {
	choice := b.left % n
	b.left = b.left/n ^ b.left<<61 // used up, the first come again
	return choice
}

func anySession(dice *bits, now time.Time, startDeadline, maxDuration, ttl string) *v1alpha1.ReactorSession {
	return aSession(func(s *v1alpha1.ReactorSession) {
		s.Spec.StartDeadline, s.Spec.MaxDuration, s.Spec.TTLAfterFinished = v1alpha1.Duration(startDeadline), v1alpha1.Duration(maxDuration), v1alpha1.Duration(ttl)
		s.Spec.RestartPolicy = policies[dice.below(3)]
		s.Spec.Suspend = new(dice.flip())
		if dice.flip() {
			s.DeletionTimestamp = &metav1.Time{Time: now.Add(-time.Duration(dice.below(3)) * attempts.DeletionBound)}
		}
		if dice.flip() {
			s.Finalizers = []string{attempts.CleanupFinalizer}
		}
	})
}

func anyStatus(dice *bits, session *v1alpha1.ReactorSession, started time.Time, running int64, attempts int32) v1alpha1.ReactorSessionStatus {
	status := v1alpha1.ReactorSessionStatus{Attempts: attempts, RunningSeconds: running, Failures: attempts, IgnoredFailures: attempts / 2}
	if dice.flip() {
		attempt := &v1alpha1.SessionAttempt{Number: attempts, PodName: "night-1", TokenName: "night-1", StopReason: []string{"", outcome.StopDuration, outcome.StopSuspended}[dice.below(3)]}
		if dice.flip() {
			attempt.PodUID = "1"
		}
		if dice.flip() {
			attempt.StartTime = &metav1.Time{Time: started}
		}
		status.CurrentAttempt = attempt
	}
	if dice.flip() {
		status.NextAttemptTime = &metav1.Time{Time: started}
	}
	for i := range dice.below(8) {
		status.RecentAttempts = append(status.RecentAttempts, v1alpha1.EndedAttempt{Number: attempts - int32(i), Class: v1alpha1.ClassKeyRefused, KeyFingerprint: "fingerprint"})
	}
	if dice.flip() {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: []string{v1alpha1.ConditionComplete, v1alpha1.ConditionFailed, v1alpha1.ConditionReady}[dice.below(3)], Status: metav1.ConditionTrue, Reason: "Any",
			ObservedGeneration: session.Generation, LastTransitionTime: metav1.NewTime(started),
		})
		status.FinishedTime = &metav1.Time{Time: started}
	}
	return status
}

func anyPod(dice *bits, session *v1alpha1.ReactorSession, created time.Time, ran time.Duration, message, reason string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "night-1", UID: types.UID("1"), CreationTimestamp: metav1.NewTime(created), Labels: attempts.Labels(session, 1)}}
	pod.Status.Phase = []corev1.PodPhase{"", corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown}[dice.below(6)]
	pod.Status.Reason, pod.Status.Message = reason, message
	if dice.flip() {
		pod.Finalizers = []string{attempts.TrackingFinalizer}
	}
	if dice.flip() {
		pod.DeletionTimestamp = &metav1.Time{Time: created.Add(ran)}
	}
	if dice.flip() {
		pod.Spec.NodeName = "node"
	}
	if dice.flip() {
		pod.Spec.SchedulingGates = [][]corev1.PodSchedulingGate{{{Name: "queue"}}, {{Name: attempts.TokenGate}}, {{Name: "queue"}, {Name: attempts.TokenGate}}}[dice.below(3)]
	}
	for range dice.below(3) {
		state := corev1.ContainerState{}
		switch dice.below(4) {
		case 0:
			state.Waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: message}
		case 1:
			state.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(created)}
		case 2:
			state.Terminated = &corev1.ContainerStateTerminated{ExitCode: int32(dice.below(140)), Reason: reason, Message: message,
				StartedAt: metav1.NewTime(created), FinishedAt: metav1.NewTime(created.Add(ran))}
		}
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: []string{"stream", "sidecar"}[dice.below(2)], State: state})
	}
	return pod
}

func anyToken(dice *bits, session *v1alpha1.ReactorSession, expires time.Time) *v1alpha1.ReactorToken {
	token := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Name: "night-1"}}
	if dice.flip() {
		token.Spec = attempts.BuildToken(session, &session.Status, &v1alpha1.SessionAttempt{TokenName: "night-1"}, attempts.Settings{}).Spec
	}
	token.Spec.Suspend = new(dice.flip())
	token.Status.ExpirationTime, token.Status.IssuedTime = &metav1.Time{Time: expires}, &metav1.Time{Time: expires.Add(-time.Hour)}
	meta.SetStatusCondition(&token.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Reason: "Any",
		Status: []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown}[dice.below(3)]})
	return token
}

// carriedOut is the outcome of a plan where everything works.
func carriedOut(planned *plan, message string, ran int64) result {
	done := result{done: true}
	if planned.do == doEndAttempt {
		done.ended = &v1alpha1.EndedAttempt{Number: 1, Class: planned.end.Class, Reason: planned.end.Reason, Message: planned.end.Message,
			RunningSeconds: max(ran/int64(time.Second), 0), Cleanup: v1alpha1.CleanupUnverified}
		if planned.end.Message == "" {
			done.ended.Message = outcome.SafeMessage(message)
		}
	}
	return done
}

func checkPlan(t *testing.T, session *v1alpha1.ReactorSession, observed *observation, planned *plan) {
	t.Helper()
	attempt := observed.status.CurrentAttempt
	live := 0
	for _, pod := range observed.ownPods() {
		if !outcome.HasEnded(pod) {
			live++
		}
	}
	unwanted := session.Spec.Suspended() || session.DeletionTimestamp != nil
	switch {
	case planned.do == doCreatePod && (attempt == nil || attempt.PodUID != "" || observed.pod != nil || live > 0 || unwanted):
		t.Fatalf("a pod is created with attempt %+v, %d pods that live, unwanted %t", attempt, live, unwanted)
	case planned.do == doRemoveGate && (len(attempts.OtherGates(observed.pod)) > 0 || observed.pod.DeletionTimestamp != nil || unwanted || !planned.slot):
		t.Fatalf("the gate of a pod is removed that is not to run: %+v", observed.pod.Spec.SchedulingGates)
	case planned.do == doCreateToken && (!planned.slot || observed.pod != nil && len(attempts.OtherGates(observed.pod)) > 0), planned.do == doSuspendToken && attempts.IsGated(observed.pod):
		t.Fatalf("%s while %+v hold the pod back", planned.do, observed.pod.Spec.SchedulingGates)
	case planned.do == doStartAttempt && (attempt != nil || live > 0 || unwanted || attempts.IsFinished(&observed.status)):
		t.Fatalf("an attempt begins with attempt %+v, %d pods that live, unwanted %t", attempt, live, unwanted)
	case planned.do == doEndAttempt && (attempt == nil || planned.end == nil || observed.pod != nil && !outcome.HasEnded(observed.pod)):
		t.Fatalf("attempt %+v is ended while its pod lives", attempt)
	case planned.do == doDeletePod && planned.delete == "":
		t.Fatal("a pod without a name is deleted")
	case planned.do == doStop && planned.stop == "":
		t.Fatal("an attempt is stopped without a reason")
	case planned.do == doDeleteObject && !attempts.IsFinished(&observed.status):
		t.Fatal("a session that has not finished is deleted")
	case planned.end != nil && (planned.end.Running < 0 || planned.end.Class == ""):
		t.Fatalf("an attempt ends as %+v", planned.end)
	}
}

func checkReported(t *testing.T, observed *observation, planned *plan, report *report) {
	t.Helper()
	before, after := &observed.status, &report.status
	if after.RunningSeconds < before.RunningSeconds && before.RunningSeconds >= 0 {
		t.Fatalf("the session has run for %d s, and then for %d s", before.RunningSeconds, after.RunningSeconds)
	}
	if planned.do == doEndAttempt && (after.CurrentAttempt != nil || len(after.RecentAttempts) > attempts.MaxRecent) {
		t.Fatalf("after the end: %+v, %d recent attempts", after.CurrentAttempt, len(after.RecentAttempts))
	}
	if wait := after.NextAttemptTime; planned.do == doEndAttempt && wait != nil && wait.Sub(observed.now) > attempts.MaxBackoff(after) {
		t.Fatalf("the next attempt is in %s", wait.Sub(observed.now))
	}
	negative := slices.ContainsFunc(report.requeue, func(entry requeue.Entry) bool { return entry.After < 0 })
	if next := schedule(context.Background(), nil, report.requeue); negative || next.RequeueAfter > maxWait {
		t.Fatalf("the next reconcile is requested as %v, and is after %s", report.requeue, next.RequeueAfter)
	}
	if ready := meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionReady); planned.ready != nil && (ready == nil || ready.Reason == "" || len(ready.Message) > maxConditionMessage) {
		t.Fatalf("Ready is %+v", ready)
	}
	text, err := json.Marshal([]any{after, report.notices})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secretsInTexts {
		if strings.Contains(string(text), secret) {
			t.Fatalf("a report has a secret: %s", text)
		}
	}
}

// secretsInTexts have the forms that a program may report by mistake.
var secretsInTexts = []string{"eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjF9.c2lnbmF0dXJl", "rk_0123456789abcdef0123"}
