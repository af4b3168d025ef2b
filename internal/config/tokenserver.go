package config

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/reactor-operator/reactor-operator/internal/logging"
)

// TokenServer is what `token-server` was told. The fields stand in the order of the help, which describes them.
type TokenServer struct {
	// OneTokenForAll is the folder of a mounted ReactorToken Secret, whose token everybody gets; empty for a token per caller.
	OneTokenForAll string
	// LeastLife is what a token must have left to be handed out.
	LeastLife time.Duration

	// APIKeyFile holds the API key for tokens per caller.
	APIKeyFile string
	// APIURL is where Reactor's API is, and CABundle a file with more PEM roots for it; empty for none.
	APIURL, CABundle string
	// Models, MaxSessions and MaxSessionDuration limit each token; 0 leaves a limit to Reactor.
	Models             []string
	MaxSessions        int32
	MaxSessionDuration time.Duration
	// Lifetime is asked for.
	Lifetime time.Duration
	// MintQPS and MintBurst bound the tokens that are requested, per second.
	MintQPS   float64
	MintBurst int
	// MaxCallers is how many callers are remembered, each with a token.
	MaxCallers int

	// OIDCIssuer is the URL of an OpenID Connect issuer, OIDCAudience the one that its tokens must be meant for, OIDCRequiredClaims what
	// must stand in them, as name=value, and OIDCCABundle a file with more PEM roots for it.
	OIDCIssuer, OIDCAudience string
	OIDCRequiredClaims       []string
	OIDCCABundle             string
	// ServiceAccounts, as namespace/name or namespace/*, may ask with tokens for ServiceAccountAudience.
	ServiceAccounts        []string
	ServiceAccountAudience string
	// ProxyHeader names the header in which an authenticating proxy tells who asks.
	ProxyHeader string
	// ProxyNetworks are the networks of proxies.
	ProxyNetworks []string
	// AllowAnonymous lets everybody ask.
	AllowAnonymous bool

	// AllowedOrigins are those of pages that are served elsewhere.
	AllowedOrigins []string
	// RequestsPerSecond bounds the requests of all callers, and separately those of unknown clients. CallerRequestsPerMinute bounds those of one
	// caller.
	RequestsPerSecond       float64
	CallerRequestsPerMinute int

	// Listen is host:port, and Path the route's.
	Listen, Path string
	// TLSCertFile and TLSKeyFile are PEM files; empty for plain HTTP.
	TLSCertFile, TLSKeyFile string
	// MetricsBindAddress and HealthProbeBindAddress are host:port, or Off.
	MetricsBindAddress, HealthProbeBindAddress string

	// LogLevel is one of logging.Levels, LogFormat one of logging.Formats.
	LogLevel, LogFormat string
	// Version asks for the version instead of a run.
	Version bool
}

const tokenServerHelp = `Serves tokens for Reactor to web pages, which never see the API key.

Usage:
  token-server [flags]

A page asks with GET or POST and gets {"jwt": "…"}; with ?expires_at=true also its expiry.
Say where tokens come from (--api-key-file or --one-token-for-all), and who may ask (--oidc-issuer,
--service-accounts, --proxy-header or --allow-anonymous). All limits are those of one replica.
`

// ParseTokenServer reads the arguments of token-server, without the program's name, and validates the result. For --help it writes the
// help to out and returns pflag.ErrHelp.
func ParseTokenServer(args []string, out io.Writer) (TokenServer, error) {
	server := TokenServer{
		LeastLife:               10 * time.Minute,
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
		{"Where tokens come from", s.sourceFlags()},
		{"A token for each caller", s.mintFlags()},
		{"Who may ask: one of these", s.callerFlags()},
		{"Limits", s.limitFlags()},
		{"Serving", s.servingFlags()},
		{"Logs", s.logFlags()},
	}
}

func (s *TokenServer) sourceFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringVar(&s.APIKeyFile, "api-key-file", s.APIKeyFile,
		"Give each caller a token of its own, requested with the API key in this `file`. The file is read again for each token.")
	flags.StringVar(&s.OneTokenForAll, "one-token-for-all", s.OneTokenForAll,
		"Give everybody the one token of a ReactorToken, whose Secret is mounted in this `folder`; no API key is needed. Any visitor can then end another's session, and all of them spend one maxSessions.")
	flags.DurationVar(&s.LeastLife, "least-life", s.LeastLife,
		"Never hand out a token that has less than this `duration` left: what a session of yours may need.")
	return flags
}

func (s *TokenServer) mintFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringSliceVar(&s.Models, "models", s.Models,
		"Comma-separated `list` of the models that tokens are for, such as reactor/helios.")
	flags.Int32Var(&s.MaxSessions, "max-sessions", s.MaxSessions,
		"Let each token start this `number` of sessions, 1 to 500; 0 leaves it to Reactor.")
	flags.DurationVar(&s.MaxSessionDuration, "max-session-duration", s.MaxSessionDuration,
		"Have Reactor end each session after this `duration`, up to 24h; 0 sets no limit.")
	flags.DurationVar(&s.Lifetime, "lifetime", s.Lifetime,
		"Ask for tokens that live for this `duration`, up to 6h. A caller's token is handed out again until it has less than --least-life left.")
	flags.Float64Var(&s.MintQPS, "mint-qps", s.MintQPS, "Request at most this `number` of tokens per second.")
	flags.IntVar(&s.MintBurst, "mint-burst", s.MintBurst, "Request this `number` of tokens at once, after a quiet time.")
	flags.IntVar(&s.MaxCallers, "max-callers", s.MaxCallers,
		"Remember this `number` of callers, with their tokens and limits. Who is forgotten gets a new token.")
	flags.StringVar(&s.APIURL, "api-url", s.APIURL,
		"The `URL` of Reactor's API. The API key is sent to it. With http:// it travels unencrypted: only for an emulator on this machine.")
	flags.StringVar(&s.CABundle, "ca-bundle", s.CABundle, "A PEM `file` of certificates to trust for the API, in addition to the system's. It is read again when it changes.")
	return flags
}

func (s *TokenServer) callerFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringVar(&s.OIDCIssuer, "oidc-issuer", s.OIDCIssuer, "Who has an ID token of the OpenID Connect issuer with this `URL`, as a bearer token.")
	flags.StringVar(&s.OIDCAudience, "oidc-audience", s.OIDCAudience, "The `audience` that ID tokens must be meant for: the client ID of your application.")
	flags.StringSliceVar(&s.OIDCRequiredClaims, "oidc-required-claims", s.OIDCRequiredClaims,
		"Comma-separated `list` of name=value: what else must stand in an ID token. A claim that is a list must have the value in it.")
	flags.StringVar(&s.OIDCCABundle, "oidc-ca-bundle", s.OIDCCABundle, "A PEM `file` of certificates to trust for the issuer, beside the system's.")
	flags.StringSliceVar(&s.ServiceAccounts, "service-accounts", s.ServiceAccounts,
		"Comma-separated `list` of service accounts of this cluster, as namespace/name or namespace/*. The server needs the right to create TokenReviews.")
	flags.StringVar(&s.ServiceAccountAudience, "service-account-audience", s.ServiceAccountAudience,
		"The `audience` that their tokens must be meant for, such as reactor-token-server.")
	flags.StringVar(&s.ProxyHeader, "proxy-header", s.ProxyHeader,
		"Whom an authenticating proxy names in this `header`, such as X-Auth-Request-User, if it comes from --proxy-networks.")
	flags.StringSliceVar(&s.ProxyNetworks, "proxy-networks", s.ProxyNetworks,
		"Comma-separated `list` of the networks of your proxies, such as 10.0.0.0/8. Their headers are believed, also X-Forwarded-For.")
	flags.BoolVar(&s.AllowAnonymous, "allow-anonymous", s.AllowAnonymous,
		"Everybody who reaches the server. Nobody is known then, so nobody gets the same token twice, and limits are those of an address.")
	return flags
}

func (s *TokenServer) limitFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringSliceVar(&s.AllowedOrigins, "allowed-origins", s.AllowedOrigins,
		"Comma-separated `list` of the origins of pages that are served elsewhere, such as https://app.example.com. Pages of other origins than these and the server's own are refused.")
	flags.Float64Var(&s.RequestsPerSecond, "requests-per-second", s.RequestsPerSecond, "Answer at most this `number` of requests per second, of all callers together; and at most as many of clients that cannot be told from attackers.")
	flags.IntVar(&s.CallerRequestsPerMinute, "caller-requests-per-minute", s.CallerRequestsPerMinute, "Answer at most this `number` of requests per minute of one caller.")
	return flags
}

func (s *TokenServer) servingFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringVar(&s.Listen, "listen", s.Listen, "The `host:port` that serves the route.")
	flags.StringVar(&s.Path, "path", s.Path, "The `path` of the route.")
	flags.StringVar(&s.TLSCertFile, "tls-cert-file", s.TLSCertFile, "Serve HTTPS with the certificates in this PEM `file`, which is read again when it changes.")
	flags.StringVar(&s.TLSKeyFile, "tls-key-file", s.TLSKeyFile, "The PEM `file` of their key.")
	flags.StringVar(&s.MetricsBindAddress, "metrics-bind-address", s.MetricsBindAddress, "The `host:port` that serves /metrics over HTTP; 0 turns it off.")
	flags.StringVar(&s.HealthProbeBindAddress, "health-probe-bind-address", s.HealthProbeBindAddress, "The `host:port` that serves /healthz and /readyz; 0 turns it off.")
	return flags
}

func (s *TokenServer) logFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringVar(&s.LogLevel, "log-level", s.LogLevel, "The least `level` that is written: "+strings.Join(logging.Levels(), ", ")+".")
	flags.StringVar(&s.LogFormat, "log-format", s.LogFormat, "The `format` of a line: "+strings.Join(logging.Formats(), ", ")+".")
	flags.BoolVar(&s.Version, "version", s.Version, "Print the version and exit.")
	return flags
}
