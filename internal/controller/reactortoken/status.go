package reactortoken

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// lastStatus is the status that was reported last.
type lastStatus struct {
	status    *v1alpha1.ReactorTokenStatus // nil once the cache shows it
	version   string                       // the object's resourceVersion with it; empty while it is not written
	conflicts int                          // how often in a row the API server had a version that the cache did not show
	notices   []notice.Notice              // the events to emit after it is written
}

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
//  3. The cache shows the object with the condition. The operator writes what it remembers, which must not leave the condition out.
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
// that lags would leave out what has to be restored, and an apply would leave out what another client has set. The version is a precondition, so
// that of two leaders the former one does not overwrite what it has not observed.
//
// What could not be written is remembered, and written in a later reconcile: a backoff is kept even while the API server refuses the status.
func (r *Reconciler) writeStatus(
	ctx context.Context, token *v1alpha1.ReactorToken, last lastStatus, told reported,
) (lastStatus, []requeue.Entry, error) {
	before, version, isAhead := last.latest(token)
	isWritten := last.status == nil || last.version != ""
	if !isAhead {
		last.status, last.version = nil, "" // a copy next to the cache would be kept for nothing
	}
	last.notices = slices.Concat(last.notices, told.events)
	last.notices = last.notices[max(0, len(last.notices)-maxPendingNotices):]
	if isWritten && !statusChanged(before, &told.status, told.now) {
		return r.emit(ctx, token, last), nil, nil
	}
	last.status, last.version = told.status.DeepCopy(), ""
	updated := token.DeepCopy()
	updated.ResourceVersion, updated.Status = version, told.status
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
	notice.Announce(ctx, r.recorder, token, last.notices)
	last.notices = nil
	return last
}
