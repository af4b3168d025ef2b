package e2e

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// newSessionWorld makes a world whose operator runs sessions, in a namespace that enforces Pod Security restricted.
func newSessionWorld(t *testing.T, args ...string) *world {
	t.Helper()
	w := newWorld(t, args...)
	w.kubectl("label", "namespace", w.namespace, "pod-security.kubernetes.io/enforce=restricted")
	return w
}

// session creates a ReactorSession whose program is the worker with these arguments.
func (w *world) session(name string, change func(*v1alpha1.ReactorSession), args ...string) {
	w.t.Helper()
	session := &v1alpha1.ReactorSession{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	session.Spec.Model, session.Spec.APIKeySecretRef.Name = "reactor/helios", keySecret
	session.Spec.Template.Spec = corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: new(true), RunAsUser: new(int64(65532))},
		Containers: []corev1.Container{{
			Name: "worker", Image: workerImage, Args: args,
			SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, ReadOnlyRootFilesystem: new(true)},
		}},
	}
	if change != nil {
		change(session)
	}
	w.create(session)
}

// waitForSession waits until Ready of a session has this reason.
func (w *world) waitForSession(name, reason string) *v1alpha1.ReactorSession {
	w.t.Helper()
	session := &v1alpha1.ReactorSession{}
	w.eventually("session "+name+" to be "+reason, func() error {
		if err := w.get(name, session); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(session.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != reason {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
	return session
}

// wantEnd checks how the last attempt ended, and that no Reactor session is open.
func (w *world) wantEnd(session *v1alpha1.ReactorSession, class v1alpha1.AttemptClass, reason string, cleanup v1alpha1.CleanupResult) {
	w.t.Helper()
	got := session.Status.RecentAttempts[0]
	if got.Class != class || got.Reason != reason || got.Cleanup != cleanup {
		w.t.Errorf("the attempt is told as %+v, want %s %s %s", got, class, reason, cleanup)
	}
	if open := w.reactor.Ledger().Open(); len(open) != 0 {
		w.t.Errorf("%d Reactor sessions are open", len(open))
	}
}

// logOf reads what a pod has printed.
func (w *world) logOf(pod string) string {
	w.t.Helper()
	stream, err := cluster.clientset.CoreV1().Pods(w.namespace).GetLogs(pod, &corev1.PodLogOptions{}).Stream(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	text, err := io.ReadAll(stream)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func TestASessionCompletesWithEitherCredential(t *testing.T) {
	t.Parallel()
	for _, delivery := range []v1alpha1.CredentialDelivery{v1alpha1.DeliveryTokenFile, v1alpha1.DeliveryAPIKeyEnv} {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			w := newSessionWorld(t)
			w.session("night", func(s *v1alpha1.ReactorSession) { s.Spec.Credentials.Delivery = delivery }, "-hold=3s")
			done := w.waitForSession("night", v1alpha1.ReasonCompleted)
			w.wantEnd(done, v1alpha1.ClassSucceeded, v1alpha1.ReasonCompleted, v1alpha1.CleanupAlreadyOver)
			w.token("fence", v1alpha1.ReactorTokenSpec{}) // what the end was followed by has been done when it is
			w.waitForToken("fence", "")
			pods := &corev1.PodList{}
			if err := cluster.kube.List(t.Context(), pods, client.InNamespace(w.namespace)); err != nil || len(pods.Items) != 1 {
				t.Fatalf("%d pods after the end, %v", len(pods.Items), err)
			}
			if log := w.logOf(pods.Items[0].Name); !strings.Contains(log, "the session runs") || strings.Contains(log, w.key) {
				t.Errorf("after the end, the log of the pod is %q", log)
			}
		})
	}
}

// The program gets SIGTERM, and ends its session before its pod has ended.
func TestASuspendedSessionIsStoppedCleanlyAndResumed(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	w.session("night", nil)
	attempt := w.waitForSession("night", v1alpha1.ReasonRunning).Status.CurrentAttempt
	first, pod := attempt.PodUID, attempt.PodName
	w.eventually("a Reactor session", w.open(1))
	w.kubectl("patch", "rses", "night", "--type=merge", `-p={"spec":{"suspend":true}}`)
	w.wantEnd(w.waitForSession("night", v1alpha1.ReasonSuspended), v1alpha1.ClassStopped, "Suspended", v1alpha1.CleanupAlreadyOver)
	if ended := w.reactor.Ledger().Sessions[0]; ended.EndReason != emulator.EndDeleted {
		t.Errorf("the Reactor session ended by %s", ended.EndReason)
	}
	w.wantLogOfStopped(pod)
	w.kubectl("patch", "rses", "night", "--type=merge", `-p={"spec":{"suspend":false}}`)
	if again := w.waitForSession("night", v1alpha1.ReasonRunning).Status.CurrentAttempt; again.PodUID == first || again.Number != 2 {
		t.Errorf("it goes on as %+v", again)
	}
}

func TestASessionThatMaxDurationStopsKeepsItsLog(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	w.session("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "10s" })
	pod := w.waitForSession("night", v1alpha1.ReasonRunning).Status.CurrentAttempt.PodName
	w.wantEnd(w.waitForSession("night", v1alpha1.ReasonDurationReached), v1alpha1.ClassStopped, "DurationReached", v1alpha1.CleanupAlreadyOver)
	w.wantLogOfStopped(pod)
}

// wantLogOfStopped checks that a pod that the operator stopped exists, with the exit code and the log of its program.
func (w *world) wantLogOfStopped(name string) {
	w.t.Helper()
	pod := &corev1.Pod{}
	if err := w.get(name, pod); err != nil {
		w.t.Fatal(err)
	}
	ended := pod.Status.ContainerStatuses[0].State.Terminated
	if pod.Status.Phase != corev1.PodFailed || pod.Status.Reason != "DeadlineExceeded" || ended == nil || ended.ExitCode != 143 {
		w.t.Errorf("the pod is %s %s, and its container ended as %+v", pod.Status.Phase, pod.Status.Reason, ended)
	}
	if log := w.logOf(name); !strings.Contains(log, "the session runs") {
		w.t.Errorf("the log of the pod is %q", log)
	}
}

// open objects unless so many Reactor sessions are open.
func (w *world) open(want int) func() error {
	return func() error {
		if open := len(w.reactor.Ledger().Open()); open != want {
			return fmt.Errorf("%d are open", open)
		}
		return nil
	}
}

func TestASessionThatItsProgramLeavesOpenIsEnded(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	w.session("night", nil, "-hold=2s", "-abandon", "-exit=3")
	failed := w.waitForSession("night", v1alpha1.ReasonBackoffLimitExceeded)
	w.wantEnd(failed, v1alpha1.ClassFailed, "ExitCode", v1alpha1.CleanupEnded)
	if code := failed.Status.RecentAttempts[0].ExitCode; code == nil || *code != 3 {
		t.Errorf("the exit code is %v", code)
	}
}

// A program that does not listen is killed after its grace period, and its session is ended after that.
func TestASessionOfADeafProgramIsEnded(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	w.session("night", impatient, "-deaf")
	w.waitForSession("night", v1alpha1.ReasonRunning)
	w.eventually("a Reactor session", w.open(1))
	w.kubectl("delete", "rses", "night")
	w.eventually("no Reactor session", w.open(0))
}

// While the operator is away, the kubelet keeps maxDuration.
func TestTheKubeletEndsASessionWhileTheOperatorIsAway(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	w.session("night", func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration, s.Spec.StartDeadline = "10s", "10s" })
	pod := w.waitForSession("night", v1alpha1.ReasonRunning).Status.CurrentAttempt.PodName
	w.killOperator()
	w.eventually("the pod to be ended by the kubelet", func() error {
		ended := &corev1.Pod{}
		if err := w.get(pod, ended); err != nil {
			return err
		}
		if ended.Status.Phase != corev1.PodFailed || ended.Status.Reason != "DeadlineExceeded" {
			return fmt.Errorf("it is %s %s", ended.Status.Phase, ended.Status.Reason)
		}
		return nil
	})
	w.startOperator()
	w.wantEnd(w.waitForSession("night", v1alpha1.ReasonDurationReached), v1alpha1.ClassStopped, "DurationReached", v1alpha1.CleanupAlreadyOver)
}

func TestARotatedKeyAndAnotherOperatorLeaveARunningSessionAlone(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	w.session("night", nil)
	before := w.waitForSession("night", v1alpha1.ReasonRunning)
	w.eventually("a Reactor session", w.open(1))
	w.reactor.AddKey("rk_another0123456789")
	w.kubectl("patch", "secret", keySecret, "--type=merge", `-p={"stringData":{"api-key":"rk_another0123456789"}}`)
	w.killOperator()
	w.startOperator()
	w.renew(before.Status.CurrentAttempt.TokenName)
	w.token("fence", v1alpha1.ReactorTokenSpec{}) // what is after it in the operator's queues was reconciled when it is done
	w.waitForToken("fence", "")
	pod := &corev1.Pod{}
	if err := w.get(before.Status.CurrentAttempt.PodName, pod); err != nil || string(pod.UID) != before.Status.CurrentAttempt.PodUID || restarts(pod) != 0 {
		t.Errorf("the pod is %s, restarted %d times, %v", pod.UID, restarts(pod), err)
	}
	if sessions := len(w.reactor.Ledger().Sessions); sessions != 1 {
		t.Errorf("%d Reactor sessions", sessions)
	}
	w.waitForSession("night", v1alpha1.ReasonRunning)
}

// queueGate is the gate of a queue. Kueue's is kueue.x-k8s.io/admission.
const queueGate = "example.com/queue"

// A queue holds the pod back for longer than a token of the attempt would live: a minute of maxDuration and of startDeadline, and the margins. The
// margins are 15 minutes, so the queue is shorter here, and the age of the token that the program gets is measured instead.
func TestAPodThatWaitsInAQueueRunsWithAFreshToken(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	w.session("night", func(s *v1alpha1.ReactorSession) {
		s.Spec.MaxDuration = "1m"
		s.Spec.Template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: queueGate}}
	}, "-hold=3s")
	name := w.waitForSession("night", v1alpha1.ReasonSchedulingGated).Status.CurrentAttempt.PodName
	w.session("other", nil, "-hold=30s") // takes as long as the queue
	w.waitForSession("other", v1alpha1.ReasonCompleted)
	pod := &corev1.Pod{}
	if err := w.get(name, pod); err != nil {
		t.Fatal(err)
	}
	if got := w.reactor.Ledger().Mints(); got != 1 || len(pod.Spec.SchedulingGates) != 2 || pod.Spec.NodeName != "" {
		t.Errorf("in the queue: %d mints, want that of the other session; gates %v, node %q", got, pod.Spec.SchedulingGates, pod.Spec.NodeName)
	}
	admitted := time.Now().Truncate(time.Second)
	w.kubectl("patch", "pod", name, "--type=json", `-p=[{"op":"test","path":"/spec/schedulingGates/0/name","value":"`+queueGate+`"},{"op":"remove","path":"/spec/schedulingGates/0"}]`)
	running := w.waitForSession("night", v1alpha1.ReasonRunning)
	if issued := running.Status.CurrentAttempt.TokenIssuedTime; issued == nil || issued.Time.Before(admitted.Add(-5*time.Second)) {
		t.Errorf("the token of the program is of %s, and the queue admitted the pod at %s", issued, admitted)
	}
	done := w.waitForSession("night", v1alpha1.ReasonCompleted)
	w.wantEnd(done, v1alpha1.ClassSucceeded, v1alpha1.ReasonCompleted, v1alpha1.CleanupAlreadyOver)
	if got := w.reactor.Ledger().Mints(); got != 2 || done.Status.Attempts != 1 {
		t.Errorf("%d mints and %d attempts, want one of each for the session in the queue", got, done.Status.Attempts)
	}
}
