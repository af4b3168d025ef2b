// Package reactorsession runs the pods of ReactorSessions: one at a time, with a valid credential, for a limited time, and with a cleanup of the
// Reactor session after the end.
//
// Reconcile shows the flow: observe, decide, act, report, schedule. A reconcile does one thing, records what it did or is about to do, and triggers
// the next one. An attempt is recorded in status before its pod exists, and a finalizer keeps the pod until its outcome is recorded in status. These
// two rules prevent that a session is started twice, whatever is lost or late between two reconciles.
package reactorsession

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
)

// +kubebuilder:rbac:groups=reactor.inc,resources=reactorsessions,verbs=get;list;watch;patch;delete
// +kubebuilder:rbac:groups=reactor.inc,resources=reactorsessions/status,verbs=update
// +kubebuilder:rbac:groups=reactor.inc,resources=reactortokens,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// Reconcile reconciles one ReactorSession. A reconcile that was started is finished, even while the operator is being stopped.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ReconcileTimeout)
	defer cancel()

	session := &v1alpha1.ReactorSession{}
	if err := r.cache.Get(ctx, request.NamespacedName, session); apierrors.IsNotFound(err) {
		return ctrl.Result{}, r.forget(ctx, request.NamespacedName)
	} else if err != nil {
		return ctrl.Result{}, fmt.Errorf("reading ReactorSession %s: %w", request, err)
	}

	state, replaced := r.states.of(session)
	r.capacity.Forget(replaced)
	session = state.written.newest(session)
	observed, err := r.observe(ctx, session, *state)
	*state = observed.state
	if err != nil {
		r.capacity.Yield(session.UID)
		return ctrl.Result{}, err
	}
	planned := decide(session, observed)
	result := r.act(ctx, session, observed, planned)
	*state = *result.state
	if result.patched != nil {
		session = result.patched
	}
	report := buildReport(session, observed, planned, result)
	var conflict []requeue.Entry
	state.written, conflict, err = r.writeStatus(ctx, session, state.written, report)
	if err != nil {
		return ctrl.Result{}, err
	}
	if result.err != nil {
		return ctrl.Result{}, result.err
	}
	return schedule(ctx, conflict, report.requeue, result.requeue), nil
}

// forget drops what the operator knows about a deleted session, and releases its pods.
func (r *Reconciler) forget(ctx context.Context, session types.NamespacedName) error {
	r.capacity.Forget(r.states.forget(session))
	r.keys.Forget(session)
	return r.releaseOrphansOf(ctx, session)
}

// schedule returns when the session is reconciled next if no watch triggers that earlier. conflict is why the status was not written: then all
// other entries come from an outdated version of the session, and do not apply.
func schedule(ctx context.Context, conflict []requeue.Entry, stages ...[]requeue.Entry) ctrl.Result {
	entries := slices.Concat(stages...)
	if len(conflict) > 0 {
		entries = conflict
	}
	next, ok := requeue.Earliest(entries...)
	if !ok {
		return ctrl.Result{}
	}
	ctrl.LoggerFrom(ctx).V(1).Info("the next reconcile is scheduled", "after", next.After.String(), "reason", next.Reason)
	return ctrl.Result{RequeueAfter: min(max(next.After, minWait), maxWait)}
}
