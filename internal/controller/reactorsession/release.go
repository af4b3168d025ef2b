package reactorsession

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

func endedPods(session *v1alpha1.ReactorSession, seen *observation) *plan {
	if len(seen.stale) == 0 && len(releasable(seen)) == 0 && len(outdated(seen)) == 0 && len(seen.orphans) == 0 {
		return nil
	}
	if isReleaseRefused(session, seen) {
		return &plan{do: doLetGo}
	}
	return &plan{do: doRelease}
}

// isReleaseRefused reports whether a session that is being deleted has waited long enough for its pods to be released. The API server has
// refused that before, as status shows: an operator that was away until the bound tries it first.
func isReleaseRefused(session *v1alpha1.ReactorSession, seen *observation) bool {
	if session.DeletionTimestamp == nil || !hasFinalizer(session, CleanupFinalizer) || !seen.isIdle() {
		return false
	}
	ready := meta.FindStatusCondition(seen.status.Conditions, v1alpha1.ConditionReady)
	bound := session.DeletionTimestamp.Add(deletionBound + graceOf(&session.Spec.Template))
	return ready != nil && ready.Reason == v1alpha1.ReasonWriteRefused && !seen.now.Before(bound)
}

// outdated are the pods of attempts that status does not list any more: a session that runs for ever must not leave pods for ever.
func outdated(seen *observation) []*corev1.Pod {
	recent := seen.status.RecentAttempts
	if len(recent) < mostRecent {
		return nil
	}
	var pods []*corev1.Pod
	for i := range seen.others {
		pod := &seen.others[i]
		if outcome.HasEnded(pod) && !hasFinalizer(pod, TrackingFinalizer) && pod.DeletionTimestamp == nil && attemptOf(pod) < recent[len(recent)-1].Number {
			pods = append(pods, pod)
		}
	}
	return pods
}

// isIdle reports whether the session has neither an attempt nor a pod that may run.
func (o *observation) isIdle() bool {
	return o.status.CurrentAttempt == nil && !slices.ContainsFunc(o.allPods(), func(pod *corev1.Pod) bool { return !outcome.HasEnded(pod) })
}

// releasable are the pods that have ended, are not of the current attempt, and are still kept by our finalizer.
func releasable(seen *observation) []*corev1.Pod {
	var pods []*corev1.Pod
	for i := range seen.others {
		if pod := &seen.others[i]; outcome.HasEnded(pod) && hasFinalizer(pod, TrackingFinalizer) && !slices.Contains(seen.released, pod.UID) {
			pods = append(pods, pod)
		}
	}
	return pods
}

// isStray reports whether a pod that has ended is of an attempt whose outcome was never written down, and that did not fall out of
// status because others followed.
func isStray(pod *corev1.Pod, status *v1alpha1.ReactorSessionStatus) bool {
	recent := status.RecentAttempts
	return !slices.ContainsFunc(recent, func(ended v1alpha1.EndedAttempt) bool { return ended.Number == attemptOf(pod) }) &&
		(len(recent) < mostRecent || attemptOf(pod) > recent[len(recent)-1].Number)
}

// isOrphan reports whether a pod that belongs to none of the sessions there are has ended, and is still kept by our finalizer. name is
// that of its session.
func isOrphan(pod *corev1.Pod, name string) bool {
	return pod.Annotations[SessionAnnotation] == name && outcome.HasEnded(pod) && hasFinalizer(pod, TrackingFinalizer)
}

// releaseOrphansOf lets the pods go that have ended after their session: somebody took its finalizer off by hand. Nobody else would ever
// do it, and their namespace could not be deleted. Those that live yet are ended by the garbage collector.
func (r *Reconciler) releaseOrphansOf(ctx context.Context, session types.NamespacedName) error {
	orphans, err := r.orphansOf(ctx, session)
	if err != nil {
		return err
	}
	return r.releaseOrphans(ctx, session, orphans)
}

// orphansOf lists the pods of a session of this name that have ended and are kept by our finalizer, whether it is there yet or not.
func (r *Reconciler) orphansOf(ctx context.Context, session types.NamespacedName) ([]corev1.Pod, error) {
	kept := client.ListOption(client.HasLabels{SessionUIDLabel})
	if r.indexed {
		kept = client.MatchingFields{indexKept: session.Name}
	}
	pods := &corev1.PodList{}
	if err := r.cache.List(ctx, pods, client.InNamespace(session.Namespace), kept); err != nil {
		return nil, fmt.Errorf("listing the pods that ReactorSession %s has left: %w", session, err)
	}
	return slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return !isOrphan(&pod, session.Name) }), nil
}

// releaseOrphans takes our finalizer off pods, unless a live read shows that they belong to a session that the cache does not show yet.
func (r *Reconciler) releaseOrphans(ctx context.Context, session types.NamespacedName, orphans []corev1.Pod) error {
	if len(orphans) == 0 {
		return nil
	}
	live := &v1alpha1.ReactorSession{}
	if err := r.live.Get(ctx, session, live); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading ReactorSession %s: %w", session, err)
	}
	var failed error
	for i := range orphans {
		pod := &orphans[i]
		if pod.Labels[SessionUIDLabel] == string(live.UID) {
			continue
		}
		_, err := r.patchFinalizers(ctx, pod, without(pod.Finalizers, TrackingFinalizer))
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
