package reactortoken

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// latest is the status from which a reconcile continues, with the resourceVersion of the object that it belongs to: the one that was reported last,
// while it is not written yet or the cache does not show it yet (isAhead); otherwise the one that the API server has, whichever client wrote it.
func (l lastStatus) latest(token *v1alpha1.ReactorToken) (status *v1alpha1.ReactorTokenStatus, version string, isAhead bool) {
	switch {
	case l.status == nil:
		return &token.Status, token.ResourceVersion, false
	case l.version == "":
		unwritten := l.status.DeepCopy()
		unwritten.Conditions = withConditionsOfOthers(unwritten.Conditions, token.Status.Conditions)
		return unwritten, token.ResourceVersion, true
	case olderThan(token.ResourceVersion, l.version):
		return l.status, l.version, true
	default:
		return &token.Status, token.ResourceVersion, false
	}
}

// withConditionsOfOthers returns our conditions of a status that is not written yet, and those of other clients as the object has them:
//
//  1. Another client adds a condition. The cache does not show that yet.
//  2. The operator writes a status, and that is a conflict.
//  3. The cache shows the object with the condition. The operator writes what it remembers, and that must contain the condition.
func withConditionsOfOthers(ours, current []metav1.Condition) []metav1.Condition {
	isOurs := func(c metav1.Condition) bool { return slices.Contains(conditionTypes, c.Type) }
	isOfOthers := func(c metav1.Condition) bool { return !isOurs(c) }
	return append(slices.DeleteFunc(slices.Clone(ours), isOfOthers), slices.DeleteFunc(slices.Clone(current), isOurs)...)
}

// conditionTypes are the conditions that the operator writes.
var conditionTypes = []string{v1alpha1.ConditionReady, v1alpha1.ConditionRenewed, v1alpha1.ConditionLifetimeClamped, v1alpha1.ConditionStalled}

// olderThan compares two resourceVersions of one object, which Kubernetes orders as integers (KEP-5504). What cannot be
// compared is not older.
func olderThan(version, other string) bool {
	order, err := resourceversion.CompareResourceVersion(version, other)
	return err == nil && order < 0
}

// maxPendingNotices is how many events are kept for a status that cannot be written.
const maxPendingNotices = 16

// writeStatus writes the status, once, if it changed, and then emits the events. It is written as a whole: a patch that is computed from a cache
// that lags would lack what has to be restored, and an apply would lack what another client has set. The version is a precondition, so
// that of two leaders the former one does not overwrite what it has not observed.
//
// What could not be written is remembered, and written in a later reconcile: a backoff is kept even while the API server refuses the status.
func (r *Reconciler) writeStatus(
	ctx context.Context, token *v1alpha1.ReactorToken, last lastStatus, report statusReport,
) (lastStatus, []requeue.Entry, error) {
	before, version, isAhead := last.latest(token)
	isWritten := last.status == nil || last.version != ""
	if !isAhead {
		last.status, last.version = nil, "" // a copy next to the cache would be kept for nothing
	}
	last.notices = slices.Concat(last.notices, report.events)
	last.notices = last.notices[max(0, len(last.notices)-maxPendingNotices):]
	if isWritten && !statusChanged(before, &report.status, report.now) {
		return r.emit(ctx, token, last), nil, nil
	}
	last.status, last.version = report.status.DeepCopy(), ""
	updated := token.DeepCopy()
	updated.ResourceVersion, updated.Status = version, report.status
	err := r.client.Status().Update(ctx, updated, client.FieldOwner(targetsecret.FieldOwner))
	switch {
	case apierrors.IsNotFound(err):
		return last, nil, nil // the object was deleted meanwhile, and perhaps created again: its own events trigger a reconcile
	case apierrors.IsConflict(err):
		last.conflicts++ // it changed meanwhile, and the cache will show how
		wait := min(retryBase<<min(last.conflicts-1, 8), retryCap)
		return last, []requeue.Entry{{After: wait, Reason: "the status met a conflict"}}, nil
	case err != nil:
		return last, nil, fmt.Errorf("writing the status of ReactorToken %s/%s: %w", token.Namespace, token.Name, err)
	}
	last.version, last.conflicts = updated.ResourceVersion, 0
	return r.emit(ctx, token, last), nil, nil
}

// emit emits the events that wait, after the status that they describe was written.
func (r *Reconciler) emit(ctx context.Context, token *v1alpha1.ReactorToken, last lastStatus) lastStatus {
	notice.Emit(ctx, r.recorder, token, last.notices)
	last.notices = nil
	return last
}

// readFailed ends a reconcile that could not read what it needs. If the API server refuses the read, such as that of the target Secret without the
// Role for it, status reports that. It reports nothing else: an API server that does not respond does not accept a status either, and conditions
// must not flap with each short outage. The error is one of the Kubernetes API.
func (r *Reconciler) readFailed(ctx context.Context, token *v1alpha1.ReactorToken, state *objectState, failed error) (ctrl.Result, error) {
	if !notice.IsRefused(failed) {
		return retryLater, failed
	}
	before, _, _ := state.status.latest(token)
	now := r.clock.Now()
	after := readRefused(token, before, failed, r.timekeeper.clocksAt(now, time.Time{}))
	last, _, err := r.writeStatus(ctx, token, state.status, statusReport{now: now, status: *after, events: failureEvents(before, after)})
	state.status = last
	return retryLater, errors.Join(failed, err)
}

// readRefused is the status while a read is refused. What it reports about the token stays until the token must have expired.
func readRefused(token *v1alpha1.ReactorToken, before *v1alpha1.ReactorTokenStatus, failed error, at clocks) *v1alpha1.ReactorTokenStatus {
	status := before.DeepCopy()
	message := fmt.Sprintf("the API server refused a read that the operator needs: %v. If a permission is missing, give it to the operator's service account. The operator retries every minute", failed)
	set := conditionSetter(status, token.Generation, at.now)
	set(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonReadRefused, message)
	expires := status.ExpirationTime
	switch {
	case meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) && expires != nil && at.until(expires.Time, &targetsecret.Record{}) > 0:
		return status
	case expires != nil:
		set(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenExpired, message)
	default:
		set(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonReadRefused, message)
	}
	set(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonReadRefused, message)
	return status
}

// conditionSetter returns a function that sets a condition in status, of the given generation of the spec.
func conditionSetter(
	status *v1alpha1.ReactorTokenStatus, generation int64, now time.Time,
) func(conditionType string, state metav1.ConditionStatus, reason, message string) {
	return func(conditionType string, state metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: conditionType, Status: state, Reason: reason, Message: notice.Bounded(message, maxConditionMessage),
			ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
		})
	}
}

// statusChanged reports whether a status is worth a write. That the Secret was observed at another version, and found right, is
// not: the version in status only saves a read after a restart. Nor is a next attempt that moved, until the stored time has
// passed: it requeues no object.
func statusChanged(before, after *v1alpha1.ReactorTokenStatus, now time.Time) bool {
	ignoring := before.DeepCopy()
	ignoring.SecretResourceVersion = after.SecretResourceVersion
	if next := before.NextAttemptTime; next != nil && now.Before(next.Time) {
		ignoring.NextAttemptTime = after.NextAttemptTime
	}
	return !equality.Semantic.DeepEqual(ignoring, after)
}

const (
	maxConditionMessage = 4096 // bytes; the API allows 32768, which is too long to read
	maxFailureMessage   = 1024 // bytes, as status.lastFailure.message allows
)
