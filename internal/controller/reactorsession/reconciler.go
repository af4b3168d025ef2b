package reactorsession

import (
	"context"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/capacity"
	"github.com/reactor-operator/reactor-operator/internal/cleanup"
)

// Metrics counts how attempts ended: each attempt at most once, and not before status records it.
type Metrics interface {
	AttemptEnded(class v1alpha1.AttemptClass, running time.Duration)
	CleanedUp(cleanup v1alpha1.CleanupResult)
}

// Lister finds the objects that belong to a ReactorSession.
type Lister interface {
	// Pods returns the pods that have the UID of the session in their label.
	Pods(ctx context.Context, session *v1alpha1.ReactorSession) ([]corev1.Pod, error)
	// Tokens returns the ReactorTokens of the session.
	Tokens(ctx context.Context, session *v1alpha1.ReactorSession) ([]v1alpha1.ReactorToken, error)
	// KeptPods returns the ended pods that the tracking finalizer keeps and whose session has or had this name.
	KeptPods(ctx context.Context, session types.NamespacedName) ([]corev1.Pod, error)
}

// Options are the dependencies and settings of a Reconciler.
type Options struct {
	Client    client.Client        // writes
	Cache     client.Reader        // reads; in a manager with the indexes of SetupWithManager
	Lister    Lister               // IndexedLister in a manager, LiveLister for a drain
	APIReader client.Reader        // reads live
	Reactor   cleanup.Reactor      // Reactor
	APIURL    string               // where programs call it
	Recorder  events.EventRecorder // events.k8s.io
	Clock     clock.Clock
	Metrics   Metrics // nil: nothing is counted

	SessionsPerKey         int // sessions that run at the same time with one API key; 0: no limit
	SessionStartsPerMinute int // pods created in a minute with one API key; 0: no limit

	AllowPromptDelivery bool // a renewed token is given to the session's pod immediately
}

// Reconciler runs the pods of ReactorSessions.
type Reconciler struct {
	client   client.Client
	cache    client.Reader
	live     client.Reader
	recorder events.EventRecorder
	clock    clock.PassiveClock
	metrics  Metrics

	settings attempts.Settings
	lister   Lister
	states   *stateStore
	keys     *apikey.Cache
	capacity *capacity.Limiter
	cleaner  *cleanup.Cleaner
	queue    atomic.Pointer[queue]
}

// New returns a Reconciler. SetupWithManager registers it.
func New(o Options) *Reconciler {
	keys := apikey.NewCache(o.Cache, o.APIReader)
	r := &Reconciler{
		client: o.Client, cache: o.Cache, live: o.APIReader, recorder: o.Recorder, clock: o.Clock, metrics: o.Metrics,
		settings: attempts.Settings{APIURL: o.APIURL, PromptDelivery: o.AllowPromptDelivery},
		lister:   o.Lister,
		states:   newStateStore(),
		keys:     keys,
		cleaner:  &cleanup.Cleaner{Reactor: o.Reactor, Live: o.APIReader, Keys: keys},
	}
	r.capacity = capacity.New(o.SessionsPerKey, o.SessionStartsPerMinute, r.requeue)
	return r
}

// ReconcileTimeout bounds one reconcile, with room for two calls to Reactor and the writes after them. A reconcile that runs when the operator is
// stopped has the same time.
const ReconcileTimeout = 35 * time.Second

const (
	// retryBase and retryCap bound the wait after a failed reconcile.
	retryBase = time.Second
	retryCap  = time.Minute
	// maxWait is the longest time between two reconciles of a session that waits for something: on a host that was suspended, a timer is late.
	maxWait = 15 * time.Minute
	// minWait is how soon the next reconcile follows one that recorded the next step.
	minWait = time.Millisecond
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// captureQueue keeps the controller's queue, so that the capacity limiter can requeue sessions.
func (r *Reconciler) captureQueue(_ context.Context, q queue) error {
	r.queue.Store(&q)
	return nil
}

// requeue triggers a reconcile of each session.
func (r *Reconciler) requeue(sessions ...types.NamespacedName) {
	q := r.queue.Load()
	if q == nil {
		return
	}
	for _, session := range sessions {
		(*q).Add(reconcile.Request{NamespacedName: session})
	}
}
