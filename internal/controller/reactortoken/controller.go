// Package reactortoken keeps a Reactor token in the target Secret of each ReactorToken.
//
// A pass reads like Reconcile: observe, decide, act, report. What it decides from are values; the target Secret is the
// truth, and status is derived from it. docs/architecture.md shows the flow.
package reactortoken

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
	"github.com/reactor-operator/reactor-operator/internal/rollout"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// +kubebuilder:rbac:groups=reactor.inc,resources=reactortokens,verbs=get;list;watch
// +kubebuilder:rbac:groups=reactor.inc,resources=reactortokens/status,verbs=update
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// PassTimeout bounds one pass, with room for a call to Reactor (15 s), the writes after it and a part of a delivery. What is in
// flight when the operator is stopped is given as much.
const PassTimeout = 30 * time.Second

// Minter exchanges an API key for a token. Its errors are *reactor.Error.
type Minter interface {
	Mint(ctx context.Context, request reactor.MintRequest) (reactor.Token, error)
}

// Options are the dependencies and settings of a Reconciler.
type Options struct {
	Client    client.Client        // writes
	Cache     client.Reader        // reads ReactorTokens and the metadata of Secrets; needs the indexes of SetupWithManager
	APIReader client.Reader        // reads payloads, live
	Minter    Minter               // Reactor
	APIURL    string               // where the Minter calls it
	Recorder  events.EventRecorder // events.k8s.io
	Clock     clock.Clock

	MintQPS   float64 // calls to Reactor a second, for the whole installation
	MintBurst int     // calls to Reactor at once, after a quiet time

	AllowRestart        bool // spec.restart is acted on
	AllowPromptDelivery bool // spec.promptDelivery is acted on
}

// Reconciler keeps one token in the target Secret of each ReactorToken.
type Reconciler struct {
	client   client.Client
	cache    client.Reader
	live     client.Reader
	minter   Minter
	apiURL   string
	recorder events.EventRecorder
	clock    clock.PassiveClock

	memory     *memory
	keys       *apikey.Cache
	timekeeper *timekeeper
	mintQueue  *mintqueue.Queue
	rollout    *rollout.Rollout
	queue      atomic.Pointer[priorityqueue.PriorityQueue[reconcile.Request]]
}

// New returns a Reconciler that SetupWithManager makes run.
func New(o Options) *Reconciler {
	r := &Reconciler{
		client: o.Client, cache: o.Cache, live: o.APIReader,
		minter: o.Minter, apiURL: o.APIURL, recorder: o.Recorder, clock: o.Clock,
		memory:     newMemory(),
		keys:       apikey.NewCache(o.Cache, o.APIReader),
		timekeeper: &timekeeper{started: o.Clock.Now()},
		rollout: rollout.New(rollout.Options{
			Client: o.Client, Pods: o.APIReader, AllowRestart: o.AllowRestart, AllowRefresh: o.AllowPromptDelivery,
		}),
	}
	r.mintQueue = mintqueue.New(mintqueue.Options{QPS: o.MintQPS, Burst: o.MintBurst, Clock: o.Clock, Requeue: r.wake})
	return r
}

// Reconcile makes one pass for one ReactorToken. A pass that was begun is finished, also while the operator is being
// stopped: a token that was minted belongs into its Secret.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), PassTimeout)
	defer cancel()

	token := &v1alpha1.ReactorToken{}
	if err := r.cache.Get(ctx, request.NamespacedName, token); apierrors.IsNotFound(err) {
		return ctrl.Result{}, r.cleanUp(ctx, request.NamespacedName)
	} else if err != nil {
		return ctrl.Result{}, fmt.Errorf("reading ReactorToken %s: %w", request, err)
	}
	if !token.DeletionTimestamp.IsZero() {
		r.mintQueue.Cancel(request.NamespacedName)
		return ctrl.Result{}, nil // the Secret goes by its owner reference, and must not come back
	}

	mem := r.memory.of(token)
	seen, err := r.observe(ctx, token, mem)
	if err != nil {
		r.mintQueue.Cancel(request.NamespacedName) // other objects can continue meanwhile
		return r.readFailed(ctx, token, mem, err)
	}
	planned := decide(token, seen)
	done := r.act(ctx, token, seen, planned)
	mem.record(done, seen.clocks.now)
	if done.unread != nil {
		return r.readFailed(ctx, token, mem, done.unread)
	}
	told := report(token, seen, planned, done)
	var conflict []requeue.Entry
	mem.status, conflict, err = r.writeStatus(ctx, token, mem.status, told)
	if err = errors.Join(err, done.err); err != nil {
		return retryLater, err
	}
	return schedule(ctx, planned.requeue, done.requeue, told.requeue, conflict), nil
}

// cleanUp forgets a ReactorToken that is gone, and takes our keys out of the Secrets that it had adopted. Those that it
// created go by their owner reference.
func (r *Reconciler) cleanUp(ctx context.Context, name types.NamespacedName) error {
	r.memory.forget(name)
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
			return err // after a conflict, the Secret's own event wakes the next pass
		}
	}
	return nil
}

// retryLater is the result of a reconcile that failed. The retry has no priority over others: what made the object urgent may
// fail for hours, and would go before everything else each time.
var retryLater = ctrl.Result{Priority: new(mintqueue.RequeueRegular)}

// longestWait is the longest time between two passes: a timer may sleep through a suspended host, and a clock may jump.
const longestWait = 15 * time.Minute

// schedule returns when the object is reconciled next if no watch triggers that earlier.
func schedule(ctx context.Context, stages ...[]requeue.Entry) ctrl.Result {
	next, ok := requeue.Earliest(slices.Concat(stages...)...)
	if !ok {
		return ctrl.Result{}
	}
	ctrl.LoggerFrom(ctx).V(1).Info("the next reconcile is scheduled", "after", next.After.String(), "reason", next.Reason)
	wait := min(max(next.After, time.Millisecond), longestWait)
	return ctrl.Result{RequeueAfter: wait, Priority: new(mintqueue.RequeueRegular)} // not with the priority of the slot that the object had
}
