package reactorsession

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
)

// Our finalizers keep a session and its pods until an operator lets them go. An operator that is uninstalled would leave them, and their
// namespaces, undeletable: so before that, they are drained.

const (
	// drainInterval is how soon the sessions are looked at again that have not ended.
	drainInterval = time.Second
	// drainAtOnce is how many sessions are worked on at the same time.
	drainAtOnce = 8
	// abandonTimeout bounds the writes of a drain whose time is over.
	abandonTimeout = 30 * time.Second
)

// Drain suspends every session of the namespaces, of all namespaces when none is named, ends what runs, sees to its Reactor sessions, and
// takes our finalizers off. What has not ended when the time is over is let go of all the same, with an event. Sessions that somebody
// resumes meanwhile are suspended again.
//
// It wants a Reconciler whose Cache reads live, and that runs in no manager. An operator may work beside it: whatever both do is done once.
// It returns an error when the context ends before, or when the API server lets it do less than that.
func (r *Reconciler) Drain(ctx context.Context, namespaces []string, timeout time.Duration) error {
	err := wait.PollUntilContextTimeout(ctx, drainInterval, timeout, true, func(bounded context.Context) (bool, error) {
		left, err := r.drainOnce(bounded, namespaces)
		if err != nil && bounded.Err() == nil {
			ctrl.LoggerFrom(ctx).Error(err, "a pass of the drain has failed, and is made again")
		}
		return err == nil && left == 0, nil
	})
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the drain was interrupted, and sessions may be left: %w", ctx.Err())
	case err != nil:
		return r.abandon(ctx, namespaces, timeout)
	default:
		return nil
	}
}

// drainOnce makes one pass for each session that has not ended, and returns how many those were.
func (r *Reconciler) drainOnce(ctx context.Context, namespaces []string) (left int, err error) {
	sessions, pods, err := r.protected(ctx, namespaces)
	if err != nil {
		return 0, err
	}
	var failed error
	ending := map[types.NamespacedName]bool{}
	for i := range sessions {
		session := &sessions[i]
		failed = errors.Join(failed, r.suspend(ctx, session))
		if !isDrained(session) {
			ending[client.ObjectKeyFromObject(session)] = true
		}
	}
	for i := range pods {
		ending[types.NamespacedName{Namespace: pods[i].Namespace, Name: pods[i].Annotations[attempts.SessionAnnotation]}] = true
	}
	passes := errgroup.Group{}
	passes.SetLimit(drainAtOnce)
	for name := range ending {
		passes.Go(func() error {
			_, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: name})
			return err
		})
	}
	return len(ending), errors.Join(failed, passes.Wait())
}

// isDrained reports whether a session is kept by nothing of ours, and says what it has come to.
func isDrained(session *v1alpha1.ReactorSession) bool {
	told := session.DeletionTimestamp != nil || isFinished(&session.Status) || meta.IsStatusConditionTrue(session.Status.Conditions, v1alpha1.ConditionSuspended)
	return told && !attempts.HasFinalizer(session, attempts.CleanupFinalizer)
}

// protected returns all sessions of the namespaces, and the pods that our finalizer keeps.
func (r *Reconciler) protected(ctx context.Context, namespaces []string) (sessions []v1alpha1.ReactorSession, pods []corev1.Pod, err error) {
	if len(namespaces) == 0 {
		namespaces = []string{corev1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		some := &v1alpha1.ReactorSessionList{}
		if err := r.cache.List(ctx, some, client.InNamespace(namespace)); err != nil && !meta.IsNoMatchError(err) { // there is no such kind
			return nil, nil, fmt.Errorf("listing ReactorSessions: %w", err)
		}
		sessions = append(sessions, some.Items...)
		runs := &corev1.PodList{}
		if err := r.cache.List(ctx, runs, client.InNamespace(namespace), client.HasLabels{attempts.SessionUIDLabel}); err != nil {
			return nil, nil, fmt.Errorf("listing the pods of ReactorSessions: %w", err)
		}
		for i := range runs.Items {
			if pod := &runs.Items[i]; attempts.HasFinalizer(pod, attempts.TrackingFinalizer) {
				pods = append(pods, *pod)
			}
		}
	}
	return sessions, pods, nil
}

// suspend keeps a session from beginning another attempt.
func (r *Reconciler) suspend(ctx context.Context, session *v1alpha1.ReactorSession) error {
	if session.Spec.Suspended() || session.DeletionTimestamp != nil || isFinished(&session.Status) {
		return nil
	}
	if err := r.setSuspend(ctx, session); client.IgnoreNotFound(err) != nil {
		return err
	}
	ctrl.LoggerFrom(ctx).Info("spec.suspend is set: the operator is about to be uninstalled", "namespace", session.Namespace, "name", session.Name)
	return nil
}

// abandon takes our finalizers off what has not ended in time.
func (r *Reconciler) abandon(ctx context.Context, namespaces []string, after time.Duration) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, drainInterval, abandonTimeout, true, func(ctx context.Context) (bool, error) {
		last = r.abandonOnce(ctx, namespaces, after) // an operator that works may have been faster, and then it is done again
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the drain could not let everything go: %w", errors.Join(err, last))
	}
	return nil
}

func (r *Reconciler) abandonOnce(ctx context.Context, namespaces []string, after time.Duration) error {
	sessions, pods, err := r.protected(ctx, namespaces)
	if err != nil {
		return err
	}
	var failed error
	for i := range pods {
		pod := &pods[i]
		_, err := r.patchFinalizers(ctx, pod, without(pod.Finalizers, attempts.TrackingFinalizer))
		if err == nil {
			notice.Emit(ctx, r.recorder, pod, []notice.Notice{notice.Warning(v1alpha1.ReasonCleanupUnverified, "Drain",
				"Pod %s/%s of ReactorSession %q was not stopped and cleaned up within %s, so the operator removed the pod's finalizer. "+
					"A Reactor session may still be open. End it in Reactor's dashboard.",
				pod.Namespace, pod.Name, pod.Annotations[attempts.SessionAnnotation], after)})
		}
		failed = errors.Join(failed, client.IgnoreNotFound(err))
	}
	for i := range sessions {
		if session := &sessions[i]; attempts.HasFinalizer(session, attempts.CleanupFinalizer) {
			_, err := r.patchFinalizers(ctx, session, without(session.Finalizers, attempts.CleanupFinalizer))
			failed = errors.Join(failed, client.IgnoreNotFound(err))
		}
	}
	return failed
}
