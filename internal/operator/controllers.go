package operator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	typedeventsv1 "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactorsession"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactortoken"
	"github.com/reactor-operator/reactor-operator/internal/metrics"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// reporter is the reporting controller of our events.
const reporter = "reactor-operator"

// adder adds one controller, with its metrics, to a manager.
type adder func(manager.Manager, config.Config, externalClients, prometheus.Registerer) error

// externalClients are what the controllers use in addition to the client and the cache of the manager.
type externalClients struct {
	reactor countedAPI
	events  events.EventRecorder
}

// countedAPI is Reactor's API. Whoever asks it for a token, the request is counted.
type countedAPI struct {
	*reactor.Client
	minter metrics.Minter
}

// Mint exchanges an API key for a token.
func (a countedAPI) Mint(ctx context.Context, request reactor.MintRequest) (reactor.Token, error) {
	return a.minter.Mint(ctx, request)
}

// adders has an entry for each of config.KnownControllers.
var adders = map[string]adder{
	config.ControllerTokens:   addTokens,
	config.ControllerSessions: addSessions,
}

// AddControllers adds the controllers that the settings name, and registers the operator's metrics.
func AddControllers(mgr *Manager, settings config.Config, version string, registry prometheus.Registerer) error {
	api, err := newReactorClient(settings, version, mgr.GetLogger())
	if err != nil {
		return err
	}
	if strings.HasPrefix(settings.APIURL, "http://") {
		mgr.GetLogger().Info("API keys are sent unencrypted: --api-url begins with http://", "apiURL", settings.APIURL)
	}
	if err := errors.Join(registry.Register(metrics.NewBuildCollector(version)), registry.Register(metrics.NewLeaderCollector(mgr.Elected()))); err != nil {
		return fmt.Errorf("registering the metrics of the process: %w", err)
	}
	minter, err := metrics.InstrumentMinter(api, clock.RealClock{}, registry)
	if err != nil {
		return fmt.Errorf("registering the metrics of mints: %w", err)
	}
	for _, name := range config.KnownControllers() {
		if !slices.Contains(settings.Controllers, name) {
			continue
		}
		if err := adders[name](mgr, settings, externalClients{countedAPI{Client: api, minter: minter}, mgr.recorder}, registry); err != nil {
			return fmt.Errorf("adding the controller %s: %w", name, err)
		}
	}
	return nil
}

func newRecorder(kube *rest.Config, http *http.Client, scheme *runtime.Scheme, logger logr.Logger) (*notice.Recorder, error) {
	client, err := typedeventsv1.NewForConfigAndClient(kube, http)
	if err != nil {
		return nil, fmt.Errorf("making the client of events: %w", err)
	}
	return notice.NewRecorder(client, scheme, clock.RealClock{}, reporter, logger), nil
}

// newReactorClient makes the client of Reactor's API. Its errors name the flags.
func newReactorClient(settings config.Config, version string, logger logr.Logger) (*reactor.Client, error) {
	options := reactor.Options{
		BaseURL:      settings.APIURL,
		UserAgent:    userAgent(version),
		CABundleFile: settings.CABundle,
		CABundleReloaded: func(err error) {
			if err != nil {
				logger.Error(err, "the file of --ca-bundle changed and cannot be used: the previous certificates stay in use until it is corrected", "file", settings.CABundle)
				return
			}
			logger.Info("the file of --ca-bundle changed: its certificates are in use", "file", settings.CABundle)
		},
	}
	api, err := reactor.NewClient(options)
	if err != nil {
		return nil, fmt.Errorf("--api-url or --ca-bundle: %w", err)
	}
	return api, nil
}

// addSessions adds the controller of ReactorSessions.
func addSessions(mgr manager.Manager, settings config.Config, with externalClients, registry prometheus.Registerer) error {
	attempts, err := metrics.NewAttempts(registry)
	if err != nil {
		return fmt.Errorf("registering the metrics of attempts: %w", err)
	}
	collector := metrics.NewSessionCollector(mgr.GetCache(), mgr.Elected(), settings.MetricsPerObject)
	sessions := reactorsession.New(reactorsession.Options{
		Client:                 mgr.GetClient(),
		Cache:                  mgr.GetCache(),
		APIReader:              mgr.GetAPIReader(),
		Reactor:                with.reactor,
		APIURL:                 settings.APIURL,
		Recorder:               with.events,
		Clock:                  clock.RealClock{},
		Tally:                  attempts,
		SessionsPerKey:         settings.SessionsPerKey,
		SessionStartsPerMinute: settings.SessionStartsPerMinute,
		AllowPromptDelivery:    settings.AllowPromptDelivery,
	})
	return errors.Join(
		sessions.SetupWithManager(mgr),
		metrics.Index(context.Background(), mgr.GetFieldIndexer(), &v1alpha1.ReactorSession{}),
		registry.Register(collector),
	)
}

// addTokens adds the controller of ReactorTokens.
func addTokens(mgr manager.Manager, settings config.Config, with externalClients, registry prometheus.Registerer) error {
	collector := metrics.NewTokenCollector(mgr.GetCache(), mgr.Elected(), settings.MetricsPerObject)
	tokens := reactortoken.New(reactortoken.Options{
		Client:              mgr.GetClient(),
		Cache:               mgr.GetCache(),
		APIReader:           mgr.GetAPIReader(),
		Minter:              with.reactor,
		APIURL:              settings.APIURL,
		Recorder:            with.events,
		Clock:               clock.RealClock{},
		MintQPS:             settings.MintQPS,
		MintBurst:           settings.MintBurst,
		AllowRestart:        settings.AllowRestart,
		AllowPromptDelivery: settings.AllowPromptDelivery,
	})
	return errors.Join(
		tokens.SetupWithManager(mgr),
		metrics.Index(context.Background(), mgr.GetFieldIndexer(), &v1alpha1.ReactorToken{}),
		registry.Register(collector),
	)
}
