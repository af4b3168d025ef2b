package reactorsession

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/capacity"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// These are the writes after which the program of an attempt can run: see start.go for their order.

// cacheRefusals is how often in a row the API server may have a ReactorToken that the watch does not show, before the session reports that.
const cacheRefusals = 4

// createToken creates the ReactorToken of the current attempt. A token of this name that the cache shows belongs to the attempt, or to another
// client, and nothing is created over it. When this process creates it for the second time, another client deleted it, and the session is read
// first:
//
//  1. A leader creates the token. Its cache of ReactorSessions lags.
//  2. The next leader, which has started already, ends the attempt, such as for spec.suspend, and deletes the token.
//  3. The first leader still observes the attempt, and no token. Without the read, it would create the token as fast as the other one deletes it.
func (r *Reconciler) createToken(ctx context.Context, session *v1alpha1.ReactorSession, observed *observation) result {
	if waiting := r.admit(ctx, session, observed); waiting != nil {
		return *waiting
	}
	attempt, state := observed.status.CurrentAttempt, observed.state
	if state.tokenCreated == attempt.Number {
		if live, err := r.isLiveAttempt(ctx, session, attempt); !live {
			r.capacity.Cancel(session.UID)
			return result{requeue: after(retryBase, "the attempt is not current anymore"), err: err}
		}
	}
	token := attempts.BuildToken(session, &observed.status, attempt, r.settings)
	err := r.client.Create(ctx, token, client.FieldOwner(attempts.FieldOwner))
	if err == nil {
		state.tokenRefusals, state.tokenCreated = 0, attempt.Number
		return result{done: true, state: &state} // when the token is ready, the watch triggers the next reconcile
	}
	state.tokenRefusals++
	refused := result{requeue: after(refusalBackoff(state.tokenRefusals), "the ReactorToken could not be created"), state: &state}
	mayRun := observed.pod != nil && !attempts.IsGated(observed.pod) // see neverHadToken
	if !mayRun && (!apierrors.IsAlreadyExists(err) || state.tokenRefusals > cacheRefusals) {
		r.capacity.Cancel(session.UID)
	}
	switch {
	case !apierrors.IsAlreadyExists(err):
		refused.failed = waitFor(v1alpha1.ReasonWaitingForToken, "the API server refuses the ReactorToken of the attempt: %v", err)
	case state.tokenRefusals > cacheRefusals:
		refused.failed = waitFor(v1alpha1.ReasonWaitingForToken,
			"ReactorToken %q already exists, but the operator's watch does not show it. The operator retries every minute. If this does not change, delete the ReactorToken", token.Name)
	}
	return refused
}

// createPod creates the pod of the current attempt: when there is capacity, or behind our own gate. Whatever the cache shows, the attempt must be
// recorded in status as observed, without a pod. This read, and the write of the attempt before it, prevent that a second pod is created.
func (r *Reconciler) createPod(ctx context.Context, session *v1alpha1.ReactorSession, observed *observation) result {
	attempt, behindGate := observed.status.CurrentAttempt, attempts.ExpectsGates(&session.Spec.Template)
	if !behindGate {
		if waiting := r.admit(ctx, session, observed); waiting != nil {
			return *waiting
		}
	}
	live := &v1alpha1.ReactorSession{}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(session), live); err != nil {
		r.capacity.Cancel(session.UID)
		return from(err)
	}
	if !isWanted(live, session.UID, attempt) || attempts.ExpectsGates(&live.Spec.Template) != behindGate {
		return result{requeue: after(retryBase, "the attempt is not current anymore")}
	}
	var patched *v1alpha1.ReactorSession
	if !attempts.HasFinalizer(session, attempts.CleanupFinalizer) { // the session must not be deleted while its pod runs
		var err error
		if patched, err = r.setFinalizers(ctx, session, append(slices.Clone(session.Finalizers), attempts.CleanupFinalizer)); err != nil {
			r.capacity.Cancel(session.UID)
			return from(err)
		}
		session = patched
	}
	pod, state := attempts.BuildPod(live, &live.Status, live.Status.CurrentAttempt, r.settings), observed.state
	err := r.client.Create(ctx, pod, client.FieldOwner(attempts.FieldOwner))
	switch {
	case apierrors.IsAlreadyExists(err): // a live read finds it
		return result{requeue: after(retryBase, "the pod already exists"), patched: patched}
	case err != nil:
		r.cancelAfter(session, observed, err)
		state.podRefusals++
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) { // the operator's Role, and its permissions, may be deleted before the session
			released, err := r.setFinalizers(ctx, session, without(session.Finalizers, attempts.CleanupFinalizer))
			if err == nil {
				patched = released
			}
			done := from(err)
			done.patched, done.state = patched, &state
			return done
		}
		return result{
			failed: podRefused(err), requeue: after(refusalBackoff(state.podRefusals), "the API server refused the pod"), state: &state, patched: patched,
		}
	}
	state.podRefusals = 0
	return result{done: true, pod: pod, state: &state, patched: patched}
}

// removeGate removes our own gate from the pod of the current attempt, when there is capacity. It is the last one, so the scheduler may bind
// the pod then. The patch applies to the observed version: another client may have changed the gates, or deleted the pod.
func (r *Reconciler) removeGate(ctx context.Context, session *v1alpha1.ReactorSession, observed *observation) result {
	if waiting := r.admit(ctx, session, observed); waiting != nil {
		return *waiting
	}
	gates := slices.DeleteFunc(slices.Clone(observed.pod.Spec.SchedulingGates), attempts.IsTokenGate)
	patched, err := r.patch(ctx, observed.pod, podPatch(
		map[string]any{"uid": observed.pod.UID, "resourceVersion": observed.pod.ResourceVersion},
		map[string]any{"schedulingGates": gates},
	))
	if err != nil {
		if !isConflict(err) {
			r.cancelAfter(session, observed, err)
		}
		return from(err)
	}
	state := observed.state
	state.gateRemoved = observed.pod.UID
	pod, _ := patched.(*corev1.Pod)
	return result{done: true, pod: pod, state: &state}
}

// cancelAfter gives the slot back after a failed write that would have let the program start. If nothing answered, the write may have succeeded, and
// the next reconcile observes that. Until then the session keeps the slot, for at most slotBound.
func (r *Reconciler) cancelAfter(session *v1alpha1.ReactorSession, observed *observation, failed error) {
	answer, answered := errors.AsType[*apierrors.StatusError](failed)
	mayBeDone := !answered || answer.ErrStatus.Code == http.StatusGatewayTimeout
	if !mayBeDone || !observed.now.Before(r.capacity.AdmittedAt(session.UID).Add(slotBound)) {
		r.capacity.Cancel(session.UID)
	}
}

// isLiveAttempt reads the session, and reports whether an attempt must continue.
func (r *Reconciler) isLiveAttempt(ctx context.Context, session *v1alpha1.ReactorSession, attempt *v1alpha1.SessionAttempt) (bool, error) {
	live := &v1alpha1.ReactorSession{}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(session), live); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return isCurrent(live, session.UID, attempt), nil
}

// isCurrent reports whether an attempt is still the current one, and nothing stops it.
func isCurrent(live *v1alpha1.ReactorSession, uid types.UID, attempt *v1alpha1.SessionAttempt) bool {
	current := live.Status.CurrentAttempt
	return live.UID == uid && live.DeletionTimestamp == nil && !live.Spec.Suspended() &&
		current != nil && current.Number == attempt.Number && current.StopReason == ""
}

// isWanted reports whether an attempt that has no pod yet must get one.
func isWanted(live *v1alpha1.ReactorSession, uid types.UID, attempt *v1alpha1.SessionAttempt) bool {
	return isCurrent(live, uid, attempt) && live.Status.CurrentAttempt.PodUID == ""
}

// podRefused is what a session shows without a pod that the API server refused. If the pod is invalid, a user must act.
func podRefused(err error) *readyCondition {
	return &readyCondition{reason: v1alpha1.ReasonPodRefused, stalled: apierrors.IsInvalid(err),
		message: notice.Bounded(fmt.Sprintf("the API server refuses the pod: %v", reactor.Redact(err.Error())), maxConditionMessage)}
}

// updateCapacity reports to the capacity limiter what was observed.
func (r *Reconciler) updateCapacity(session *v1alpha1.ReactorSession, observed *observation, planned plan) {
	switch {
	case observed.pod != nil && !outcome.HasEnded(observed.pod) && !attempts.IsGated(observed.pod):
		r.capacity.Acquire(capacityOf(session), capacityKey(session, observed))
	case planned.slot || planned.do == doEndAttempt || planned.do == doRelease:
	default:
		r.releaseSlot(session, observed)
	}
}

// releaseSlot gives the slot of a session back, or removes the session from the queue for one. A start that a pod has used stays used.
func (r *Reconciler) releaseSlot(session *v1alpha1.ReactorSession, observed *observation) {
	if observed.pod == nil || attempts.IsGated(observed.pod) {
		r.capacity.Cancel(session.UID)
		return
	}
	r.capacity.Release(session.UID)
}

// admit takes one of the slots of the API key. It returns nil if the session has one, and otherwise the result of the reconcile.
func (r *Reconciler) admit(ctx context.Context, session *v1alpha1.ReactorSession, observed *observation) *result {
	key := capacityKey(session, observed)
	var others []capacity.Holder
	if r.capacity.NeedsHolders() {
		var err error
		if others, err = r.holders(ctx, session, key); err != nil {
			return &result{err: err}
		}
	}
	waits := r.capacity.Admit(capacityOf(session), key, others, observed.now)
	if waits == nil {
		return nil
	}
	waiting := &result{waiting: waits}
	if waits.Until.After(observed.now) {
		waiting.requeue = at(observed.now, waits.Until, "the session may start")
	}
	return waiting
}

// holders are the sessions that have a pod with the key of a session, or with a key that was in its Secret before, as the cache shows them. A
// pod that our own gate holds back does not count: status does not list its UID.
func (r *Reconciler) holders(ctx context.Context, session *v1alpha1.ReactorSession, key capacity.KeyUse) ([]capacity.Holder, error) {
	var holders []capacity.Holder
	for _, from := range []struct {
		current string // the key that their Secret contains now; empty if that is not known
		options []client.ListOption
	}{
		{"", []client.ListOption{client.MatchingFields{indexRunningKey: key.Fingerprint}}},
		{key.Current, []client.ListOption{client.InNamespace(session.Namespace), client.MatchingFields{indexRunningSecret: keyLocation(session)}}},
	} {
		sessions := &v1alpha1.ReactorSessionList{}
		if err := r.cache.List(ctx, sessions, append(from.options, client.UnsafeDisableDeepCopy)...); err != nil {
			return nil, fmt.Errorf("listing the sessions that run with an API key: %w", err)
		}
		for i := range sessions.Items {
			other := &sessions.Items[i]
			holders = append(holders, capacity.Holder{Session: capacityOf(other), Key: useOf(other, other.Status.CurrentAttempt.KeyFingerprint, from.current)})
		}
	}
	return holders, nil
}

// capacityKey is the API key by which a session has its slot.
func capacityKey(session *v1alpha1.ReactorSession, observed *observation) capacity.KeyUse {
	return useOf(session, observed.keyOfAttempt(), observed.key.Fingerprint)
}

// capacityOf is what the limits of an API key depend on.
func capacityOf(session *v1alpha1.ReactorSession) capacity.Session {
	return capacity.Session{
		UID: session.UID, Name: client.ObjectKeyFromObject(session),
		Model: string(session.Spec.Model), Created: session.CreationTimestamp.Time,
	}
}

// useOf is the use of an API key. If its fingerprint is unknown, the location of the Secret identifies the key.
func useOf(session *v1alpha1.ReactorSession, fingerprint, current string) capacity.KeyUse {
	if fingerprint == "" {
		fingerprint = session.Namespace + "/" + keyLocation(session)
	}
	return capacity.KeyUse{Fingerprint: fingerprint, Current: current}
}
