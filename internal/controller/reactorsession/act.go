package reactorsession

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/capacity"
	"github.com/reactor-operator/reactor-operator/internal/cleanup"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
)

// result describes what happened when a plan was executed.
type result struct {
	done    bool                     // the plan was executed
	failed  *readyCondition          // it was not, and is tried again
	waiting *capacity.Wait           // for capacity; nil: it does not wait
	err     error                    // for the backoff of the queue
	requeue []requeue.Entry          // why the session is reconciled again; empty: a watch triggers the next reconcile
	notices []notice.Notice          // the events to emit
	state   *objectState             // what the next reconcile starts with
	patched *v1alpha1.ReactorSession // the session after its finalizers were changed; nil: they were not

	pod        *corev1.Pod            // the pod of the attempt after it was created, or its gate was removed
	ended      *v1alpha1.EndedAttempt // the attempt, after its cleanup
	retryAfter time.Duration          // when Reactor allows another attempt after this one; 0 if it did not say
	abandoned  int                    // pods whose finalizer was removed before they ended

	// closing says that the Reactor session was found open, or could not be looked up, for the first time after the program ended. Most
	// programs end their session just before they exit, and Reactor shows it as closed a second later. So nothing of this is reported,
	// which saves a write for each session.
	closing bool
}

// act executes a plan. These are the only writes, except for the status.
func (r *Reconciler) act(ctx context.Context, session *v1alpha1.ReactorSession, observed *observation, planned plan) result {
	r.updateCapacity(session, observed, planned)
	metadata, restore, refused := r.patchPodMetadata(ctx, session, observed, planned)
	result := result{err: refused}
	// Before the end of an attempt is recorded, its pod must have its labels: afterwards, the operator finds it only by them.
	if refused == nil || planned.do != doEndAttempt || isWriteRefused(refused) {
		result = r.execute(ctx, session, observed, planned)
		if result.failed == nil && planned.do != doSuspendToken { // without that the attempt continues
			result.failed = writeRefused(result.err)
		}
		if refused != nil && len(result.requeue) == 0 { // nothing else must wait for this, and no watch shows a pod without its labels
			ctrl.LoggerFrom(ctx).Info("the labels and annotations of the pod cannot be restored", "pod", observed.pod.Name, "error", refused.Error())
			restore = after(retryCap, "the labels and annotations of the pod could not be restored")
		}
		if len(result.requeue) == 0 {
			result.requeue = restore
		}
		if isConflict(result.err) {
			result.err, result.requeue = nil, after(retryBase, "a write met a newer version of an object")
		}
	}
	if result.state == nil {
		unchanged := observed.state
		result.state = &unchanged
	}
	result.state.metadata = metadata
	if result.patched != nil {
		result.state.written = result.state.written.with(result.patched)
	}
	return result
}

func (r *Reconciler) execute(ctx context.Context, session *v1alpha1.ReactorSession, observed *observation, planned plan) result {
	switch planned.do {
	case doStartAttempt, doStop, doFinish:
		return result{done: true, requeue: after(minWait, "the next step is recorded in status")} // nothing else is written
	case doRelease:
		return r.release(ctx, session, observed)
	case doCreateToken:
		return r.createToken(ctx, session, observed)
	case doDeleteToken:
		return from(r.delete(ctx, observed.token.DeepCopy(), client.Preconditions{UID: &observed.token.UID}))
	case doSuspendToken:
		return from(r.setSuspend(ctx, observed.token))
	case doCreatePod:
		return r.createPod(ctx, session, observed)
	case doRemoveGate:
		return r.removeGate(ctx, session, observed)
	case doLowerDeadline:
		return r.lowerDeadline(ctx, observed.pod)
	case doDeletePod:
		return from(r.delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: session.Namespace, Name: planned.delete}}))
	case doEndAttempt:
		return r.endAttempt(ctx, session, observed, planned.end)
	case doDeleteObject:
		return from(r.delete(ctx, session.DeepCopy(), client.Preconditions{UID: &session.UID, ResourceVersion: &session.ResourceVersion}))
	case doRemoveFinalizer:
		return r.removeFinalizers(ctx, session, observed)
	default: // doNothing
		return result{}
	}
}

// patchPodMetadata restores the labels and annotations of the current attempt's pod, if the plan says so. The watch shows the pod then, and triggers
// the next reconcile. If another client removes them each time, that would be a hot loop. So patchPodMetadata waits longer each time, and returns
// how long.
func (r *Reconciler) patchPodMetadata(
	ctx context.Context, session *v1alpha1.ReactorSession, observed *observation, planned plan,
) (patches metadataPatches, next []requeue.Entry, refused error) {
	patches, now := observed.state.metadata, observed.now
	switch {
	case !planned.patchMetadata:
		return patches, nil, nil
	case patches.times > 0 && now.Before(patches.next) && patches.next.Sub(now) <= retryCap:
		return patches, after(patches.next.Sub(now), "the labels and annotations of the pod may be restored again"), nil
	case now.After(patches.next.Add(retryCap)):
		patches.times = 0
	}
	patches.times++
	patches.next = now.Add(refusalBackoff(patches.times))
	_, err := r.patch(ctx, observed.pod, map[string]any{"metadata": attempts.MissingMetadata(session, observed.status.CurrentAttempt, observed.pod)})
	return patches, nil, client.IgnoreNotFound(err)
}

// endAttempt cleans up the Reactor session of an attempt that has ended. The outcome is recorded after that, and the finalizer of its pod is removed
// after the outcome is recorded. Until both are done, endAttempt runs again.
func (r *Reconciler) endAttempt(ctx context.Context, session *v1alpha1.ReactorSession, observed *observation, how *outcome.Outcome) result {
	attempt, state := observed.status.CurrentAttempt, observed.state
	ended := cleanup.Attempt{Session: session, Current: attempt, TokenSecret: attempt.TokenName, Outcome: how}
	if observed.token != nil {
		ended.TokenSecret = observed.token.TargetSecretName()
	}
	cleaned, progress := r.cleaner.Try(ctx, ended, state.cleanup, observed.now)
	state.cleanup = progress
	if cleaned.Retry > 0 {
		return result{requeue: after(cleaned.Retry, "the cleanup is tried again"), closing: progress.Tries == 1, state: &state}
	}
	r.releaseSlot(session, observed)
	if how.Reason == outcome.ReasonQuotaExceeded || how.Reason == outcome.ReasonModelQuotaExceeded {
		r.capacity.Lower(capacityOf(session), capacityKey(session, observed), how.Reason == outcome.ReasonModelQuotaExceeded, observed.now)
	}
	done := result{
		done: true, requeue: after(minWait, "the attempt ended"), retryAfter: how.RetryAfter, state: &state,
		ended: &v1alpha1.EndedAttempt{
			Number: attempt.Number, Class: how.Class, Reason: how.Reason, ExitCode: how.ExitCode, Message: how.Message,
			RunningSeconds: int64(how.Running / time.Second), Cleanup: cleaned.Cleanup, KeyFingerprint: attempt.KeyFingerprint,
		},
	}
	if cleaned.Unverified != nil {
		done.notices = append(done.notices, notice.Warning(v1alpha1.ReasonCleanupUnverified, "CleanUp",
			"The operator does not know whether attempt %d left a Reactor session open (%s)%s",
			attempt.Number, reactor.Redact(cleaned.Unverified.Error()), outerBound(session)))
	}
	return done
}

// outerBound says what ends a session that the operator could not clean up.
func outerBound(session *v1alpha1.ReactorSession) string {
	if !session.Spec.UsesTokenFile() {
		return ". With APIKeyEnv, only the program ends it"
	}
	return ". Reactor ends it when the time of the attempt's token is over"
}

// lowerDeadline makes the kubelet end the pod. If the patch fails, such as by a policy, the pod is deleted: to end the billing is more important than
// the logs.
func (r *Reconciler) lowerDeadline(ctx context.Context, pod *corev1.Pod) result {
	_, err := r.patch(ctx, pod, podPatch(map[string]any{"uid": pod.UID}, map[string]any{"activeDeadlineSeconds": attempts.StopDeadline}))
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return from(err)
	}
	ctrl.LoggerFrom(ctx).Info("the deadline of the pod cannot be lowered: the pod is deleted, and its logs with it", "pod", pod.Name, "error", err.Error())
	return from(r.delete(ctx, pod.DeepCopy(), client.Preconditions{UID: &pod.UID}))
}

// isWriteRefused reports whether the API server, an admission policy or a webhook refused a write (or the webhook could not be called, which
// is an internal error), so that a user may have to act. A conflict, and a server that is busy or away, pass.
func isWriteRefused(err error) bool {
	answer, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && (notice.IsRefused(err) || answer.ErrStatus.Code == http.StatusInternalServerError) && !isConflict(err) && !apierrors.IsNotFound(err)
}

// writeRefused is what a session shows while a write for it is refused; nil if none is.
func writeRefused(err error) *readyCondition {
	if !isWriteRefused(err) {
		return nil
	}
	return &readyCondition{reason: v1alpha1.ReasonWriteRefused, stalled: true,
		message: fmt.Sprintf("the API server refuses a write that the session needs: %s. Allow it; the operator retries every minute", reactor.Redact(err.Error()))}
}

// from is the result of a write that either worked or did not.
func from(err error) result { return result{done: err == nil, err: client.IgnoreNotFound(err)} }

func isConflict(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }

// refusalBackoff is how long to wait after a number of refusals in a row.
func refusalBackoff(refusals int) time.Duration {
	return min(retryBase<<min(refusals-1, 8), retryCap)
}

func without(finalizers []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(finalizers), func(finalizer string) bool { return finalizer == name })
}

// setFinalizers replaces the finalizers of the session, and returns its new version.
func (r *Reconciler) setFinalizers(ctx context.Context, session *v1alpha1.ReactorSession, finalizers []string) (*v1alpha1.ReactorSession, error) {
	object, err := r.patchFinalizers(ctx, session, finalizers)
	if err != nil {
		return nil, err
	}
	patched := session.DeepCopy()
	patched.ResourceVersion, patched.Finalizers = object.GetResourceVersion(), object.GetFinalizers()
	return patched, nil
}

// patchFinalizers replaces an object's finalizers, if it still has the observed resourceVersion.
func (r *Reconciler) patchFinalizers(ctx context.Context, object client.Object, finalizers []string) (client.Object, error) {
	if finalizers == nil {
		finalizers = []string{}
	}
	return r.patch(ctx, object, map[string]any{"metadata": map[string]any{
		"finalizers": finalizers, "uid": object.GetUID(), "resourceVersion": object.GetResourceVersion(),
	}})
}

// podPatch changes the spec of a pod, if its metadata is the observed one.
func podPatch(metadata, spec map[string]any) map[string]any {
	return map[string]any{"metadata": metadata, "spec": spec}
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
	_, err := r.patch(ctx, object, map[string]any{"spec": map[string]any{"suspend": true}})
	return err
}

func (r *Reconciler) delete(ctx context.Context, object client.Object, options ...client.DeleteOption) error {
	if err := r.client.Delete(ctx, object, options...); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting %T %s/%s: %w", object, object.GetNamespace(), object.GetName(), err)
	}
	return nil
}
