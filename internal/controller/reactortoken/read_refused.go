package reactortoken

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/controller/notice"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// reportReadRefused reports in status that the API server refuses a read that the operator needs, such as that of the target
// Secret without the Role for it. It reports nothing else: an API server that does not answer does not take a status either,
// and conditions must not flap with each short outage. Its error is one of the Kubernetes API.
func (r *Reconciler) reportReadRefused(ctx context.Context, token *v1alpha1.ReactorToken, mem *remembered, failed error) error {
	if !notice.IsRefused(failed) {
		return nil
	}
	before, _ := mem.latestStatus(token)
	now := r.clock.Now()
	after := readRefused(token, before, failed, r.timekeeper.clocksAt(now, time.Time{}))
	_, err := r.writeStatus(ctx, token, mem, reported{now: now, status: *after, events: failureEvents(before, after)})
	return err
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
