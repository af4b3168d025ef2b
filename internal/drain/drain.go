// Package drain ends all sessions before the operator is uninstalled.
//
// The operator's finalizers keep a session and its pods until an operator removes them. Without a drain, an operator that is uninstalled would leave
// them, and their namespaces, undeletable.
package drain

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/notice"
)

const (
	// interval is how soon the sessions that have not ended are reconciled again.
	interval = time.Second
	// maxConcurrent is how many sessions are reconciled at the same time.
	maxConcurrent = 8
	// abandonTimeout bounds the writes of a drain whose time is over.
	abandonTimeout = 30 * time.Second
)

// Drainer ends sessions. An operator may work at the same time: whatever both do is done once.
type Drainer struct {
	Client   client.Client        // reads live
	Sessions reconcile.Reconciler // reconciles ReactorSessions, reads live, and runs in no manager
	Recorder events.EventRecorder // events.k8s.io
}

// Run suspends every session of the namespaces, or of all namespaces if none is given, ends what runs, cleans up the Reactor sessions, and removes the
// operator's finalizers. It also removes the finalizers of what has not ended after the timeout, and emits an event for each pod. Sessions that a
// user resumes meanwhile are suspended again.
//
// It returns an error if the context ends before, or if the API server refuses a part of this.
func (d *Drainer) Run(ctx context.Context, namespaces []string, timeout time.Duration) error {
	err := wait.PollUntilContextTimeout(ctx, interval, timeout, true, func(bounded context.Context) (bool, error) {
		left, err := d.drainOnce(bounded, namespaces)
		if err != nil && bounded.Err() == nil {
			ctrl.LoggerFrom(ctx).Error(err, "a part of the drain failed, and is tried again")
		}
		return err == nil && left == 0, nil
	})
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the drain was interrupted, and sessions may be left: %w", ctx.Err())
	case err != nil:
		return d.abandon(ctx, namespaces, timeout)
	default:
		return nil
	}
}

// drainOnce reconciles each session that has not ended, and returns their number.
func (d *Drainer) drainOnce(ctx context.Context, namespaces []string) (left int, err error) {
	sessions, pods, err := d.protected(ctx, namespaces)
	if err != nil {
		return 0, err
	}
	var failed error
	ending := map[types.NamespacedName]bool{}
	for i := range sessions {
		session := &sessions[i]
		failed = errors.Join(failed, d.suspend(ctx, session))
		if !isDrained(session) {
			ending[client.ObjectKeyFromObject(session)] = true
		}
	}
	for i := range pods {
		ending[types.NamespacedName{Namespace: pods[i].Namespace, Name: pods[i].Annotations[attempts.SessionAnnotation]}] = true
	}
	reconciles := errgroup.Group{}
	reconciles.SetLimit(maxConcurrent)
	for name := range ending {
		reconciles.Go(func() error {
			_, err := d.Sessions.Reconcile(ctx, ctrl.Request{NamespacedName: name})
			return err
		})
	}
	return len(ending), errors.Join(failed, reconciles.Wait())
}

// isDrained reports whether the operator keeps a session with nothing, and its status shows how it ended.
func isDrained(session *v1alpha1.ReactorSession) bool {
	isReported := session.DeletionTimestamp != nil || attempts.IsFinished(&session.Status) ||
		meta.IsStatusConditionTrue(session.Status.Conditions, v1alpha1.ConditionSuspended)
	return isReported && !attempts.HasFinalizer(session, attempts.CleanupFinalizer)
}

// protected returns all sessions of the namespaces, and the pods that our finalizer keeps.
func (d *Drainer) protected(ctx context.Context, namespaces []string) (sessions []v1alpha1.ReactorSession, pods []corev1.Pod, err error) {
	if len(namespaces) == 0 {
		namespaces = []string{corev1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		some := &v1alpha1.ReactorSessionList{}
		if err := d.Client.List(ctx, some, client.InNamespace(namespace)); err != nil && !meta.IsNoMatchError(err) { // the CRD does not exist
			return nil, nil, fmt.Errorf("listing ReactorSessions: %w", err)
		}
		sessions = append(sessions, some.Items...)
		labeled := &corev1.PodList{}
		if err := d.Client.List(ctx, labeled, client.InNamespace(namespace), client.HasLabels{attempts.SessionUIDLabel}); err != nil {
			return nil, nil, fmt.Errorf("listing the pods of ReactorSessions: %w", err)
		}
		for i := range labeled.Items {
			if pod := &labeled.Items[i]; attempts.HasFinalizer(pod, attempts.TrackingFinalizer) {
				pods = append(pods, *pod)
			}
		}
	}
	return sessions, pods, nil
}

// suspend prevents that a session starts another attempt.
func (d *Drainer) suspend(ctx context.Context, session *v1alpha1.ReactorSession) error {
	if session.Spec.Suspended() || session.DeletionTimestamp != nil || attempts.IsFinished(&session.Status) {
		return nil
	}
	before := client.MergeFrom(session.DeepCopy())
	session.Spec.Suspend = new(true)
	if err := d.Client.Patch(ctx, session, before, client.FieldOwner(attempts.FieldOwner)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("setting spec.suspend of ReactorSession %s/%s: %w", session.Namespace, session.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("spec.suspend is set: the operator is about to be uninstalled", "namespace", session.Namespace, "name", session.Name)
	return nil
}

// abandon removes our finalizers from what has not ended in time.
func (d *Drainer) abandon(ctx context.Context, namespaces []string, after time.Duration) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, interval, abandonTimeout, true, func(ctx context.Context) (bool, error) {
		last = d.abandonOnce(ctx, namespaces, after) // a running operator may have changed an object meanwhile, and then it is tried again
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the drain could not remove all finalizers: %w", errors.Join(err, last))
	}
	return nil
}

func (d *Drainer) abandonOnce(ctx context.Context, namespaces []string, after time.Duration) error {
	sessions, pods, err := d.protected(ctx, namespaces)
	if err != nil {
		return err
	}
	var failed error
	for i := range pods {
		pod := &pods[i]
		err := d.removeFinalizer(ctx, pod, attempts.TrackingFinalizer)
		if err == nil {
			notice.Emit(ctx, d.Recorder, pod, []notice.Notice{notice.Warning(v1alpha1.ReasonCleanupUnverified, "Drain",
				"Pod %s/%s of ReactorSession %q was not stopped and cleaned up within %s, so the operator removed the pod's finalizer. "+
					"A Reactor session may still be open. End it in Reactor's dashboard.",
				pod.Namespace, pod.Name, pod.Annotations[attempts.SessionAnnotation], after)})
		}
		failed = errors.Join(failed, client.IgnoreNotFound(err))
	}
	for i := range sessions {
		if session := &sessions[i]; attempts.HasFinalizer(session, attempts.CleanupFinalizer) {
			failed = errors.Join(failed, client.IgnoreNotFound(d.removeFinalizer(ctx, session, attempts.CleanupFinalizer)))
		}
	}
	return failed
}

// removeFinalizer removes one of our finalizers from an object, if it still has this resourceVersion.
func (d *Drainer) removeFinalizer(ctx context.Context, object client.Object, finalizer string) error {
	copied, _ := object.DeepCopyObject().(client.Object)
	before := client.MergeFromWithOptions(copied, client.MergeFromWithOptimisticLock{})
	controllerutil.RemoveFinalizer(object, finalizer)
	if err := d.Client.Patch(ctx, object, before, client.FieldOwner(attempts.FieldOwner)); err != nil {
		return fmt.Errorf("removing the finalizer %s of %T %s/%s: %w", finalizer, object, object.GetNamespace(), object.GetName(), err)
	}
	return nil
}
