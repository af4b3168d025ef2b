package sim

import (
	"context"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// sessionUIDOf is the UID of the ReactorSession that a pod belongs to. It is the pod's owner, because other clients remove the labels:
//
//  1. The operator creates a pod.
//  2. A client removes the pod's labels.
//  3. The kubelet reads the pod, and starts its program.
//  4. The operator adds the labels again, and the session is Running.
//
// With the label of step 3, the judge did not find the program of the session (seed 700414).
func sessionUIDOf(pod *corev1.Pod) types.UID {
	if owner := metav1.GetControllerOf(pod); owner != nil {
		return owner.UID
	}
	return ""
}

func TestAProgramBelongsToTheOwnerOfItsPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(context.Background())
		w := newWorld(ctx, schedule{})
		pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "night-1", OwnerReferences: []metav1.OwnerReference{{
			Kind: "ReactorSession", Name: "night", UID: "of-night", Controller: new(true),
		}}}}
		w.judge.programBegins(&machine{pod: pod, env: map[string]string{"REACTOR_API_KEY": "any"}})
		if got := w.judge.book.programs[0].uid; got != "of-night" {
			t.Errorf("a program whose pod has no labels belongs to the session %q, want of-night", got)
		}
		stop()
		synctest.Wait()
	})
}
