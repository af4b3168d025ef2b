package reactorsession

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactortoken"
)

// run is one run of the operator, from its start to its end: the real manager with the real controller, queue, cache,
// watches and predicates, on the API server of apiserver_test.go.
type run struct {
	ctx     context.Context
	end     context.CancelFunc
	ended   chan error
	crashed atomic.Bool
}

func newRun() *run {
	r := &run{ended: make(chan error, 1)}
	r.ctx, r.end = context.WithCancel(context.Background())
	return r
}

// start starts the run. It is made for synctest bubbles: nothing in it opens a socket.
func (r *run) start(api *apiServer, logger logr.Logger, concurrency int, options Options, tokens reactortoken.Options) error {
	access := api.clientFor(r.crashed.Load)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.SchemeGroupVersion.WithKind("ReactorToken"), meta.RESTScopeNamespace)
	mapper.Add(v1alpha1.SchemeGroupVersion.WithKind("ReactorSession"), meta.RESTScopeNamespace)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)
	mgr, err := ctrl.NewManager(&rest.Config{Host: "http://no.such.host"}, ctrl.Options{
		Scheme:         api.Scheme(),
		Logger:         logger,
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mapper, nil },
		NewClient:      func(*rest.Config, client.Options) (client.Client, error) { return access, nil },
		Cache: cache.Options{
			DefaultTransform:            cache.TransformStripManagedFields(),
			ByObject:                    map[client.Object]cache.ByObject{&corev1.Secret{}: reactortoken.SecretCache(), &corev1.Pod{}: PodCache()},
			ReaderFailOnMissingInformer: true,
			NewInformer: func(_ toolscache.ListerWatcher, of runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
				return toolscache.NewSharedIndexInformer(listerWatcher(api, of), of, resync, indexers)
			},
		},
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true), MaxConcurrentReconciles: concurrency},
	})
	if err != nil {
		return err
	}
	options.Client, options.Cache, options.Lister, options.APIReader = access, mgr.GetCache(), IndexedLister(mgr.GetCache()), access
	tokens.Client, tokens.Cache, tokens.APIReader = access, mgr.GetCache(), access
	if err := errors.Join(reactortoken.New(tokens).SetupWithManager(mgr), New(options).SetupWithManager(mgr)); err != nil {
		return err
	}
	go func() { r.ended <- mgr.Start(r.ctx) }()
	return nil
}

// stop ends the run the way a signal does, and waits until it is over.
func (r *run) stop() error {
	r.end()
	return <-r.ended
}

// crash ends the run so that nothing more reaches the API server. It does not wait, so that the run itself may call it.
func (r *run) crash() {
	r.crashed.Store(true)
	r.end()
}

// listerWatcher feeds an informer of ReactorTokens, or of the metadata of Secrets.
func listerWatcher(api *apiServer, of runtime.Object) toolscache.ListerWatcher {
	var list client.ObjectList
	switch of.(type) {
	case *v1alpha1.ReactorToken:
		list = &v1alpha1.ReactorTokenList{}
	case *v1alpha1.ReactorSession:
		list = &v1alpha1.ReactorSessionList{}
	case *corev1.Pod:
		list = &corev1.PodList{}
	case *metav1.PartialObjectMetadata:
		secrets := &metav1.PartialObjectMetadataList{}
		secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
		list = secrets
	}
	var opened watch.Interface // before the list, so that nothing falls between the two
	return withoutWatchList{&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
			var err error
			if opened, err = api.Watch(ctx, list); err != nil {
				return nil, err
			}
			found := list.DeepCopyObject().(client.ObjectList)
			return found, api.List(ctx, found, listed(of)...)
		},
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
			api.mu.Lock()
			lag := api.cacheLag
			if _, sessions := of.(*v1alpha1.ReactorSession); sessions && api.sessionLag > 0 {
				lag = api.sessionLag
			}
			api.mu.Unlock()
			lagging := &laggingWatch{from: opened, by: lag, to: make(chan watch.Event), arrived: make(chan struct{}, 1), stopped: make(chan struct{})}
			go lagging.take()
			go lagging.pass()
			return lagging, nil
		},
	}}
}

// listed are the options with which the production's cache lists: see PodCache.
func listed(of runtime.Object) []client.ListOption {
	if _, pods := of.(*corev1.Pod); pods {
		return []client.ListOption{client.HasLabels{attempts.SessionUIDLabel}}
	}
	return nil
}

// withoutWatchList makes the informer list first: the fake client knows no other way.
type withoutWatchList struct{ *toolscache.ListWatch }

func (withoutWatchList) IsWatchListSemanticsUnSupported() bool { return true }

// laggingWatch passes events on late, and of Secrets only the metadata.
type laggingWatch struct {
	from    watch.Interface
	by      time.Duration
	to      chan watch.Event
	stop    sync.Once
	stopped chan struct{}

	mu      sync.Mutex
	late    []lateEvent
	arrived chan struct{}
}

type lateEvent struct {
	watch.Event

	due time.Time
}

func (w *laggingWatch) ResultChan() <-chan watch.Event { return w.to }

func (w *laggingWatch) Stop() {
	w.stop.Do(func() {
		w.from.Stop()
		close(w.stopped)
	})
}

// take takes events at once, since the fake client panics when a hundred of them are waiting.
func (w *laggingWatch) take() {
	for happened := range w.from.ResultChan() {
		w.mu.Lock()
		w.late = append(w.late, lateEvent{happened, time.Now().Add(w.by)})
		w.mu.Unlock()
		select {
		case w.arrived <- struct{}{}:
		default:
		}
	}
}

func (w *laggingWatch) pass() {
	defer close(w.to)
	for {
		if next, ok := w.next(); ok {
			if !w.send(next) {
				return
			}
			continue
		}
		select {
		case <-w.arrived:
		case <-w.stopped:
			return
		}
	}
}

func (w *laggingWatch) next() (lateEvent, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.late) == 0 {
		return lateEvent{}, false
	}
	first := w.late[0]
	w.late = w.late[1:]
	return first, true
}

func (w *laggingWatch) send(late lateEvent) bool {
	if secret, ok := late.Object.(*corev1.Secret); ok {
		metadata := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}}
		secret.ObjectMeta.DeepCopyInto(&metadata.ObjectMeta)
		late.Object = metadata
	}
	if pod, ok := late.Object.(*corev1.Pod); ok && pod.Labels[attempts.SessionUIDLabel] == "" { // a selector makes it look deleted
		late.Type = watch.Deleted
	}
	select {
	case <-time.After(time.Until(late.due)):
	case <-w.stopped:
		return false
	}
	select {
	case w.to <- late.Event:
		return true
	case <-w.stopped:
		return false
	}
}
