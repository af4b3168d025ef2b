// Package reactortoken keeps a Reactor token in the target Secret of each ReactorToken.
//
// Reconcile shows the flow: observe, decide, act, report, schedule. Stages take and return values. The target Secret is the source of truth, and status
// is derived from it. docs/architecture.md has a picture.
package reactortoken

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// +kubebuilder:rbac:groups=reactor.inc,resources=reactortokens,verbs=get;list;watch
// +kubebuilder:rbac:groups=reactor.inc,resources=reactortokens/status,verbs=update
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// Reconcile reconciles one ReactorToken. A reconcile that was started is finished, even while the operator is being stopped: a minted token belongs in
// its Secret.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ReconcileTimeout)
	defer cancel()
	defer r.mintQueue.Release(request.NamespacedName)

	token := &v1alpha1.ReactorToken{}
	if err := r.cache.Get(ctx, request.NamespacedName, token); apierrors.IsNotFound(err) {
		return ctrl.Result{}, r.cleanUp(ctx, request.NamespacedName)
	} else if err != nil {
		return ctrl.Result{}, fmt.Errorf("reading ReactorToken %s: %w", request, err)
	}
	if !token.DeletionTimestamp.IsZero() {
		r.mintQueue.Cancel(request.NamespacedName)
		return ctrl.Result{}, nil // garbage collection deletes the Secret, and it must not be created again
	}

	state := r.states.of(token)
	observed, err := r.observe(ctx, token, state)
	if err != nil {
		r.mintQueue.Cancel(request.NamespacedName) // other objects can continue meanwhile
		return r.readFailed(ctx, token, state, err)
	}
	planned := decide(token, observed)
	result := r.act(ctx, token, observed, planned)
	state.afterAct(result, observed.clocks.now)
	if result.unread != nil {
		return r.readFailed(ctx, token, state, result.unread)
	}
	report := buildReport(token, observed, planned, result)
	var conflict []requeue.Entry
	state.status, conflict, err = r.writeStatus(ctx, token, state.status, report)
	if err = errors.Join(err, result.err); err != nil {
		return retryLater, err
	}
	return schedule(ctx, planned.requeue, result.requeue, report.requeue, conflict), nil
}

// cleanUp forgets a deleted ReactorToken, and removes the keys of the operator from the Secrets that the ReactorToken had adopted. Garbage collection
// deletes those that it created.
func (r *Reconciler) cleanUp(ctx context.Context, name types.NamespacedName) error {
	r.states.forget(name)
	r.keys.Forget(name)
	r.mintQueue.Forget(name)
	written, err := r.secretsWrittenFor(ctx, name)
	if err != nil {
		return err
	}
	for i := range written {
		secret := &written[i]
		if targetsecret.LeftoverOf(secret, name.Name, "") != targetsecret.LeftoverStrip {
			continue
		}
		stripped := leftoverSecret{secret.Name, secret.UID, secret.ResourceVersion, targetsecret.LeftoverStrip}
		if err := r.removeLeftover(ctx, name.Namespace, stripped); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			return err // after a conflict, the event of the Secret triggers the next reconcile
		}
	}
	return nil
}

// schedule returns when the object is reconciled next if no watch triggers that earlier.
func schedule(ctx context.Context, stages ...[]requeue.Entry) ctrl.Result {
	next, ok := requeue.Earliest(slices.Concat(stages...)...)
	if !ok {
		return ctrl.Result{}
	}
	ctrl.LoggerFrom(ctx).V(1).Info("the next reconcile is scheduled", "after", next.After.String(), "reason", next.Reason)
	wait := min(max(next.After, time.Millisecond), maxWait)
	return ctrl.Result{RequeueAfter: wait, Priority: new(mintqueue.RequeueRegular)} // not with the priority of the slot that the object had
}
