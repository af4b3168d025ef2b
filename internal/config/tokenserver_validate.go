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

// Validate returns all problems in one error. Each names the flag and says what to write instead.
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
	case s.LeastLife < 0:
		return problem("least-life", s.LeastLife, "a duration such as 10m, or 0")
	case (s.APIKeyFile == "") == (s.OneTokenForAll == ""):
		return errors.New("say where tokens come from: write either --api-key-file, for a token of each caller's own, or --one-token-for-all")
	case s.OneTokenForAll != "" && len(s.Models) > 0:
		return errors.New("--models: the one token of --one-token-for-all has its models already; write them into the ReactorToken")
	case s.OneTokenForAll != "":
		return nil
	}
	return errors.Join(
		checkAPIURL(s.APIURL), s.checkGrant(),
		checkRate("mint-qps", s.MintQPS, "5"), checkAtLeastOne("mint-burst", s.MintBurst), checkAtLeastOne("max-callers", s.MaxCallers),
	)
}

// What Reactor grants at the most.
const (
	longestTokenLife  = 6 * time.Hour
	longestSession    = 24 * time.Hour
	mostTokenSessions = 500
)

func (s *TokenServer) checkGrant() error {
	switch {
	case len(s.Models) == 0:
		return errors.New("--models: name the models that tokens are for; a token without them may do all that your account may do with sessions")
	case s.MaxSessions < 0 || s.MaxSessions > mostTokenSessions:
		return problem("max-sessions", s.MaxSessions, "a number from 1 to 500, or 0 to leave it to Reactor")
	case s.MaxSessionDuration < 0 || s.MaxSessionDuration > longestSession:
		return problem("max-session-duration", s.MaxSessionDuration, "a duration up to 24h, or 0 for no limit")
	case s.Lifetime < time.Minute || s.Lifetime > longestTokenLife:
		return problem("lifetime", s.Lifetime, "a duration from 1m to 6h")
	case s.Lifetime <= s.LeastLife:
		return problem("least-life", s.LeastLife, "a duration shorter than --lifetime")
	}
	for _, model := range s.Models {
		if model == "" || strings.ContainsAny(model, "* \t") {
			return problem("models", strings.Join(s.Models, ","), "exact names such as reactor/helios, with one comma between two of them")
		}
	}
	return nil
}

// checkCallers makes sure that somebody decides who may ask, and one alone.
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
		return errors.New("say who may ask: write one of --oidc-issuer, --service-accounts, --proxy-header; or --allow-anonymous, if everybody who reaches the server is to get tokens at your expense")
	}
	switch {
	case s.OIDCIssuer != "":
		return s.checkOIDC()
	case len(s.ServiceAccounts) > 0:
		return s.checkServiceAccounts()
	case s.ProxyHeader != "" && len(s.ProxyNetworks) == 0:
		return errors.New("--proxy-networks: name the networks of the proxy, such as 127.0.0.1/32 for one in the same pod: anybody else can write the header too")
	}
	return nil
}

func (s *TokenServer) checkOIDC() error {
	issuer, err := url.Parse(s.OIDCIssuer)
	if err != nil || issuer.Host == "" || issuer.User != nil || (issuer.Scheme != "https" && (issuer.Scheme != "http" || !isThisMachine(issuer.Hostname()))) {
		return errors.New("--oidc-issuer: write the URL of an issuer, such as https://accounts.example.com; with http:// anybody on the way could put keys of his own in the place of the issuer's, so that is only for one on this machine")
	}
	if s.OIDCAudience == "" {
		return errors.New("--oidc-audience: name the audience, or tokens that were meant for any other application would do")
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
		return errors.New("--service-account-audience: name an audience, such as reactor-token-server, or a token that a pod sends to anybody else would do here too")
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
			return problem("proxy-networks", network, "the networks of your proxies: in this one is everybody")
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

// checkPath takes a path as requests come with it: without a slash at its end, and with nothing that the way here would have taken out.
func checkPath(route string) error {
	if !strings.HasPrefix(route, "/") || strings.ContainsAny(route, "{} ?#%") || route == "/" || path.Clean(route) != route {
		return problem("path", route, "a path such as /api/token")
	}
	return nil
}

// checkListen makes sure that the route is served, on a port of its own.
func (s *TokenServer) checkListen() error {
	switch {
	case s.Listen == Off:
		return problem("listen", s.Listen, "host:port, such as :8080: without it nothing is served")
	case (s.Listen == s.MetricsBindAddress || s.Listen == s.HealthProbeBindAddress) && !strings.HasSuffix(s.Listen, ":0"):
		return problem("listen", s.Listen, "another port than those of --metrics-bind-address and --health-probe-bind-address")
	}
	return checkBindAddress("listen", s.Listen, ":8080")
}

func (s *TokenServer) checkTLS() error {
	if (s.TLSCertFile == "") != (s.TLSKeyFile == "") {
		return fmt.Errorf("--tls-cert-file=%s and --tls-key-file=%s: write both, or none", s.TLSCertFile, s.TLSKeyFile)
	}
	return nil
}
