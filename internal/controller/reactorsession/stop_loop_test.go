package reactorsession

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// A pod that the operator stops stays, with its logs.
func TestAPodThatIsStoppedStays(t *testing.T) {
	for name, test := range map[string]struct {
		session func(*v1alpha1.ReactorSession)
		stop    func(*v1alpha1.ReactorSession)
		want    string
	}{
		"suspended":   {func(*v1alpha1.ReactorSession) {}, suspend(true), "1 Stopped Suspended AlreadyOver"},
		"maxDuration": {func(s *v1alpha1.ReactorSession) { s.Spec.MaxDuration = "10m" }, func(*v1alpha1.ReactorSession) {}, "1 Stopped DurationReached AlreadyOver"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.create(newSession("night", test.session))
				w.start()
				w.pass(9 * time.Minute)
				w.edit("night", test.stop)
				w.pass(90 * time.Second)
				if got := w.ended("night"); got != test.want {
					t.Errorf("attempts %q, want %q", got, test.want)
				}
				w.wantOpen(0)
				w.pass(time.Hour)
				pods := w.pods()
				if len(pods) != 1 || pods[0].DeletionTimestamp != nil || len(pods[0].Finalizers) != 0 {
					t.Fatalf("an hour after the stop, there are the pods %v", pods)
				}
				if status := pods[0].Status; status.Phase != corev1.PodFailed || status.Reason != "DeadlineExceeded" || status.ContainerStatuses[0].State.Terminated == nil {
					t.Errorf("the pod has the status %+v", status)
				}
			})
		})
	}
}

// A policy that denies changes of pods keeps no program running.
func TestAPodWhoseDeadlineCannotBeLoweredIsDeleted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night"))
		w.start()
		w.want("night", "Ready=True/Running")
		denied := 0
		w.api.MeddleWith(func(made call, do func() error) error {
			if made.Verb == "patch" && made.Kind == "Pod" && denied == 0 {
				denied++
				return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "night", nil)
			}
			return do()
		})
		w.edit("night", suspend(true))
		w.settle()
		if got, want := w.ended("night"), "1 Stopped Suspended AlreadyOver"; got != want {
			t.Errorf("attempts %q, want %q", got, want)
		}
		w.wantOpen(0)
		w.pass(time.Minute)
		if pods := w.pods(); len(pods) != 0 || denied != 1 {
			t.Errorf("%d pods are left, and %d patches were denied", len(pods), denied)
		}
	})
}

// The kubelet of a lost node lowers nothing. Only a pod that is being deleted can be taken away from such a node.
func TestAPodThatDoesNotEndIsDeletedAMinuteAfterItsGracePeriod(t *testing.T) {
	inWorld(t, func(w *world) {
		w.create(newSession("night"))
		w.start()
		w.want("night", "Ready=True/Running")
		w.node.be(func(k *kubelet) { k.lost = true })
		w.edit("night", suspend(true))
		w.pass(90*time.Second - 5*time.Second)
		if pod := w.pods()[0]; pod.DeletionTimestamp != nil || pod.Spec.ActiveDeadlineSeconds == nil {
			t.Errorf("before the minute is over, the pod has the deletion time %v and the deadline %v", pod.DeletionTimestamp, pod.Spec.ActiveDeadlineSeconds)
		}
		w.pass(20 * time.Second)
		if pod := w.pods()[0]; pod.DeletionTimestamp == nil {
			t.Error("after the minute, the pod is not being deleted")
		}
		w.node.be(func(k *kubelet) { k.lost = false })
		w.pass(2 * time.Minute)
		w.want("night", "Ready=False/Suspended")
		w.wantOpen(0)
	})
}
