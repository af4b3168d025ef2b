package reactortoken

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// readFailed ends a reconcile that could not read what it needs. If the API server refuses the read, such as that of the target Secret without the
// Role for it, status reports that. It reports nothing else: an API server that does not respond does not accept a status either, and conditions
// must not flap with each short outage. The error is one of the Kubernetes API.
func (r *Reconciler) readFailed(ctx context.Context, token *v1alpha1.ReactorToken, mem *remembered, failed error) (ctrl.Result, error) {
	if !notice.IsRefused(failed) {
		return retryLater, failed
	}
	before, _, _ := mem.status.latest(token)
	now := r.clock.Now()
	after := readRefused(token, before, failed, r.timekeeper.clocksAt(now, time.Time{}))
	last, _, err := r.writeStatus(ctx, token, mem.status, reported{now: now, status: *after, events: failureEvents(before, after)})
	mem.status = last
	return retryLater, errors.Join(failed, err)
}

// readRefused is the status while a read is refused. What it says of the token stays, until the token must have expired.
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
