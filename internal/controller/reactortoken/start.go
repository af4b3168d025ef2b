package reactortoken

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// The priority queue of controller-runtime gives the objects that exist when the operator starts a low priority
// (handler.LowPriority), so that changes are noticed first. Nothing raises it later:
//
//  1. The operator starts with 50,000 ReactorTokens. The API server is slow.
//  2. Renewals come due as fast as --mint-qps allows, and keep all workers busy. Their priority is the regular one.
//  3. A ReactorToken that was created while the operator was down is never reconciled, and neither is one whose renewal comes
//     due: no timer of it was set yet.
//
// So those for which something is due have the regular priority from the start, and the others after starveLimit.

// starveLimit is how long a ReactorToken may have a low priority after the start.
const starveLimit = time.Minute

// enqueueDue gives a ReactorToken that exists when the operator starts the regular priority, when it has no token or a renewal
// of it is due.
func (r *Reconciler) enqueueDue(_ context.Context, e event.CreateEvent, q queue) {
	token, ok := e.Object.(*v1alpha1.ReactorToken)
	if !ok || !e.IsInInitialList || !dueAtStart(&token.Status, r.timekeeper.clocksAt(r.clock.Now(), time.Time{})) {
		return
	}
	add(q, priorityqueue.AddOpts{Priority: new(priorityRegular)}, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(token)})
}

// dueAtStart reports whether status says that a new token is due.
func dueAtStart(status *v1alpha1.ReactorTokenStatus, at clocks) bool {
	return status.RenewalTime == nil || at.until(status.RenewalTime.Time, &record{}) <= 0
}

// endLowPriority gives the ReactorTokens that were not reconciled within starveLimit after the start the regular priority.
func (r *Reconciler) endLowPriority(ctx context.Context) error {
	timer := time.NewTimer(starveLimit)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		r.wakeMatching(ctx, func(token *v1alpha1.ReactorToken) bool { return !r.memory.has(token) })
	}
	return nil
}
