package config

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/reactor-operator/reactor-operator/internal/logging"
)

// TokenServer holds the flags of `token-server`. The fields are in the order of the help, which describes them.
type TokenServer struct {
	// SharedTokenDir is the directory of a mounted ReactorToken Secret, whose token all callers get; empty for a token per caller.
	SharedTokenDir string
	// MinRemainingLifetime is the lifetime that a token must have left to be returned.
	MinRemainingLifetime time.Duration

	// APIKeyFile holds the API key for tokens per caller.
	APIKeyFile string
	// APIURL is the URL of Reactor's API, and CABundle a file with additional PEM roots for it; empty for none.
	APIURL, CABundle string
	// Models, MaxSessions and MaxSessionDuration limit each token; 0 leaves a limit to Reactor.
	Models             []string
	MaxSessions        int32
	MaxSessionDuration time.Duration
	// Lifetime is the requested lifetime of each token.
	Lifetime time.Duration
	// MintQPS and MintBurst limit the token requests, per second.
	MintQPS   float64
	MintBurst int
	// MaxCallers is the maximum number of callers in memory, each with a token.
	MaxCallers int

	// OIDCIssuer is the URL of an OpenID Connect issuer, OIDCAudience the audience of its tokens, OIDCRequiredClaims the claims that they must
	// have, as name=value, and OIDCCABundle a file with additional PEM roots for the issuer.
	OIDCIssuer, OIDCAudience string
	OIDCRequiredClaims       []string
	OIDCCABundle             string
	// ServiceAccounts, as namespace/name or namespace/*, may request tokens. Their own tokens must be for ServiceAccountAudience.
	ServiceAccounts        []string
	ServiceAccountAudience string
	// ProxyHeader is the header in which an authenticating proxy names the caller.
	ProxyHeader string
	// ProxyNetworks are the networks of proxies.
	ProxyNetworks []string
	// AllowAnonymous accepts requests without credentials.
	AllowAnonymous bool

	// AllowedOrigins are the origins of pages that another server serves.
	AllowedOrigins []string
	// RequestsPerSecond limits the requests of all callers, and separately those of clients without verified credentials.
	// CallerRequestsPerMinute limits those of one caller.
	RequestsPerSecond       float64
	CallerRequestsPerMinute int

	// Listen is the host:port, and Path the path, of the route.
	Listen, Path string
	// TLSCertFile and TLSKeyFile are PEM files; empty for plain HTTP.
	TLSCertFile, TLSKeyFile string
	// MetricsBindAddress and HealthProbeBindAddress are host:port, or Off.
	MetricsBindAddress, HealthProbeBindAddress string

	// LogLevel is one of logging.Levels, LogFormat one of logging.Formats.
	LogLevel, LogFormat string
	// Version prints the version instead of serving.
	Version bool
}

const tokenServerHelp = `Serves tokens for Reactor to web pages, which never see the API key.

Usage:
  token-server [flags]

A page sends GET or POST and receives {"jwt": "…"}; with ?expires_at=true also the expiry.
Choose the source of the tokens (--api-key-file or --shared-token-dir), and how callers
authenticate (--oidc-issuer, --service-accounts, --proxy-header or --allow-anonymous).
All limits apply to each replica.
`

// ParseTokenServer reads the arguments of token-server, without the program's name, and validates the result. For --help it writes the
// help to out and returns pflag.ErrHelp.
func ParseTokenServer(args []string, out io.Writer) (TokenServer, error) {
	server := TokenServer{
		MinRemainingLifetime:    10 * time.Minute,
		APIURL:                  "https://api.reactor.inc",
		MaxSessions:             10,
		Lifetime:                time.Hour,
		MintQPS:                 5,
		MintBurst:               20,
		MaxCallers:              10_000,
		RequestsPerSecond:       100,
		CallerRequestsPerMinute: 30,
		Listen:                  ":8080",
		Path:                    "/api/token",
		MetricsBindAddress:      ":8082",
		HealthProbeBindAddress:  ":8081",
		LogLevel:                logging.LevelInfo,
		LogFormat:               logging.FormatJSON,
	}
	if err := parse(tokenServerHelp, server.flagGroups(), args, out); err != nil {
		return TokenServer{}, err
	}
	if server.Version {
		return server, nil
	}
	return server, server.Validate()
}

func (s *TokenServer) flagGroups() []flagGroup {
	return []flagGroup{
		{"Source of the tokens", s.sourceFlags()},
		{"A token for each caller", s.mintFlags()},
		{"Authentication of callers (choose one)", s.callerFlags()},
		{"Limits", s.limitFlags()},
		{"Serving", s.servingFlags()},
		{"Logs", s.logFlags()},
	}
}

func (s *TokenServer) sourceFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringVar(&s.APIKeyFile, "api-key-file", s.APIKeyFile,
		"Give each caller a separate token, requested with the API key in this `file`. The server reads the file again for each token.")
	flags.StringVar(&s.SharedTokenDir, "shared-token-dir", s.SharedTokenDir,
		"Give all callers the token of one ReactorToken, whose Secret is mounted in this `directory`. No API key is needed. Each visitor can then end the sessions of other visitors, and all share one maxSessions.")
	flags.DurationVar(&s.MinRemainingLifetime, "min-remaining-lifetime", s.MinRemainingLifetime,
		"Return only tokens that are valid for at least this `duration`. Choose the time that a session may need.")
	return flags
}

func (s *TokenServer) mintFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringSliceVar(&s.Models, "models", s.Models,
		"Comma-separated `list` of the models that tokens allow, such as reactor/helios.")
	flags.Int32Var(&s.MaxSessions, "max-sessions", s.MaxSessions,
		"Maximum `number` of sessions that each token can start, 1 to 500; 0 uses Reactor's default.")
	flags.DurationVar(&s.MaxSessionDuration, "max-session-duration", s.MaxSessionDuration,
		"Reactor ends each session after this `duration`, at most 24h; 0 sets no limit.")
	flags.DurationVar(&s.Lifetime, "lifetime", s.Lifetime,
		"Requested lifetime of tokens, a `duration` of at most 6h. The server returns the same token to a caller again until less than --min-remaining-lifetime is left.")
	flags.Float64Var(&s.MintQPS, "mint-qps", s.MintQPS, "Maximum `number` of token requests to Reactor per second.")
	flags.IntVar(&s.MintBurst, "mint-burst", s.MintBurst, "Maximum `number` of token requests in a burst, after an idle period.")
	flags.IntVar(&s.MaxCallers, "max-callers", s.MaxCallers,
		"Maximum `number` of callers to keep in memory, with their tokens and limits. A caller that is no longer in memory gets a new token.")
	flags.StringVar(&s.APIURL, "api-url", s.APIURL,
		"The `URL` of Reactor's API. The server sends the API key to it. http:// sends the key unencrypted: use it only for an emulator on this machine.")
	flags.StringVar(&s.CABundle, "ca-bundle", s.CABundle, "A PEM `file` of certificates to trust for the API, in addition to the system certificates. The server reads it again when it changes.")
	return flags
}

func (s *TokenServer) callerFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringVar(&s.OIDCIssuer, "oidc-issuer", s.OIDCIssuer, "Accept ID tokens of the OpenID Connect issuer with this `URL`, as bearer tokens.")
	flags.StringVar(&s.OIDCAudience, "oidc-audience", s.OIDCAudience, "The `audience` that ID tokens must have: the client ID of your application.")
	flags.StringSliceVar(&s.OIDCRequiredClaims, "oidc-required-claims", s.OIDCRequiredClaims,
		"Comma-separated `list` of claims that an ID token must have, as name=value. A claim that is a list must contain the value.")
	flags.StringVar(&s.OIDCCABundle, "oidc-ca-bundle", s.OIDCCABundle, "A PEM `file` of certificates to trust for the issuer, in addition to the system certificates.")
	flags.StringSliceVar(&s.ServiceAccounts, "service-accounts", s.ServiceAccounts,
		"Comma-separated `list` of service accounts of this cluster to accept, as namespace/name or namespace/*. The server needs permission to create TokenReviews.")
	flags.StringVar(&s.ServiceAccountAudience, "service-account-audience", s.ServiceAccountAudience,
		"The `audience` that tokens of service accounts must have, such as reactor-token-server.")
	flags.StringVar(&s.ProxyHeader, "proxy-header", s.ProxyHeader,
		"Accept the caller that an authenticating proxy names in this `header`, such as X-Auth-Request-User, if the request comes from --proxy-networks.")
	flags.StringSliceVar(&s.ProxyNetworks, "proxy-networks", s.ProxyNetworks,
		"Comma-separated `list` of the networks of your proxies, such as 10.0.0.0/8. The server trusts their headers, including X-Forwarded-For.")
	flags.BoolVar(&s.AllowAnonymous, "allow-anonymous", s.AllowAnonymous,
		"Accept every client that can reach the server. Callers have no identity then: each request gets a new token, and limits apply to each address.")
	return flags
}

func (s *TokenServer) limitFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringSliceVar(&s.AllowedOrigins, "allowed-origins", s.AllowedOrigins,
		"Comma-separated `list` of the origins of pages that another server serves, such as https://app.example.com. The server accepts its own origin and these, and rejects all others.")
	flags.Float64Var(&s.RequestsPerSecond, "requests-per-second", s.RequestsPerSecond, "Maximum `number` of requests per second, for all callers together. Requests without verified credentials have a separate limit of the same size.")
	flags.IntVar(&s.CallerRequestsPerMinute, "caller-requests-per-minute", s.CallerRequestsPerMinute, "Maximum `number` of requests per minute from one caller.")
	return flags
}

func (s *TokenServer) servingFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringVar(&s.Listen, "listen", s.Listen, "The `host:port` that serves the route.")
	flags.StringVar(&s.Path, "path", s.Path, "The `path` of the route.")
	flags.StringVar(&s.TLSCertFile, "tls-cert-file", s.TLSCertFile, "Serve HTTPS with the certificates in this PEM `file`. The server reads it again when it changes.")
	flags.StringVar(&s.TLSKeyFile, "tls-key-file", s.TLSKeyFile, "The PEM `file` with the private key for --tls-cert-file.")
	flags.StringVar(&s.MetricsBindAddress, "metrics-bind-address", s.MetricsBindAddress, "The `host:port` that serves /metrics over HTTP; 0 turns it off.")
	flags.StringVar(&s.HealthProbeBindAddress, "health-probe-bind-address", s.HealthProbeBindAddress, "The `host:port` that serves /healthz and /readyz; 0 turns it off.")
	return flags
}

func (s *TokenServer) logFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringVar(&s.LogLevel, "log-level", s.LogLevel, "The lowest `level` that is logged: "+strings.Join(logging.Levels(), ", ")+".")
	flags.StringVar(&s.LogFormat, "log-format", s.LogFormat, "The `format` of a log line: "+strings.Join(logging.Formats(), ", ")+".")
	flags.BoolVar(&s.Version, "version", s.Version, "Print the version and exit.")
	return flags
}
