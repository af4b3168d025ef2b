package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/logging"
)

// Validate returns all problems in one error. Each names the flag and a correct value.
func (s *TokenServer) Validate() error {
	return errors.Join(
		s.checkSource(),
		s.checkCallers(),
		checkNetworks(s.ProxyNetworks),
		checkOrigins(s.AllowedOrigins),
		checkRate("requests-per-second", s.RequestsPerSecond, "100"),
		checkAtLeastOne("caller-requests-per-minute", s.CallerRequestsPerMinute),
		s.checkListen(),
		checkPath(s.Path),
		s.checkTLS(),
		checkBindAddress("metrics-bind-address", s.MetricsBindAddress, ":8082"),
		checkBindAddress("health-probe-bind-address", s.HealthProbeBindAddress, ":8081"),
		checkDistinctPorts(s.MetricsBindAddress, s.HealthProbeBindAddress),
		checkOneOf("log-level", s.LogLevel, logging.Levels()),
		checkOneOf("log-format", s.LogFormat, logging.Formats()),
	)
}

func (s *TokenServer) checkSource() error {
	switch {
	case s.MinRemainingLifetime < 0:
		return problem("min-remaining-lifetime", s.MinRemainingLifetime, "a duration such as 10m, or 0")
	case (s.APIKeyFile == "") == (s.SharedTokenDir == ""):
		return errors.New("no source of tokens, or two: set either --api-key-file, for a separate token for each caller, or --shared-token-dir")
	case s.SharedTokenDir != "" && len(s.Models) > 0:
		return errors.New("--models: the token of --shared-token-dir already has its models; set them in the ReactorToken")
	case s.SharedTokenDir != "":
		return nil
	}
	return errors.Join(
		checkAPIURL(s.APIURL), s.checkGrant(),
		checkRate("mint-qps", s.MintQPS, "5"), checkAtLeastOne("mint-burst", s.MintBurst), checkAtLeastOne("max-callers", s.MaxCallers),
	)
}

// The maximums that Reactor grants.
const (
	maxTokenLifetime   = 6 * time.Hour
	maxSessionDuration = 24 * time.Hour
	maxTokenSessions   = 500
)

func (s *TokenServer) checkGrant() error {
	switch {
	case len(s.Models) == 0:
		return errors.New("--models: name the models that tokens allow; a token without models can do everything with sessions that your account can do")
	case s.MaxSessions < 0 || s.MaxSessions > maxTokenSessions:
		return problem("max-sessions", s.MaxSessions, "a number from 1 to 500, or 0 for Reactor's default")
	case s.MaxSessionDuration < 0 || s.MaxSessionDuration > maxSessionDuration:
		return problem("max-session-duration", s.MaxSessionDuration, "a duration up to 24h, or 0 for no limit")
	case s.Lifetime < time.Minute || s.Lifetime > maxTokenLifetime:
		return problem("lifetime", s.Lifetime, "a duration from 1m to 6h")
	case s.Lifetime <= s.MinRemainingLifetime:
		return problem("min-remaining-lifetime", s.MinRemainingLifetime, "a duration shorter than --lifetime")
	}
	for _, model := range s.Models {
		if model == "" || strings.ContainsAny(model, "* \t") {
			return problem("models", strings.Join(s.Models, ","), "exact names such as reactor/helios, separated by commas")
		}
	}
	return nil
}

// checkCallers requires exactly one way to authenticate callers.
func (s *TokenServer) checkCallers() error {
	var chosen []string
	for flag, given := range map[string]bool{
		"--oidc-issuer": s.OIDCIssuer != "", "--service-accounts": len(s.ServiceAccounts) > 0,
		"--proxy-header": s.ProxyHeader != "", "--allow-anonymous": s.AllowAnonymous,
	} {
		if given {
			chosen = append(chosen, flag)
		}
	}
	if len(chosen) != 1 {
		return errors.New("choose how callers authenticate: set one of --oidc-issuer, --service-accounts and --proxy-header; or --allow-anonymous, if every client that can reach the server should get tokens at your expense")
	}
	switch {
	case s.OIDCIssuer != "":
		return s.checkOIDC()
	case len(s.ServiceAccounts) > 0:
		return s.checkServiceAccounts()
	case s.ProxyHeader != "" && len(s.ProxyNetworks) == 0:
		return errors.New("--proxy-networks: name the networks of the proxy, such as 127.0.0.1/32 for a proxy in the same pod; without them every client could set the header itself")
	}
	return nil
}

func (s *TokenServer) checkOIDC() error {
	issuer, err := url.Parse(s.OIDCIssuer)
	if err != nil || issuer.Host == "" || issuer.User != nil || (issuer.Scheme != "https" && (issuer.Scheme != "http" || !isThisMachine(issuer.Hostname()))) {
		return errors.New("--oidc-issuer: write the URL of an issuer, such as https://accounts.example.com; http:// is only for an issuer on this machine, because an attacker on the network could replace the issuer's keys")
	}
	if s.OIDCAudience == "" {
		return errors.New("--oidc-audience: name the audience; without it the server would accept tokens for any other application")
	}
	for _, claim := range s.OIDCRequiredClaims {
		if name, value, ok := strings.Cut(claim, "="); !ok || name == "" || value == "" {
			return problem("oidc-required-claims", claim, "name=value, such as email_verified=true")
		}
	}
	return nil
}

func isThisMachine(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && address.IsLoopback())
}

func (s *TokenServer) checkServiceAccounts() error {
	if s.ServiceAccountAudience == "" {
		return errors.New("--service-account-audience: name an audience, such as reactor-token-server; without it the server would accept tokens that a pod sends to any other server")
	}
	for _, account := range s.ServiceAccounts {
		namespace, name, ok := strings.Cut(account, "/")
		if !ok || namespace == "" || name == "" || strings.Contains(name, "/") || (strings.Contains(account, "*") && name != "*") {
			return problem("service-accounts", account, "namespace/name, or namespace/* for all of a namespace")
		}
	}
	return nil
}

func checkNetworks(networks []string) error {
	for _, network := range networks {
		parsed, err := netip.ParsePrefix(network)
		if err != nil {
			return problem("proxy-networks", network, "a network such as 10.0.0.0/8, or 127.0.0.1/32")
		}
		if parsed.Bits() == 0 {
			return problem("proxy-networks", network, "the networks of your proxies; this one contains every address")
		}
	}
	return nil
}

func checkOrigins(origins []string) error {
	for _, origin := range origins {
		parsed, err := url.Parse(origin)
		if err != nil || parsed.Scheme == "" || parsed.Host == "" || strings.Contains(origin, "*") || origin != parsed.Scheme+"://"+parsed.Host {
			return problem("allowed-origins", origin, "an origin without path, such as https://app.example.com")
		}
	}
	return nil
}

// checkPath accepts a path in the form that requests have: no trailing slash, and nothing that net/http would clean up.
func checkPath(route string) error {
	if !strings.HasPrefix(route, "/") || strings.ContainsAny(route, "{} ?#%") || route == "/" || path.Clean(route) != route {
		return problem("path", route, "a path such as /api/token")
	}
	return nil
}

// checkListen requires that the route is served, on a separate port.
func (s *TokenServer) checkListen() error {
	switch {
	case s.Listen == Off:
		return problem("listen", s.Listen, "host:port, such as :8080; without it the route is not served")
	case (s.Listen == s.MetricsBindAddress || s.Listen == s.HealthProbeBindAddress) && !strings.HasSuffix(s.Listen, ":0"):
		return problem("listen", s.Listen, "a port that differs from those of --metrics-bind-address and --health-probe-bind-address")
	}
	return checkBindAddress("listen", s.Listen, ":8080")
}

func (s *TokenServer) checkTLS() error {
	if (s.TLSCertFile == "") != (s.TLSKeyFile == "") {
		return fmt.Errorf("--tls-cert-file=%s and --tls-key-file=%s: set both, or neither", s.TLSCertFile, s.TLSKeyFile)
	}
	return nil
}
