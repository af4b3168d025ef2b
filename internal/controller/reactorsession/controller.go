// Package reactorsession runs the pods of ReactorSessions: one at a time, started once its credential is there, bounded, ended
// cleanly and never doubled.
//
// A pass reads like Reconcile: observe, decide, act, report. It does one thing, writes down what it did or is about to do, and comes
// again. An attempt stands in status before its pod exists, and its pod is kept by a finalizer until its outcome stands in status:
// these two rules are what keeps a session from being started twice, whatever is lost or late in between.
package reactorsession

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/capacity"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
)

// +kubebuilder:rbac:groups=reactor.inc,resources=reactorsessions,verbs=get;list;watch;patch;delete
// +kubebuilder:rbac:groups=reactor.inc,resources=reactorsessions/status,verbs=update
// +kubebuilder:rbac:groups=reactor.inc,resources=reactortokens,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create

// PassTimeout bounds one pass: two calls to Reactor and the writes after them. What is in flight when the operator is stopped is given
// as much.
const PassTimeout = 35 * time.Second

// Sessions looks Reactor's sessions up and ends them, and mints the token for that when the attempt's own does not do. Its errors
// are *reactor.Error.
type Sessions interface {
	Mint(ctx context.Context, request reactor.MintRequest) (reactor.Token, error)
	Session(ctx context.Context, token reactor.Secret, id string) (reactor.Session, error)
	EndSession(ctx context.Context, token reactor.Secret, id string) error
}

// Tally is told what attempts came to: each once at the most, and not before it stands in status.
type Tally interface {
	AttemptEnded(class v1alpha1.AttemptClass, running time.Duration)
	CleanedUp(result v1alpha1.CleanupResult)
}

// Options are the dependencies and settings of a Reconciler.
type Options struct {
	Client    client.Client        // writes
	Cache     client.Reader        // reads; in a manager with the indexes of SetupWithManager
	Lister    Lister               // IndexedLister in a manager, LiveLister for a drain
	APIReader client.Reader        // reads live
	Reactor   Sessions             // Reactor
	APIURL    string               // where programs are to call it
	Recorder  events.EventRecorder // events.k8s.io
	Clock     clock.Clock
	Tally     Tally // nil: nobody counts

	SessionsPerKey         int // sessions that run at once with one API key; 0: no limit
	SessionStartsPerMinute int // pods created in a minute with one API key; 0: no limit

	AllowPromptDelivery bool // a renewed token is handed to the session's pod at once
}

// Reconciler runs the pods of ReactorSessions.
type Reconciler struct {
	client   client.Client
	cache    client.Reader
	live     client.Reader
	reactor  Sessions
	recorder events.EventRecorder
	clock    clock.PassiveClock
	tally    Tally

	settings attempts.Settings
	lister   Lister
	memory   *stateStore
	keys     *apikey.Cache
	capacity *capacity.Limiter
	queue    atomic.Pointer[queue]
}

// New returns a Reconciler that SetupWithManager makes run.
func New(o Options) *Reconciler {
	r := &Reconciler{
		client: o.Client, cache: o.Cache, live: o.APIReader, reactor: o.Reactor, recorder: o.Recorder, clock: o.Clock, tally: o.Tally,
		settings: attempts.Settings{APIURL: o.APIURL, PromptDelivery: o.AllowPromptDelivery},
		lister:   o.Lister,
		memory:   newStateStore(),
		keys:     apikey.NewCache(o.Cache, o.APIReader),
	}
	r.capacity = capacity.New(o.SessionsPerKey, o.SessionStartsPerMinute, r.wake)
	return r
}

// Reconcile makes one pass for one ReactorSession. A pass that was begun is finished, also while the operator is being stopped.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), PassTimeout)
	defer cancel()

	session := &v1alpha1.ReactorSession{}
	if err := r.cache.Get(ctx, request.NamespacedName, session); apierrors.IsNotFound(err) {
		r.capacity.Forget(r.memory.forget(request.NamespacedName))
		r.keys.Forget(request.NamespacedName)
		return ctrl.Result{}, r.releaseOrphansOf(ctx, request.NamespacedName)
	} else if err != nil {
		return ctrl.Result{}, fmt.Errorf("reading ReactorSession %s: %w", request, err)
	}

	mem, replaced := r.memory.of(session)
	r.capacity.Forget(replaced)
	mem.bringUpToDate(session)
	seen, err := r.observe(ctx, session, mem)
	if err != nil {
		r.giveWay(session, mem)
		return ctrl.Result{}, err
	}
	planned := decide(session, seen)
	done := r.act(ctx, session, mem, seen, planned)
	told := report(session, seen, planned, done)
	again, err := r.writeStatus(ctx, session, mem, told)
	if err != nil {
		return ctrl.Result{}, err
	}
	return schedule(ctx, done, told.next, again)
}

const (
	// retryBase and retryCap bound the wait after a pass that failed.
	retryBase = time.Second
	retryCap  = time.Minute
	// maxWait is the longest time between two passes of a session that has something to wait for: a timer may sleep through a
	// suspended host.
	maxWait = 15 * time.Minute
	// atOnce is how soon a pass follows that wrote down what is to be done next.
	atOnce = time.Millisecond
)

// schedule returns when the session is reconciled next if no watch triggers that earlier. conflict is why the status was not written: then all
// other entries come from an outdated version of the session, and do not apply.
func schedule(ctx context.Context, done result, planned, conflict []requeue.Entry) (ctrl.Result, error) {
	if done.retry != nil {
		return ctrl.Result{}, done.retry
	}
	entries := slices.Concat(planned, done.next)
	if len(conflict) > 0 {
		entries = conflict
	}
	next, ok := requeue.Earliest(entries...)
	if !ok {
		return ctrl.Result{}, nil
	}
	ctrl.LoggerFrom(ctx).V(1).Info("the next reconcile is scheduled", "after", next.After.String(), "reason", next.Reason)
	return ctrl.Result{RequeueAfter: min(max(next.After, atOnce), maxWait)}, nil
}
