package reactortoken

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// The priority queue of controller-runtime gives the objects that exist when the operator starts a low priority
// (handler.LowPriority), so that changes are noticed first:
//
//  1. The operator starts with 50,000 ReactorTokens whose Secrets it has to read, and with one that was created while it was down.
//  2. Each read takes 20 ms. Renewals come due as fast as --mint-qps allows; their priority is the regular one. They leave a
//     quarter of the workers to others (see mintqueue.SlotsFor).
//  3. The new ReactorToken is reconciled last, after eight minutes (TestNeitherANewTokenNorTheLowestPriorityStarves).
//
// So those for which a token is due have the regular priority from the start.

// enqueueDue gives a ReactorToken that exists when the operator starts the regular priority, when it has no token or a renewal
// of it is due.
func (r *Reconciler) enqueueDue(_ context.Context, e event.CreateEvent, q queue) {
	token, ok := e.Object.(*v1alpha1.ReactorToken)
	if !ok || !e.IsInInitialList || !dueAtStart(&token.Status, r.timekeeper.clocksAt(r.clock.Now(), time.Time{})) {
		return
	}
	add(q, priorityqueue.AddOpts{Priority: new(mintqueue.RequeueRegular)}, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(token)})
}

// dueAtStart reports whether status says that a new token is due.
func dueAtStart(status *v1alpha1.ReactorTokenStatus, at clocks) bool {
	return status.RenewalTime == nil || at.until(status.RenewalTime.Time, &targetsecret.Record{}) <= 0
}
