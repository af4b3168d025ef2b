package reactorsession

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/capacity"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
)

// result describes what happened when a plan was executed.
type result struct {
	done       bool // what was planned has been done
	pod        *corev1.Pod
	ended      *v1alpha1.EndedAttempt
	retryAfter time.Duration   // when Reactor allows another attempt after this one; 0 if it did not say
	failed     *readyCondition // it could not be done, and is tried again
	waiting    *capacity.Wait  // for capacity; nil: it does not wait
	next       []requeue.Entry // why the session is reconciled again; empty: a watch triggers the next reconcile
	retry      error           // for the queue's backoff
	notices    []notice.Notice

	abandoned int // pods that were let go of before they ended

	// closing says that the Reactor session was found open, or could not be looked up, for the first time after the program ended. Most
	// programs end their session just before they exit, and Reactor shows it as closed a second later. So nothing of this is reported,
	// which saves a write for each session.
	closing bool
}

// act does what was planned. These are the only writes, the status apart.
func (r *Reconciler) act(ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, seen *observation, planned plan) result {
	r.keepCapacity(session, mem, seen, planned)
	markAgain, marked := r.patchPodMetadata(ctx, session, mem, seen, planned)
	if marked != nil && planned.do == doEnd && !isWriteRefused(marked) { // a pod with its labels is found more easily afterwards: see observeUnreleased
		return result{retry: marked}
	}
	done := r.do(ctx, session, mem, seen, planned)
	if done.failed == nil && planned.do != doHoldToken { // without that the attempt goes on
		done.failed = writeRefused(done.retry)
	}
	if marked != nil && len(done.next) == 0 { // nothing else must wait for this, and no watch shows a pod without its labels
		ctrl.LoggerFrom(ctx).Info("the pod cannot be given its labels and annotations back", "pod", seen.pod.Name, "error", marked.Error())
		done.next = after(retryCap, "the pod could not be given its labels and annotations back")
	}
	if len(done.next) == 0 {
		done.next = markAgain
	}
	if conflicts(done.retry) {
		done.retry, done.next = nil, after(retryBase, "a write met a newer version of an object")
	}
	return done
}

func (r *Reconciler) do(ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, seen *observation, planned plan) (done result) {
	switch planned.do {
	case doBegin, doStop, doFinish:
		done = result{done: true, next: after(atOnce, "the next step is recorded in status")} // nothing else is written
	case doRelease:
		done = r.release(ctx, session, mem, seen)
	case doCreateToken:
		done = r.createToken(ctx, session, mem, seen)
	case doDeleteToken:
		done = from(r.delete(ctx, seen.token.DeepCopy(), client.Preconditions{UID: &seen.token.UID}))
	case doHoldToken:
		done = from(r.setSuspend(ctx, seen.token))
	case doCreatePod:
		done = r.createPod(ctx, session, mem, seen)
	case doLiftGate:
		done = r.liftGate(ctx, session, mem, seen)
	case doLowerDeadline:
		done = r.lowerDeadline(ctx, seen.pod)
	case doDeletePod:
		done = from(r.delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: session.Namespace, Name: planned.delete}}))
	case doEnd:
		done = r.end(ctx, session, mem, seen, planned.end)
	case doDeleteObject:
		done = from(r.delete(ctx, session.DeepCopy(), client.Preconditions{UID: &session.UID, ResourceVersion: &session.ResourceVersion}))
	case doRemoveFinalizer:
		done = r.removeFinalizers(ctx, session, mem, seen)
	case doNothing:
	}
	return done
}

// patchPodMetadata gives the pod of the current attempt what it should carry, where that was planned. The watch shows it then, and wakes the next
// pass. Where another client removes it each time, that would be a hot loop: so patchPodMetadata waits longer each time, and returns how long.
func (r *Reconciler) patchPodMetadata(
	ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, seen *observation, planned plan,
) (again []requeue.Entry, refused error) {
	marks := &mem.marks
	switch {
	case !planned.patchMetadata:
		return nil, nil
	case marks.times > 0 && seen.now.Before(marks.next) && marks.next.Sub(seen.now) <= retryCap:
		return after(marks.next.Sub(seen.now), "the pod may be given its labels and annotations back again"), nil
	case seen.now.After(marks.next.Add(retryCap)):
		marks.times = 0
	}
	marks.times++
	marks.next = seen.now.Add(refusalBackoff(marks.times))
	_, err := r.patch(ctx, seen.pod, map[string]any{"metadata": attempts.MissingMetadata(session, seen.status.CurrentAttempt, seen.pod)})
	return nil, client.IgnoreNotFound(err)
}

// isWriteRefused reports whether the API server, an admission policy or a webhook refused a write (or the webhook could not be called, which
// is an internal error), so that a person may have to act. A conflict, and a server that is busy or away, pass.
func isWriteRefused(err error) bool {
	answer, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && (notice.IsRefused(err) || answer.ErrStatus.Code == http.StatusInternalServerError) && !conflicts(err) && !apierrors.IsNotFound(err)
}

// writeRefused is what a session shows while a write for it is refused; nil if none is.
func writeRefused(err error) *readyCondition {
	if !isWriteRefused(err) {
		return nil
	}
	return &readyCondition{reason: v1alpha1.ReasonWriteRefused, stalled: true,
		message: fmt.Sprintf("the API server refuses a write that the session needs: %s. Allow it; the operator retries every minute", reactor.Redact(err.Error()))}
}

// after is the entry of a stage that requests the next reconcile after a wait.
func after(wait time.Duration, reason string) []requeue.Entry {
	return []requeue.Entry{{After: wait, Reason: reason}}
}

// from is the result of a write that either worked or did not.
func from(err error) result { return result{done: err == nil, retry: client.IgnoreNotFound(err)} }

func conflicts(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }

// release deletes the tokens of attempts that have ended, and lets their pods go: what they came to stands in status. When nothing of the
// session is left then, it is let go of too, until the next attempt: its namespace may be going, and with it a Role that the operator has its
// rights from. A namespace deletes its pods before all else.
func (r *Reconciler) release(ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, seen *observation) result {
	var failed error
	for _, name := range seen.stale {
		token := &v1alpha1.ReactorToken{ObjectMeta: metav1.ObjectMeta{Namespace: session.Namespace, Name: name}}
		failed = errors.Join(failed, r.delete(ctx, token))
	}
	var notices []notice.Notice
	var released []types.UID
	for _, pod := range seen.pods {
		if pod.Class != attempts.Recorded && pod.Class != attempts.Unrecorded {
			continue
		}
		_, err := r.patchFinalizers(ctx, pod.Pod, without(pod.Finalizers, attempts.TrackingFinalizer))
		failed = errors.Join(failed, client.IgnoreNotFound(err))
		if client.IgnoreNotFound(err) == nil {
			released = append(released, pod.UID)
		}
		if err == nil && pod.Class == attempts.Unrecorded {
			notices = append(notices, notice.Warning(v1alpha1.ReasonCleanupUnverified, "CleanUp",
				"pod %q was of no attempt that status knows: whether it left a Reactor session open is not known%s", pod.Name, outerBound(session)))
		}
	}
	if len(released) > 0 {
		mem.released = released
	}
	for _, pod := range seen.podsOf(attempts.Outdated) {
		failed = errors.Join(failed, r.delete(ctx, pod.DeepCopy(), client.Preconditions{UID: &pod.UID}))
	}
	failed = errors.Join(failed, r.releaseOrphans(ctx, client.ObjectKeyFromObject(session), seen.podsOf(attempts.Orphan)))
	if failed == nil && attempts.HasFinalizer(session, attempts.CleanupFinalizer) && seen.isIdle() {
		failed = r.setFinalizers(ctx, session, mem, without(session.Finalizers, attempts.CleanupFinalizer))
	}
	return result{done: failed == nil, retry: failed, next: after(retryBase, "pods or tokens of ended attempts were released"), notices: notices}
}

func without(finalizers []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(finalizers), func(finalizer string) bool { return finalizer == name })
}

// patchFinalizers replaces an object's finalizers, if it is still at the version that was seen.
func (r *Reconciler) patchFinalizers(ctx context.Context, object client.Object, finalizers []string) (client.Object, error) {
	if finalizers == nil {
		finalizers = []string{}
	}
	return r.patch(ctx, object, map[string]any{"metadata": map[string]any{
		"finalizers": finalizers, "uid": object.GetUID(), "resourceVersion": object.GetResourceVersion(),
	}})
}

func (r *Reconciler) patch(ctx context.Context, object client.Object, change map[string]any) (client.Object, error) {
	text, err := json.Marshal(change)
	if err != nil {
		return nil, fmt.Errorf("encoding a patch: %w", err)
	}
	patched, _ := object.DeepCopyObject().(client.Object)
	if err := r.client.Patch(ctx, patched, client.RawPatch(types.MergePatchType, text), client.FieldOwner(attempts.FieldOwner)); err != nil {
		return nil, fmt.Errorf("patching %T %s/%s: %w", object, object.GetNamespace(), object.GetName(), err)
	}
	return patched, nil
}

// setSuspend sets spec.suspend of a ReactorSession or a ReactorToken.
func (r *Reconciler) setSuspend(ctx context.Context, object client.Object) error {
	_, err := r.patch(ctx, object, specPatch(map[string]any{"suspend": true}))
	return err
}

func (r *Reconciler) delete(ctx context.Context, object client.Object, options ...client.DeleteOption) error {
	if err := r.client.Delete(ctx, object, options...); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting %T %s/%s: %w", object, object.GetNamespace(), object.GetName(), err)
	}
	return nil
}

// end sees to the Reactor session of an attempt that has ended. Only then is its outcome written down, and only after that its pod let
// go: until both are done, this is done again.
func (r *Reconciler) end(ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, seen *observation, how *outcome.Outcome) result {
	cleanup, again, unverified := r.cleanUp(ctx, session, mem, seen, how)
	if again > 0 {
		return result{next: after(again, "the cleanup is tried again"), closing: mem.cleanup.times == 1}
	}
	r.leaveCapacity(session, mem, seen)
	if how.Reason == outcome.ReasonQuotaExceeded || how.Reason == outcome.ReasonModelQuotaExceeded {
		r.capacity.Lower(capacityOf(session), capacityKey(session, seen), how.Reason == outcome.ReasonModelQuotaExceeded, seen.now)
	}
	attempt := seen.status.CurrentAttempt
	done := result{done: true, next: after(atOnce, "the attempt ended"), retryAfter: how.RetryAfter, ended: &v1alpha1.EndedAttempt{
		Number: attempt.Number, Class: how.Class, Reason: how.Reason, ExitCode: how.ExitCode, Message: how.Message,
		RunningSeconds: int64(how.Running / time.Second), Cleanup: cleanup, KeyFingerprint: attempt.KeyFingerprint,
	}}
	if unverified != nil {
		done.notices = append(done.notices, notice.Warning(v1alpha1.ReasonCleanupUnverified, "CleanUp", "whether attempt %d left a Reactor session open is not known (%s)%s",
			attempt.Number, reactor.Redact(unverified.Error()), outerBound(session)))
	}
	return done
}

// outerBound says what ends a session that nobody could see to.
func outerBound(session *v1alpha1.ReactorSession) string {
	if !session.Spec.UsesTokenFile() {
		return ": under APIKeyEnv nothing but the program ends it"
	}
	return "; Reactor ends it when the time of the attempt's token is over"
}

// removeFinalizers takes our finalizers off, the session's last. When there is none, others keep what is left, and a watch tells when it goes.
func (r *Reconciler) removeFinalizers(ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, seen *observation) result {
	left := result{}
	for _, pod := range seen.ownPods() {
		if !attempts.HasFinalizer(pod, attempts.TrackingFinalizer) {
			continue
		}
		_, err := r.patchFinalizers(ctx, pod, without(pod.Finalizers, attempts.TrackingFinalizer))
		switch {
		case apierrors.IsNotFound(err): // it was released before, and the cache does not show that yet
			continue
		case isWriteRefused(err): // when the session is gone, it is tried again: see releaseOrphansOf
			left.notices = append(left.notices, notice.Warning(v1alpha1.ReasonPodLeftBehind, "CleanUp",
				"pod %q is left behind with the finalizer %s, which the operator keeps trying to remove: %s", pod.Name, attempts.TrackingFinalizer, reactor.Redact(err.Error())))
		case err != nil:
			left.retry = err
			return left
		}
		left.next = after(retryBase, "finalizers were removed")
		if !outcome.HasEnded(pod) {
			left.abandoned++
			left.notices = append(left.notices, notice.Warning(v1alpha1.ReasonCleanupUnverified, "CleanUp",
				"pod %q did not end in %s, and may still run: whether a Reactor session is open is not known%s", pod.Name, attempts.DeletionBound, outerBound(session)))
		}
	}
	left.done = true
	if attempts.HasFinalizer(session, attempts.CleanupFinalizer) {
		left.next = after(retryBase, "finalizers were removed")
		freed := from(r.setFinalizers(ctx, session, mem, without(session.Finalizers, attempts.CleanupFinalizer)))
		left.done, left.retry = freed.done, freed.retry
	}
	return left
}

// setFinalizers replaces those of the session, and remembers them until the cache shows them.
func (r *Reconciler) setFinalizers(ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, finalizers []string) error {
	patched, err := r.patchFinalizers(ctx, session, finalizers)
	if err != nil {
		return err
	}
	session.ResourceVersion, session.Finalizers = patched.GetResourceVersion(), patched.GetFinalizers()
	mem.wrote(session)
	return nil
}
