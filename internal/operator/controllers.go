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

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactorsession"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactortoken"
	"github.com/reactor-operator/reactor-operator/internal/metrics"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// reporter is the reporting controller of our events.
const reporter = "reactor-operator"

// dependencies are what the controllers use in addition to the client and the cache of the manager.
type dependencies struct {
	settings config.Config
	api      *reactor.Client
	minter   metrics.Minter // the api, with its requests for tokens counted
	events   events.EventRecorder
	registry prometheus.Registerer
}

// AddControllers adds the controllers that the settings name, and registers the operator's metrics.
func AddControllers(mgr *Manager, settings config.Config, version string, registry prometheus.Registerer) error {
	api, err := newReactorClient(settings, version, mgr.GetLogger())
	if err != nil {
		return err
	}
	if strings.HasPrefix(settings.APIURL, "http://") {
		mgr.GetLogger().Info("API keys are sent unencrypted, because --api-url starts with http://", "apiURL", settings.APIURL)
	}
	if err := errors.Join(registry.Register(metrics.NewBuildCollector(version)), registry.Register(metrics.NewLeaderCollector(mgr.Elected()))); err != nil {
		return fmt.Errorf("registering the metrics of the process: %w", err)
	}
	minter, err := metrics.InstrumentMinter(api, clock.RealClock{}, registry)
	if err != nil {
		return fmt.Errorf("registering the metrics of mints: %w", err)
	}
	d := dependencies{settings: settings, api: api, minter: minter, events: mgr.recorder, registry: registry}
	if slices.Contains(settings.Controllers, config.ControllerTokens) {
		if err := addTokens(mgr, d); err != nil {
			return fmt.Errorf("adding the controller %s: %w", config.ControllerTokens, err)
		}
	}
	if slices.Contains(settings.Controllers, config.ControllerSessions) {
		if err := addSessions(mgr, d); err != nil {
			return fmt.Errorf("adding the controller %s: %w", config.ControllerSessions, err)
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

// addTokens adds the controller of ReactorTokens, with its metrics.
func addTokens(mgr manager.Manager, d dependencies) error {
	tokens := reactortoken.New(reactortoken.Options{
		Client:              mgr.GetClient(),
		Cache:               mgr.GetCache(),
		APIReader:           mgr.GetAPIReader(),
		Minter:              d.minter,
		APIURL:              d.settings.APIURL,
		Recorder:            d.events,
		Clock:               clock.RealClock{},
		Mint:                mintqueue.Limits{QPS: d.settings.MintQPS, Burst: d.settings.MintBurst},
		AllowRestart:        d.settings.AllowRestart,
		AllowPromptDelivery: d.settings.AllowPromptDelivery,
	})
	return errors.Join(
		tokens.SetupWithManager(mgr),
		d.registry.Register(metrics.NewTokenCollector(mgr.GetCache(), mgr.Elected(), d.settings.MetricsPerObject)),
	)
}

// sessionAPI is the API of Reactor for the controller of ReactorSessions. Its requests for tokens are counted like those of ReactorTokens.
type sessionAPI struct {
	*reactor.Client
	metrics.Minter
}

// Mint exchanges an API key for a token.
func (a sessionAPI) Mint(ctx context.Context, request reactor.MintRequest) (reactor.Token, error) {
	return a.Minter.Mint(ctx, request)
}

// addSessions adds the controller of ReactorSessions, with its metrics.
func addSessions(mgr manager.Manager, d dependencies) error {
	attempts, err := metrics.NewAttempts(d.registry)
	if err != nil {
		return fmt.Errorf("registering the metrics of attempts: %w", err)
	}
	sessions := reactorsession.New(reactorsession.Options{
		Client:                 mgr.GetClient(),
		Cache:                  mgr.GetCache(),
		Lister:                 reactorsession.IndexedLister(mgr.GetCache()),
		APIReader:              mgr.GetAPIReader(),
		Reactor:                sessionAPI{d.api, d.minter},
		APIURL:                 d.settings.APIURL,
		Recorder:               d.events,
		Clock:                  clock.RealClock{},
		Metrics:                attempts,
		SessionsPerKey:         d.settings.SessionsPerKey,
		SessionStartsPerMinute: d.settings.SessionStartsPerMinute,
		AllowPromptDelivery:    d.settings.AllowPromptDelivery,
	})
	return errors.Join(
		sessions.SetupWithManager(mgr),
		d.registry.Register(metrics.NewSessionCollector(mgr.GetCache(), mgr.Elected(), d.settings.MetricsPerObject)),
	)
}
