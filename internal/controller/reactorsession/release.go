package reactorsession

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// release deletes the tokens of attempts that have ended, and removes the finalizer of their pods: their outcome is recorded in status. If the
// session is idle then, its finalizer is removed too, until the next attempt: its namespace may be terminating, and with it a Role that gives the
// operator its permissions. A namespace deletes its pods before all else.
func (r *Reconciler) release(ctx context.Context, session *v1alpha1.ReactorSession, observed *observation) result {
	state := observed.state
	done := result{state: &state, requeue: after(retryBase, "pods or tokens of ended attempts were released")}
	var failed error
	for _, name := range observed.stale {
		token := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: session.Namespace, Name: name}}
		failed = errors.Join(failed, r.delete(ctx, token))
	}
	var released []types.UID
	for _, pod := range observed.pods {
		if pod.Class != attempts.Recorded && pod.Class != attempts.Unrecorded {
			continue
		}
		_, err := r.patchFinalizers(ctx, pod.Pod, without(pod.Finalizers, attempts.TrackingFinalizer))
		failed = errors.Join(failed, client.IgnoreNotFound(err))
		if client.IgnoreNotFound(err) == nil {
			released = append(released, pod.UID)
		}
		if err == nil && pod.Class == attempts.Unrecorded {
			done.notices = append(done.notices, notice.Warning(v1alpha1.ReasonCleanupUnverified, "CleanUp",
				"Pod %q is of an attempt that status does not list. The operator does not know whether it left a Reactor session open%s", pod.Name, outerBound(session)))
		}
	}
	if len(released) > 0 {
		state.released = released
	}
	for _, pod := range observed.podsOf(attempts.Outdated) {
		failed = errors.Join(failed, r.delete(ctx, pod.DeepCopy(), client.Preconditions{UID: &pod.UID}))
	}
	failed = errors.Join(failed, r.releaseOrphans(ctx, client.ObjectKeyFromObject(session), observed.podsOf(attempts.Orphan)))
	if failed == nil && attempts.HasFinalizer(session, attempts.CleanupFinalizer) && observed.isIdle() {
		done.patched, failed = r.setFinalizers(ctx, session, without(session.Finalizers, attempts.CleanupFinalizer))
	}
	done.done, done.err = failed == nil, failed
	return done
}

// removeFinalizers removes our finalizers, that of the session last. If there is none, others keep what is left, and a watch shows when it is
// deleted.
func (r *Reconciler) removeFinalizers(ctx context.Context, session *v1alpha1.ReactorSession, observed *observation) result {
	done := result{}
	for _, pod := range observed.ownPods() {
		if !attempts.HasFinalizer(pod, attempts.TrackingFinalizer) {
			continue
		}
		_, err := r.patchFinalizers(ctx, pod, without(pod.Finalizers, attempts.TrackingFinalizer))
		switch {
		case apierrors.IsNotFound(err): // it was released before, and the cache does not show that yet
			continue
		case isWriteRefused(err): // when the session is deleted, it is tried again: see releaseOrphansOf
			done.notices = append(done.notices, notice.Warning(v1alpha1.ReasonPodLeftBehind, "CleanUp",
				"Pod %q is left behind with the finalizer %s, which the operator keeps trying to remove: %s", pod.Name, attempts.TrackingFinalizer, reactor.Redact(err.Error())))
		case err != nil:
			done.err = err
			return done
		}
		done.requeue = after(retryBase, "finalizers were removed")
		if !outcome.HasEnded(pod) {
			done.abandoned++
			done.notices = append(done.notices, notice.Warning(v1alpha1.ReasonCleanupUnverified, "CleanUp",
				"Pod %q did not end within %s, and may still run. The operator does not know whether a Reactor session is open%s", pod.Name, attempts.DeletionBound, outerBound(session)))
		}
	}
	if !attempts.HasFinalizer(session, attempts.CleanupFinalizer) {
		done.done = true
		return done
	}
	done.requeue = after(retryBase, "finalizers were removed")
	patched, err := r.setFinalizers(ctx, session, without(session.Finalizers, attempts.CleanupFinalizer))
	done.done, done.err, done.patched = err == nil, client.IgnoreNotFound(err), patched
	return done
}

// releaseOrphansOf removes our finalizer from pods that ended after their session was deleted, because a user removed its finalizer by hand. Nothing
// else would do that, and their namespace could not be deleted. The garbage collector deletes those that still run.
func (r *Reconciler) releaseOrphansOf(ctx context.Context, session types.NamespacedName) error {
	kept, err := r.lister.KeptPods(ctx, session)
	if err != nil {
		return err
	}
	orphans := make([]*corev1.Pod, len(kept))
	for i := range kept {
		orphans[i] = &kept[i]
	}
	return r.releaseOrphans(ctx, session, orphans)
}

// releaseOrphans removes our finalizer from pods, unless a live read shows that they belong to a session that the cache does not show yet.
func (r *Reconciler) releaseOrphans(ctx context.Context, session types.NamespacedName, orphans []*corev1.Pod) error {
	if len(orphans) == 0 {
		return nil
	}
	live := &v1alpha1.ReactorSession{}
	if err := r.live.Get(ctx, session, live); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading ReactorSession %s: %w", session, err)
	}
	var failed error
	for _, pod := range orphans {
		if pod.Labels[attempts.SessionUIDLabel] == string(live.UID) {
			continue
		}
		_, err := r.patchFinalizers(ctx, pod, without(pod.Finalizers, attempts.TrackingFinalizer))
		if apierrors.IsNotFound(err) {
			continue
		}
		failed = errors.Join(failed, err)
		if err == nil {
			ctrl.LoggerFrom(ctx).Info("the operator removed its finalizer from a pod whose session was deleted, and does not know whether it left a Reactor session open", "pod", pod.Name)
		}
	}
	return failed
}
