package reactorsession

import (
	"context"
	"errors"
	"fmt"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

func endedPods(session *v1alpha1.ReactorSession, seen *observation) *plan {
	if len(seen.stale) == 0 && len(seen.podsOf(attempts.Recorded, attempts.Unrecorded, attempts.Outdated, attempts.Orphan)) == 0 {
		return nil
	}
	if isReleaseRefused(session, seen) {
		return &plan{do: doRemoveFinalizer}
	}
	return &plan{do: doRelease}
}

// isReleaseRefused reports whether a session that is being deleted has waited long enough for its pods to be released. The API server has
// refused that before, as status shows: an operator that was away until the bound tries it first.
func isReleaseRefused(session *v1alpha1.ReactorSession, seen *observation) bool {
	if session.DeletionTimestamp == nil || !attempts.HasFinalizer(session, attempts.CleanupFinalizer) || !seen.isIdle() {
		return false
	}
	ready := meta.FindStatusCondition(seen.status.Conditions, v1alpha1.ConditionReady)
	bound := session.DeletionTimestamp.Add(attempts.DeletionBound + attempts.GracePeriod(&session.Spec.Template))
	return ready != nil && ready.Reason == v1alpha1.ReasonWriteRefused && !seen.now.Before(bound)
}

// releaseOrphansOf lets the pods go that have ended after their session: somebody took its finalizer off by hand. Nobody else would ever
// do it, and their namespace could not be deleted. Those that live yet are ended by the garbage collector.
func (r *Reconciler) releaseOrphansOf(ctx context.Context, session types.NamespacedName) error {
	left, err := r.lister.KeptPods(ctx, session)
	if err != nil {
		return err
	}
	orphans := make([]*corev1.Pod, len(left))
	for i := range left {
		orphans[i] = &left[i]
	}
	return r.releaseOrphans(ctx, session, orphans)
}

// releaseOrphans takes our finalizer off pods, unless a live read shows that they belong to a session that the cache does not show yet.
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
			ctrl.LoggerFrom(ctx).Info("a pod is let go whose session is gone: whether it left a Reactor session open is not known", "pod", pod.Name)
		}
	}
	return failed
}
