package operator

import (
	"context"
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactorsession"
)

// Drain ends all sessions and takes the operator's finalizers off, before it is uninstalled. It works without the operator, and beside
// one. Everything is read live: it is done once, and by one process. It returns an error when it could not let everything go.
func Drain(ctx context.Context, kube *rest.Config, settings config.Drain, version string) error {
	logger := ctrl.LoggerFrom(ctx)
	logger.Info("the sessions are drained", "version", version, "apiURL", settings.APIURL,
		"namespaces", settings.Namespaces, "timeout", settings.Timeout.String())
	kube = clusterConfig(kube, settings.Config, version)
	options := client.Options{Scheme: newScheme(), FieldOwner: reactorsession.FieldOwner}
	live, err := client.New(kube, options)
	if err != nil {
		return fmt.Errorf("making the client of the cluster: %w", err)
	}
	clientset, err := kubernetes.NewForConfig(kube)
	if err != nil {
		return fmt.Errorf("making the client of events: %w", err)
	}
	// What an event tells stands in the log too: those that are on their way when the process ends may be lost.
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: clientset.EventsV1()})
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return fmt.Errorf("starting to record events: %w", err)
	}
	defer broadcaster.Shutdown()
	api, err := newReactorClient(settings.Config, version)
	if err != nil {
		return err
	}
	drainer := reactorsession.New(reactorsession.Options{
		Client:    live,
		Cache:     live,
		APIReader: live,
		Reactor:   api,
		APIURL:    settings.APIURL,
		Recorder:  broadcaster.NewRecorder(options.Scheme, reporter),
		Clock:     clock.RealClock{},
	})
	if err := drainer.Drain(ctx, settings.Namespaces, settings.Timeout); err != nil {
		return err
	}
	logger.Info("nothing is kept by the operator any more: it can be uninstalled")
	return nil
}
