package operator

import (
	"context"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/reactor-operator/reactor-operator/internal/config"
)

// Run runs the controllers until the context ends. It returns an error when they cannot start, or when another replica has
// taken the lead.
func Run(ctx context.Context, kube *rest.Config, settings config.Config, version string) error {
	mgr, err := NewManager(kube, settings, version)
	if err != nil {
		return err
	}
	mgr.GetLogger().Info("the operator starts", "version", version, "apiURL", settings.APIURL,
		"namespaces", settings.Namespaces, "controllers", settings.Controllers)
	if err := AddControllers(mgr, settings, version, metrics.Registry); err != nil { //nolint:contextcheck // it registers indexes, which needs no context
		return err
	}
	return mgr.Start(ctx)
}
