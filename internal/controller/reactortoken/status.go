package reactortoken

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// latestStatus is the status to go on from, with the resourceVersion of the object that it belongs to: what was reported last,
// while it is not written yet or the cache does not show it yet; else what the API server has, whoever wrote it.
func (r *remembered) latestStatus(token *v1alpha1.ReactorToken) (status *v1alpha1.ReactorTokenStatus, version string) {
	switch {
	case r.status == nil:
		return &token.Status, token.ResourceVersion
	case r.statusVersion == "":
		r.status.Conditions = withConditionsOfOthers(r.status.Conditions, token.Status.Conditions)
		return r.status, token.ResourceVersion
	case olderThan(token.ResourceVersion, r.statusVersion):
		return r.status, r.statusVersion
	default: // the cache shows it, and a copy beside that would be kept for nothing
		r.status, r.statusVersion = nil, ""
		return &token.Status, token.ResourceVersion
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

// mostUntold is how many events are kept for a status that cannot be written.
const mostUntold = 16

// writeStatus writes the status, once, if it changed, and then tells the events. It is written as a whole: a patch computed
// against a cache that lags would leave out what has to be put back, and an apply what somebody else has set. The version is a
// precondition, so that of two leaders the former one does not overwrite what it has not seen.
//
// What could not be written is remembered, and written in a later pass: a backoff holds also while the API server does not take
// the status. It returns how soon the pass is to be repeated for that, or 0.
func (r *Reconciler) writeStatus(ctx context.Context, token *v1alpha1.ReactorToken, mem *remembered, told reported) (again time.Duration, err error) {
	before, version := mem.latestStatus(token)
	written := mem.status == nil || mem.statusVersion != ""
	mem.untold = append(mem.untold, told.events...)
	mem.untold = mem.untold[max(0, len(mem.untold)-mostUntold):]
	if written && !statusChanged(before, &told.status, told.now) {
		r.announce(ctx, token, mem)
		return 0, nil
	}
	mem.status, mem.statusVersion = told.status.DeepCopy(), ""
	updated := token.DeepCopy()
	updated.ResourceVersion, updated.Status = version, told.status
	err = r.client.Status().Update(ctx, updated, client.FieldOwner(targetsecret.FieldOwner))
	switch {
	case apierrors.IsNotFound(err):
		return 0, nil // the object was deleted meanwhile, and perhaps created anew: its own events tell
	case apierrors.IsConflict(err):
		mem.conflicts++ // it changed meanwhile, and the cache is about to show how
		return min(retryBase<<min(mem.conflicts-1, 8), retryCap), nil
	case err != nil:
		return 0, fmt.Errorf("writing the status of ReactorToken %s/%s: %w", token.Namespace, token.Name, err)
	}
	mem.statusVersion, mem.conflicts = updated.ResourceVersion, 0
	r.announce(ctx, token, mem)
	return 0, nil
}
