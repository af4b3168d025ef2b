package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// container is that of the session's program.
func container(session *v1alpha1.ReactorSession) *corev1.Container {
	return &session.Spec.Template.Spec.Containers[0]
}

// impatient gives programs a second to end.
func impatient(session *v1alpha1.ReactorSession) {
	session.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64(1))
}

// runs waits until a session runs and its program has a Reactor session, and returns the name of its pod.
func (w *world) runs(name string) (pod string) {
	w.t.Helper()
	pod = w.waitForSession(name, v1alpha1.ReasonRunning).Status.CurrentAttempt.PodName
	w.eventually("a Reactor session", w.open(1))
	return pod
}

// waitUntilGone waits until an object of the world's namespace, or the namespace, is gone.
func (w *world) waitUntilGone(object client.Object) {
	w.t.Helper()
	w.eventually("to be gone: "+object.GetName(), func() error {
		err := cluster.kube.Get(w.t.Context(), client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is kept by %v, %w", object.GetFinalizers(), err)
	})
}

// The hook of docs/reactorsession.md for programs that listen to SIGINT only; SIGTERM comes after it. Which one ended the program is reported
// by its exit code: the kubelet removes the log of a pod that is deleted.
func TestSIGINTThroughPreStopReachesTheProgram(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	w.session("night", func(s *v1alpha1.ReactorSession) {
		container(s).Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/session-worker", "-signal=INT"}}}}
	})
	w.runs("night")
	w.kubectl("patch", "rses", "night", "--type=merge", `-p={"spec":{"suspend":true}}`)
	suspended := w.waitForSession("night", v1alpha1.ReasonSuspended)
	w.wantEnd(suspended, v1alpha1.ClassStopped, "Suspended", v1alpha1.CleanupAlreadyOver)
	if code := suspended.Status.RecentAttempts[0].ExitCode; code == nil || *code != 128+int32(syscall.SIGINT) {
		t.Errorf("the program was not told by SIGINT: %+v", suspended.Status.RecentAttempts[0])
	}
	if ended := w.reactor.Ledger().Sessions[0]; ended.EndReason != emulator.EndDeleted {
		t.Errorf("the Reactor session ended by %s", ended.EndReason)
	}
}

// A session without a limit may outlive its token, which is renewed then.
func TestARenewedTokenReachesTheProgramOfASession(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t, "--allow-prompt-delivery")
	w.session("night", nil, "-poll=50ms")
	pod := w.runs("night")
	before := w.waitForSession("night", v1alpha1.ReasonRunning).Status.CurrentAttempt
	latest := w.waitForToken(before.TokenName, "")
	for changes := 1; changes <= 3; changes++ {
		w.renew(before.TokenName)
		latest = w.waitForToken(before.TokenName, latest)
		changed := time.Now()
		w.eventually("the renewed token in the pod", func() error {
			if log := w.logOf(pod); !strings.Contains(log, fmt.Sprintf("changes=%d", changes)) {
				return fmt.Errorf("the program says %s", log)
			}
			return nil
		})
		t.Logf("the file of the session's pod changed %s after the Secret, with prompt delivery", time.Since(changed).Round(10*time.Millisecond))
	}
	after := w.waitForSession("night", v1alpha1.ReasonRunning).Status.CurrentAttempt
	if after.PodUID != before.PodUID || len(w.reactor.Ledger().Sessions) != 1 {
		t.Errorf("it goes on as %+v, with %d Reactor sessions", after, len(w.reactor.Ledger().Sessions))
	}
}

// Whatever ends a pod, and whatever its program still gets to do, its Reactor session is over when the outcome is recorded.
func TestEachEndOfAPodEndsItsReactorSession(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change  func(*v1alpha1.ReactorSession)
		args    []string
		then    func(w *world, pod string)
		class   v1alpha1.AttemptClass
		reason  string
		cleanup v1alpha1.CleanupResult
	}{
		"out of memory": {
			change: func(s *v1alpha1.ReactorSession) {
				container(s).Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
			},
			args: []string{"-oom"}, class: v1alpha1.ClassFailed, reason: "OOMKilled", cleanup: v1alpha1.CleanupEnded,
		},
		"evicted through the API, as by a drain of its node": {
			then: func(w *world, pod string) {
				eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: pod}}
				if err := cluster.clientset.PolicyV1().Evictions(w.namespace).Evict(w.t.Context(), eviction); err != nil {
					w.t.Fatal(err)
				}
			},
			class: v1alpha1.ClassIgnored, reason: "EvictionByEvictionAPI", cleanup: v1alpha1.CleanupAlreadyOver,
		},
		"deleted by hand, with a program that does not listen": {
			change: impatient, args: []string{"-deaf"},
			then:  func(w *world, pod string) { w.kubectl("delete", "pod", pod, "--wait=false") },
			class: v1alpha1.ClassIgnored, reason: "PodDeleted", cleanup: v1alpha1.CleanupEnded,
		},
		"a quota of Reactor": {
			args: []string{"-fail=QUOTA_EXCEEDED"}, class: v1alpha1.ClassIgnored, reason: "RateLimited", cleanup: v1alpha1.CleanupNotNeeded,
		},
		"a refused token": {
			args: []string{"-fail=UNAUTHORIZED"}, class: v1alpha1.ClassIgnored, reason: v1alpha1.ReasonTokenExpired, cleanup: v1alpha1.CleanupUnverified,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSessionWorld(t)
			w.session("night", func(s *v1alpha1.ReactorSession) {
				s.Spec.RestartPolicy, s.Spec.BackoffLimit = v1alpha1.RestartOnFailure, new(int32(9))
				if test.change != nil {
					test.change(s)
				}
			}, test.args...)
			if test.then != nil {
				test.then(w, w.runs("night"))
			}
			ended := w.waitForSession("night", v1alpha1.ReasonBackingOff)
			w.wantEnd(ended, test.class, test.reason, test.cleanup)
			counted, uncounted := ended.Status.Failures, ended.Status.IgnoredFailures
			if want := test.class == v1alpha1.ClassFailed; (counted > 0) != want || (uncounted > 0) == want {
				t.Errorf("%d counted and %d uncounted failures", counted, uncounted)
			}
		})
	}
}

// A kubelet that evicts a pod may remove its container before it has read how that ended, and then the ID is unknown of its Reactor
// session any more (cleanUpContainersInPod in k8s.io/kubernetes/pkg/kubelet, of evicted pods). Then the token of the attempt bounds it: in
// ten minutes Reactor has ended it.
func TestAnEvictionByTheKubeletLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	w.session("night", func(s *v1alpha1.ReactorSession) {
		s.Spec.MaxDuration = "2m"
		s.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{
			EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: new(resource.MustParse("16Mi"))},
		}}}
		container(s).VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}}
	}, "-fill=/scratch", "-abandon")
	ended := w.waitForSession("night", v1alpha1.ReasonBackingOff)
	w.kubectl("patch", "rses", "night", "--type=merge", "--patch", `{"spec":{"suspend":true}}`)
	t.Logf("the Reactor session of the evicted pod: %s", ended.Status.RecentAttempts[0].Cleanup)
	if ended.Status.RecentAttempts[0].Cleanup == v1alpha1.CleanupUnverified {
		w.clock.ahead.Store(int64(10 * time.Minute))
		w.wantEnd(ended, v1alpha1.ClassIgnored, "Evicted", v1alpha1.CleanupUnverified)
		return
	}
	w.wantEnd(ended, v1alpha1.ClassIgnored, "Evicted", v1alpha1.CleanupEnded)
}

// The key can go at any time: what the attempt has is its own token.
func TestASessionEndsCleanlyAfterItsKeyIsGone(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	w.session("night", impatient, "-deaf")
	w.runs("night")
	w.kubectl("delete", "secret", keySecret)
	w.kubectl("delete", "rses", "night", "--wait=false")
	w.waitUntilGone(&v1alpha1.ReactorSession{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "night"}})
	if err := w.open(0)(); err != nil {
		t.Error(err)
	}
}

// The operator has its permissions from a Role in the namespace, which is deleted with it, after the pods.
func TestADeletedNamespaceEndsItsSessionsAndGoes(t *testing.T) {
	t.Parallel()
	w := newSessionWorld(t)
	w.session("night", impatient, "-deaf")
	w.runs("night")
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	if err := cluster.kube.Delete(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	w.waitUntilGone(namespace)
	if err := w.open(0)(); err != nil {
		t.Error(err)
	}
}
