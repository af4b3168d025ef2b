package operator

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactorsession"
	"github.com/reactor-operator/reactor-operator/internal/drain"
)

// Drain ends all sessions and removes the operator's finalizers before the operator is uninstalled. It works with and without a running operator.
// Everything is read live: it is done once, and by one process. It returns an error if it could not remove all finalizers.
func Drain(ctx context.Context, kube *rest.Config, settings config.Drain, version string) error {
	logger := ctrl.LoggerFrom(ctx)
	logger.Info("the sessions are drained", "version", version, "apiURL", settings.APIURL,
		"namespaces", settings.Namespaces, "timeout", settings.Timeout.String())
	kube = clusterConfig(kube, settings.Config, version)
	options := client.Options{Scheme: newScheme(), FieldOwner: attempts.FieldOwner}
	live, err := client.New(kube, options)
	if err != nil {
		return fmt.Errorf("making the client of the cluster: %w", err)
	}
	access, err := rest.HTTPClientFor(kube)
	if err != nil {
		return fmt.Errorf("making the client of events: %w", err)
	}
	recorder, err := newRecorder(kube, access, options.Scheme, logger)
	if err != nil {
		return err
	}
	stopRecorder := recorder.Start() //nolint:contextcheck // it writes what is queued when the context has ended
	defer stopRecorder()
	api, err := newReactorClient(settings.Config, version, logger)
	if err != nil {
		return err
	}
	sessions := reactorsession.New(reactorsession.Options{
		Client:    live,
		Cache:     live,
		Lister:    reactorsession.LiveLister(live),
		APIReader: live,
		Reactor:   api,
		APIURL:    settings.APIURL,
		Recorder:  recorder,
		Clock:     clock.RealClock{},
	})
	drainer := drain.Drainer{Client: live, Sessions: sessions, Recorder: recorder}
	if err := drainer.Run(ctx, settings.Namespaces, settings.Timeout); err != nil {
		return err
	}
	logger.Info("no object has a finalizer of the operator anymore: the operator can be uninstalled")
	return nil
}
