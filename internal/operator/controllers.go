package operator

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactorsession"
	"github.com/reactor-operator/reactor-operator/internal/controller/reactortoken"
	"github.com/reactor-operator/reactor-operator/internal/metrics"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// reporter is the reporting controller of our events.
const reporter = "reactor-operator"

// adder adds one controller, with its metrics, to a manager.
type adder func(manager.Manager, config.Config, *reactor.Client, prometheus.Registerer) error

// adders has an entry for each of config.KnownControllers.
var adders = map[string]adder{
	config.ControllerTokens:   addTokens,
	config.ControllerSessions: addSessions,
}

// AddControllers adds the controllers that the settings name, and registers the operator's metrics.
func AddControllers(mgr manager.Manager, settings config.Config, version string, registry prometheus.Registerer) error {
	api, err := newReactorClient(settings, version)
	if err != nil {
		return err
	}
	if strings.HasPrefix(settings.APIURL, "http://") {
		mgr.GetLogger().Info("API keys are sent unencrypted: --api-url begins with http://", "apiURL", settings.APIURL)
	}
	if err := registry.Register(metrics.NewBuildCollector(version)); err != nil {
		return fmt.Errorf("registering the build's metric: %w", err)
	}
	for _, name := range config.KnownControllers() {
		if !slices.Contains(settings.Controllers, name) {
			continue
		}
		if err := adders[name](mgr, settings, api, registry); err != nil {
			return fmt.Errorf("adding the controller %s: %w", name, err)
		}
	}
	return nil
}

// newReactorClient reads the file of --ca-bundle, which is why its errors name the flags.
func newReactorClient(settings config.Config, version string) (*reactor.Client, error) {
	options := reactor.Options{BaseURL: settings.APIURL, UserAgent: userAgent(version)}
	if settings.CABundle != "" {
		bundle, err := os.ReadFile(settings.CABundle)
		if err != nil {
			return nil, fmt.Errorf("--ca-bundle: %w", err)
		}
		if len(bundle) == 0 {
			return nil, fmt.Errorf("--ca-bundle: %s is empty", settings.CABundle)
		}
		options.CABundle = bundle
	}
	api, err := reactor.NewClient(options)
	if err != nil {
		return nil, fmt.Errorf("--api-url or --ca-bundle: %w", err)
	}
	return api, nil
}

// addSessions adds the controller of ReactorSessions.
func addSessions(mgr manager.Manager, settings config.Config, api *reactor.Client, _ prometheus.Registerer) error {
	return reactorsession.New(reactorsession.Options{
		Client:                 mgr.GetClient(),
		Cache:                  mgr.GetCache(),
		APIReader:              mgr.GetAPIReader(),
		Reactor:                api,
		APIURL:                 settings.APIURL,
		Recorder:               mgr.GetEventRecorder(reporter),
		Clock:                  clock.RealClock{},
		SessionsPerKey:         settings.SessionsPerKey,
		SessionStartsPerMinute: settings.SessionStartsPerMinute,
		AllowPromptDelivery:    settings.AllowPromptDelivery,
	}).SetupWithManager(mgr)
}

// addTokens adds the controller of ReactorTokens.
func addTokens(mgr manager.Manager, settings config.Config, api *reactor.Client, registry prometheus.Registerer) error {
	minter, err := metrics.InstrumentMinter(api, clock.RealClock{}, registry)
	if err != nil {
		return fmt.Errorf("registering the metrics of mints: %w", err)
	}
	collector := metrics.NewTokenCollector(mgr.GetCache(), mgr.Elected(), settings.MetricsPerToken)
	tokens := reactortoken.New(reactortoken.Options{
		Client:              mgr.GetClient(),
		Cache:               mgr.GetCache(),
		APIReader:           mgr.GetAPIReader(),
		Minter:              minter,
		APIURL:              settings.APIURL,
		Recorder:            mgr.GetEventRecorder(reporter),
		Clock:               clock.RealClock{},
		MintQPS:             settings.MintQPS,
		MintBurst:           settings.MintBurst,
		AllowRestart:        settings.AllowRestart,
		AllowPromptDelivery: settings.AllowPromptDelivery,
	})
	return errors.Join(tokens.SetupWithManager(mgr), registry.Register(collector))
}
