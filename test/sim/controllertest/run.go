package controllertest

import (
	"context"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/reactor-operator/reactor-operator/test/sim/apimodel"
)

// Run is one run of the operator, from its start to its end: a real manager with its controllers, queues, caches, watches and predicates.
type Run struct {
	api     *API
	end     context.CancelFunc
	ended   chan error
	crashed atomic.Bool
}

// Options are the settings of a run.
type Options struct {
	Logger      logr.Logger
	Concurrency int                                     // of each controller
	ByObject    map[client.Object]cache.ByObject        // what the caches hold
	Add         func(ctrl.Manager, client.Client) error // adds the controllers
}

// NewRun returns a run that Start starts.
func (a *API) NewRun() *Run {
	return &Run{api: a, end: func() {}, ended: make(chan error, 1)}
}

// Start starts the run. It opens no sockets. The controllers get the manager and their client.
func (r *Run) Start(options Options) error {
	access := r.api.ClientFor(r.crashed.Load)
	lag := r.api.lags()
	mgr, err := ctrl.NewManager(&rest.Config{Host: "http://no.such.host"}, ctrl.Options{
		Scheme:         access.Scheme(),
		Logger:         options.Logger,
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return access.RESTMapper(), nil },
		NewClient:      func(*rest.Config, client.Options) (client.Client, error) { return access, nil },
		Cache: cache.Options{
			DefaultTransform:            cache.TransformStripManagedFields(),
			ByObject:                    options.ByObject,
			ReaderFailOnMissingInformer: true,
			NewInformer: func(_ toolscache.ListerWatcher, of runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
				watched := watchOptions(access, of, options.ByObject)
				watched.Lag = lag
				return toolscache.NewSharedIndexInformer(r.api.model.ListerWatcher(of, watched), of, resync, indexers)
			},
		},
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true), MaxConcurrentReconciles: options.Concurrency},
	})
	if err != nil {
		return err
	}
	if err := options.Add(mgr, access); err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	r.end = end
	go func() { r.ended <- mgr.Start(ctx) }()
	return nil
}

// lags returns the lag of each kind as it is now.
func (a *API) lags() func(kind string) time.Duration {
	byDefault, byKind := a.CacheLag, maps.Clone(a.KindLag)
	return func(kind string) time.Duration {
		if lag, ok := byKind[kind]; ok {
			return lag
		}
		return byDefault
	}
}

// watchOptions are the selectors with which a cache lists and watches the kind of an object.
func watchOptions(access client.Client, of runtime.Object, byObject map[client.Object]cache.ByObject) apimodel.WatchOptions {
	options := apimodel.WatchOptions{User: "informers"}
	kind, _ := apiutil.GVKForObject(of, access.Scheme()) // ListerWatcher reports an unknown kind
	for object, by := range byObject {
		if other, err := apiutil.GVKForObject(object, access.Scheme()); err == nil && other == kind {
			options.Label, options.Field = by.Label, by.Field
		}
	}
	return options
}

// Stop ends the run the way a signal does, and waits until it ended.
func (r *Run) Stop() error {
	r.end()
	return <-r.ended
}

// Crash ends the run so that no further request reaches the API server. It does not wait, so that the run itself may call it.
func (r *Run) Crash() {
	r.crashed.Store(true)
	r.end()
}

// Crashed reports whether the run crashed.
func (r *Run) Crashed() bool { return r.crashed.Load() }
