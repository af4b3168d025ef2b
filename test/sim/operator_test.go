package sim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactorsession"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactortoken"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/test/sim/apimodel"
)

// run is one run of the operator, from its start to its end: the real manager with the real controllers, queues, predicates and
// informers, on the model of the API server.
type run struct {
	number  int
	host    *host
	began   time.Time
	user    string // by which the model knows it
	ctx     context.Context
	end     context.CancelFunc
	ended   chan struct{} // closed when it is over
	crashed atomic.Bool
	silent  atomic.Bool   // its connection to Reactor has died; see send
	filled  atomic.Bool   // the caches
	synced  chan struct{} // closed then
}

// errCrashed is what the requests of a run meet once it has crashed.
var errCrashed = errors.New("the operator has crashed")

// startRun starts the operator. Nothing in it opens a socket.
func (w *world) startRun() *run {
	w.mu.Lock()
	w.runs++
	r := &run{number: w.runs, host: w.host, began: time.Now(), user: fmt.Sprintf("operator-%d", w.runs), ended: make(chan struct{}), synced: make(chan struct{})}
	r.ctx, r.end = context.WithCancel(context.Background())
	w.byUser[r.user] = r
	w.mu.Unlock()
	access := w.queue.behindWebhook(w.api.Client(r.user))
	mapper := meta.NewDefaultRESTMapper(nil)
	for gvk := range w.scheme.AllKnownTypes() {
		if gvk.Group == v1alpha1.SchemeGroupVersion.Group || gvk.Group == "" || gvk.Group == "apps" {
			mapper.Add(gvk, meta.RESTScopeNamespace)
		}
	}
	mgr, err := ctrl.NewManager(&rest.Config{Host: "http://no.such.host"}, ctrl.Options{
		Scheme:         w.scheme,
		Logger:         w.told.logger(),
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mapper, nil },
		NewClient:      func(*rest.Config, client.Options) (client.Client, error) { return access, nil },
		Cache: cache.Options{
			DefaultTransform:            cache.TransformStripManagedFields(),
			ByObject:                    map[client.Object]cache.ByObject{&corev1.Secret{}: reactortoken.SecretCache(), &corev1.Pod{}: reactorsession.PodCache()},
			ReaderFailOnMissingInformer: true,
			NewInformer: func(_ toolscache.ListerWatcher, of runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
				return toolscache.NewSharedIndexInformer(w.api.ListerWatcher(of, w.watchOptions(r, of)), of, resync, indexers)
			},
		},
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true), MaxConcurrentReconciles: w.plan.Concurrency},
	})
	if err != nil {
		panic(err)
	}
	if err := errors.Join(w.addControllers(mgr, r, access), mgr.Add(manager.RunnableFunc(r.begun))); err != nil {
		panic(err)
	}
	go func() {
		defer close(r.ended)
		if err := mgr.Start(r.ctx); err != nil && !r.crashed.Load() {
			panic(err)
		}
	}()
	return r
}

// The settings of the operator under test.
const (
	mintQPS, mintBurst     = 5, 10
	sessionsPerKey         = 2
	sessionStartsPerMinute = 10
)

func (w *world) addControllers(mgr ctrl.Manager, r *run, access client.Client) error {
	clock := operatorClock{clocks: &w.clocks, host: r.host, read: w.judge.clockRead}
	api, err := reactor.NewClient(reactor.Options{BaseURL: reactorURL, Transport: w.watched(r), Clock: clock})
	if err != nil {
		return err
	}
	tokens := reactortoken.New(reactortoken.Options{
		Client: access, Cache: mgr.GetCache(), APIReader: access, Minter: api, APIURL: reactorURL, Recorder: &w.told, Clock: clock,
		Mint: mintqueue.Limits{QPS: mintQPS, Burst: mintBurst}, AllowRestart: true, AllowPromptDelivery: true,
	})
	sessions := reactorsession.New(reactorsession.Options{
		Client: access, Cache: mgr.GetCache(), Lister: reactorsession.IndexedLister(mgr.GetCache()), APIReader: access,
		Reactor: api, APIURL: reactorURL, Recorder: &w.told, Clock: clock,
		SessionsPerKey: sessionsPerKey, SessionStartsPerMinute: sessionStartsPerMinute,
	})
	return errors.Join(tokens.SetupWithManager(mgr), sessions.SetupWithManager(mgr))
}

// watchOptions are those with which production lists and watches, and how late events come.
func (w *world) watchOptions(r *run, of runtime.Object) apimodel.WatchOptions {
	options := apimodel.WatchOptions{User: r.user, Lag: w.lagOf}
	switch of.(type) {
	case *corev1.Pod:
		options.Label = reactorsession.PodCache().Label
	case *metav1.PartialObjectMetadata:
		options.Field = reactortoken.SecretCache().Field
	}
	return options
}

// stop ends the run the way a signal does, and waits until it is over.
func (r *run) stop() {
	if !r.filled.Load() { // nothing is in flight, and the process ends at once: see internal/operator
		r.crash()
		return
	}
	r.end()
	<-r.ended
}

// crash ends the run so that nothing more reaches anybody. It does not wait, so that the run itself may call it.
//
// A manager that is stopped while its caches fill spins, and time would stand still (kubernetes-sigs/controller-runtime#3440). So they are
// filled first: lists and watches are all that a crashed run may do.
func (r *run) crash() {
	if r.crashed.Swap(true) {
		return
	}
	go func() {
		<-r.synced
		r.end()
	}()
}

// begun is what the manager starts with the controllers: it is done with waiting for its caches then.
func (r *run) begun(context.Context) error {
	r.filled.Store(true)
	close(r.synced)
	return nil
}
