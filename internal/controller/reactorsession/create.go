package reactorsession

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// These are the writes that bring an attempt to its program: see start.go for their order.

// createToken creates the ReactorToken of the current attempt. One of this name that the cache shows is the attempt's, or somebody else's,
// and nothing is created over it. When this process creates it for the second time, another client deleted it, and the session is read first:
//
//  1. A leader creates the token. Its cache of ReactorSessions lags.
//  2. The next leader, which has started already, ends the attempt, such as for spec.suspend, and deletes the token.
//  3. The first leader still sees the attempt, and no token. Without the read, it would create the token as fast as the other one deletes it.
func (r *Reconciler) createToken(ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, seen *observation) result {
	if waiting := r.admit(ctx, session, mem, seen); waiting != nil {
		return *waiting
	}
	attempt := seen.status.CurrentAttempt
	if mem.tokenOf == attempt.Number {
		if live, err := r.isLiveAttempt(ctx, session, attempt); !live {
			r.giveSlotBack(session, mem)
			return result{next: after(retryBase, "the attempt is not current anymore"), retry: err}
		}
	}
	token := attempts.BuildToken(session, &seen.status, attempt, r.settings)
	err := r.client.Create(ctx, token, client.FieldOwner(attempts.FieldOwner))
	if err == nil {
		mem.tokenRefusals, mem.tokenOf = 0, attempt.Number
		return result{done: true} // its becoming ready wakes the next pass
	}
	mem.tokenRefusals++
	refused := result{next: after(refusalBackoff(mem.tokenRefusals), "the ReactorToken could not be created")}
	mayRun := seen.pod != nil && !attempts.IsGated(seen.pod) // see neverHadToken
	if !mayRun && (!apierrors.IsAlreadyExists(err) || mem.tokenRefusals > cacheRefusals) {
		r.giveSlotBack(session, mem)
	}
	switch {
	case !apierrors.IsAlreadyExists(err):
		refused.failed = waitFor(v1alpha1.ReasonWaitingForToken, "the ReactorToken of the attempt is refused: %v", err)
	case mem.tokenRefusals > cacheRefusals:
		refused.failed = waitFor(v1alpha1.ReasonWaitingForToken,
			"ReactorToken %q already exists, but the operator's watch does not show it. The operator retries every minute. If this does not change, delete the ReactorToken", token.Name)
	}
	return refused
}

// cacheRefusals is how often in a row an object may already exist while the cache only lags.
const cacheRefusals = 4

// refusalBackoff is how long to wait after so many refusals of a write in a row (at least 1).
func refusalBackoff(refusals int) time.Duration {
	return min(retryBase<<min(refusals-1, 8), retryCap)
}

// createPod creates the pod of the current attempt: once there is capacity, or behind our own gate. Whatever the cache shows, the attempt must
// stand in status as it was seen, without a pod: this read, and the write of the attempt before it, are what keeps a second pod from being made.
func (r *Reconciler) createPod(ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, seen *observation) result {
	attempt, behindGate := seen.status.CurrentAttempt, attempts.ExpectsGates(&session.Spec.Template)
	if !behindGate {
		if waiting := r.admit(ctx, session, mem, seen); waiting != nil {
			return *waiting
		}
	}
	live := &v1alpha1.ReactorSession{}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(session), live); err != nil {
		r.giveSlotBack(session, mem)
		return from(err)
	}
	if !stillWanted(live, session.UID, attempt) || attempts.ExpectsGates(&live.Spec.Template) != behindGate {
		return result{next: after(retryBase, "the attempt is not current anymore")}
	}
	if !attempts.HasFinalizer(session, attempts.CleanupFinalizer) { // it must not go while a pod of it runs
		if err := r.setFinalizers(ctx, session, mem, append(slices.Clone(session.Finalizers), attempts.CleanupFinalizer)); err != nil {
			r.giveSlotBack(session, mem)
			return from(err)
		}
	}
	pod := attempts.BuildPod(live, &live.Status, live.Status.CurrentAttempt, r.settings)
	err := r.client.Create(ctx, pod, client.FieldOwner(attempts.FieldOwner))
	switch {
	case apierrors.IsAlreadyExists(err):
		return result{next: after(retryBase, "the pod already exists")} // a live read finds it
	case err != nil:
		r.giveSlotBackAfter(session, mem, seen, err)
		mem.refusals++
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) { // its Role, and with it our rights, may go before the session
			return from(r.setFinalizers(ctx, session, mem, without(session.Finalizers, attempts.CleanupFinalizer)))
		}
		return result{failed: podRefused(err), next: after(refusalBackoff(mem.refusals), "the API server refused the pod")}
	}
	mem.refusals = 0
	return result{done: true, pod: pod}
}

// liftGate removes our own gate from the pod of the current attempt, once there is capacity. It is the last one, so the scheduler may bind
// the pod then. The patch holds for the version that was seen: another client may have changed the gates, or deleted the pod.
func (r *Reconciler) liftGate(ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, seen *observation) result {
	if waiting := r.admit(ctx, session, mem, seen); waiting != nil {
		return *waiting
	}
	gates := slices.DeleteFunc(slices.Clone(seen.pod.Spec.SchedulingGates), attempts.IsTokenGate)
	patched, err := r.patch(ctx, seen.pod, podPatch(
		map[string]any{"uid": seen.pod.UID, "resourceVersion": seen.pod.ResourceVersion},
		map[string]any{"schedulingGates": gates},
	))
	if err != nil {
		if !conflicts(err) {
			r.giveSlotBackAfter(session, mem, seen, err)
		}
		return from(err)
	}
	mem.lifted = seen.pod.UID
	pod, _ := patched.(*corev1.Pod)
	return result{done: true, pod: pod}
}

// giveSlotBackAfter gives the slot back after a write failed that would have let the program start. If nothing answered, the write may have been
// done all the same, and the next reconcile finds out. Until then the slot is kept, for at most slotBound.
func (r *Reconciler) giveSlotBackAfter(session *v1alpha1.ReactorSession, mem *objectState, seen *observation, failed error) {
	answer, answered := errors.AsType[*apierrors.StatusError](failed)
	done := !answered || answer.ErrStatus.Code == http.StatusGatewayTimeout
	if !done || !seen.now.Before(mem.slotSince.Add(slotBound)) {
		r.giveSlotBack(session, mem)
	}
}

// isLiveAttempt reads the session, and reports whether an attempt is still to go on.
func (r *Reconciler) isLiveAttempt(ctx context.Context, session *v1alpha1.ReactorSession, attempt *v1alpha1.SessionAttempt) (bool, error) {
	live := &v1alpha1.ReactorSession{}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(session), live); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return goesOn(live, session.UID, attempt), nil
}

// goesOn reports whether an attempt is still the current one, and nothing stops it.
func goesOn(live *v1alpha1.ReactorSession, uid types.UID, attempt *v1alpha1.SessionAttempt) bool {
	current := live.Status.CurrentAttempt
	return live.UID == uid && live.DeletionTimestamp == nil && !live.Spec.Suspended() &&
		current != nil && current.Number == attempt.Number && current.StopReason == ""
}

// stillWanted reports whether an attempt that has no pod yet is to get one.
func stillWanted(live *v1alpha1.ReactorSession, uid types.UID, attempt *v1alpha1.SessionAttempt) bool {
	return goesOn(live, uid, attempt) && live.Status.CurrentAttempt.PodUID == ""
}

// podRefused says why there is no pod. What the API server calls invalid, a person must put right.
func podRefused(err error) *readyCondition {
	return &readyCondition{reason: v1alpha1.ReasonPodRefused, stalled: apierrors.IsInvalid(err),
		message: notice.Bounded(fmt.Sprintf("the API server refuses the pod: %v", reactor.Redact(err.Error())), maxConditionMessage)}
}

// specPatch changes the spec of an object.
func specPatch(spec map[string]any) map[string]any { return map[string]any{"spec": spec} }

// podPatch changes the spec of a pod, if its metadata is as it was seen.
func podPatch(metadata, spec map[string]any) map[string]any {
	change := specPatch(spec)
	change["metadata"] = metadata
	return change
}
