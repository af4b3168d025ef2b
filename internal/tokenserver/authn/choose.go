package authn

import (
	"errors"
	"fmt"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/reactor-operator/reactor-operator/internal/config"
)

// Choose returns the authenticator that the flags choose. config.TokenServer.Validate requires exactly one.
func Choose(settings config.TokenServer) (Authenticator, error) {
	switch {
	case settings.OIDCIssuer != "":
		transport, err := issuerTransport(settings.OIDCCABundle)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-bundle: %w", err)
		}
		return NewOIDC(settings, transport, clock.RealClock{}), nil
	case len(settings.ServiceAccounts) > 0:
		kube, err := ctrl.GetConfig()
		if err != nil {
			return nil, fmt.Errorf("--service-accounts: %w", err)
		}
		return NewServiceAccounts(settings, kube)
	case settings.ProxyHeader != "":
		networks, err := ParseNetworks(settings.ProxyNetworks)
		return &proxyHeader{header: settings.ProxyHeader, networks: networks}, err
	case settings.AllowAnonymous:
		return Anonymous{}, nil
	}
	return nil, errors.New("no way to authenticate callers is set")
}
