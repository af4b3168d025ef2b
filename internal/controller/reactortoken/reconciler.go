package reactortoken

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/rollout"
)

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

	Mint mintqueue.Limits // of the calls to Reactor

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
	clock    clock.Clock

	states     *stateStore
	keys       *apikey.Cache
	timekeeper *timekeeper
	mintQueue  *mintqueue.Queue
	rollout    *rollout.Rollout
	queue      atomic.Pointer[priorityqueue.PriorityQueue[reconcile.Request]]
}

// New returns a Reconciler. SetupWithManager registers it.
func New(o Options) *Reconciler {
	r := &Reconciler{
		client: o.Client, cache: o.Cache, live: o.APIReader,
		minter: o.Minter, apiURL: o.APIURL, recorder: o.Recorder, clock: o.Clock,
		states:     newStateStore(),
		keys:       apikey.NewCache(o.Cache, o.APIReader),
		timekeeper: &timekeeper{started: o.Clock.Now()},
		rollout: rollout.New(rollout.Options{
			Client: o.Client, Pods: o.APIReader, AllowRestart: o.AllowRestart, AllowRefresh: o.AllowPromptDelivery,
		}),
	}
	r.mintQueue = mintqueue.New(mintqueue.Options{Limits: o.Mint, Clock: o.Clock, Requeue: r.requeue})
	return r
}

// ReconcileTimeout bounds one reconcile, with room for a call to Reactor (15 s), the writes after it and a part of a rollout. A reconcile that runs when
// the operator is stopped has the same time.
const ReconcileTimeout = 30 * time.Second

// A failed reconcile is retried after retryBase, doubling up to retryCap. The default of controller-runtime starts at 5 ms, which is too fast for a paid
// API. The backoff after failures of Reactor itself is in status.
const (
	retryBase = time.Second
	retryCap  = time.Minute
)

// formerLeaderBound is how long after its start a leader must expect writes of a former one. A leader that loses its lease (15 s) finishes the
// reconciles that it has started.
const formerLeaderBound = 15*time.Second + ReconcileTimeout

// correctFormerLeader triggers a reconcile of all ReactorTokens when a former leader cannot write anymore:
//
//  1. The host of the leader is suspended, or cut off. Another operator becomes the leader, and writes the status of a token.
//  2. The former leader continues. It reads the new token, which has expired by its own clock, and writes that over the status.
//  3. Neither a watch nor a timer triggers a reconcile of the token before its renewal. Until then, its status would be wrong.
//
// A reconcile with nothing to do makes no request. It implements manager.RunnableFunc.
func (r *Reconciler) correctFormerLeader(ctx context.Context) error {
	timer := r.clock.NewTimer(formerLeaderBound)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C():
		r.requeueAll(ctx)
	}
	return nil
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// requeue triggers a reconcile of each object, before those of a lower priority.
func (r *Reconciler) requeue(priority int, objects ...types.NamespacedName) {
	q := r.queue.Load()
	if q == nil {
		return
	}
	for _, object := range objects {
		(*q).AddWithOpts(priorityqueue.AddOpts{Priority: &priority}, reconcile.Request{NamespacedName: object})
	}
}

// requeueAll triggers a reconcile of all ReactorTokens.
func (r *Reconciler) requeueAll(ctx context.Context) {
	tokens := &v1alpha1.ReactorTokenList{}
	if err := r.cache.List(ctx, tokens, client.UnsafeDisableDeepCopy); err != nil { // the cache fails only while it is being stopped
		ctrl.LoggerFrom(ctx).Error(err, "listing the ReactorTokens")
		return
	}
	for i := range tokens.Items {
		r.requeue(mintqueue.RequeueRegular, client.ObjectKeyFromObject(&tokens.Items[i]))
	}
}

// captureQueue keeps the controller's queue, so that mintqueue can requeue the objects that have a slot.
func (r *Reconciler) captureQueue(_ context.Context, given queue) error {
	q, ok := given.(priorityqueue.PriorityQueue[reconcile.Request])
	if !ok { // controller-runtime uses no other type by default
		return fmt.Errorf("the controller's queue is a %T, which has no priorities", given)
	}
	r.queue.Store(&q)
	return nil
}

// maxWait is the maximum time between two reconciles: a timer does not advance on a suspended host, and a clock may jump.
const maxWait = 15 * time.Minute

// retryLater is the result of a reconcile that failed. The retry has no priority over others: an urgent object may fail for hours, and would go before
// all others each time.
var retryLater = ctrl.Result{Priority: new(mintqueue.RequeueRegular)}
