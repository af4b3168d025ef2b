// Package config is everything that can be set about the operator: one struct, read from flags and checked as a whole.
//
// Nothing is read from the environment. In particular, the operator does not read REACTOR_API_URL, although Reactor's own tools do: a user
// who sets the address of the API can collect API keys, so it must be a flag, which is reviewed with the installation.
package config

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/reactor-operator/reactor-operator/internal/logging"
)

// The controllers: of ReactorTokens, and of ReactorSessions.
const (
	ControllerTokens   = "tokens"
	ControllerSessions = "sessions"
)

// Off, as a bind address, turns a server off.
const Off = "0"

// KnownControllers returns the values of --controllers.
func KnownControllers() []string { return []string{ControllerTokens, ControllerSessions} }

// Config has the settings of the operator. The fields are in the order of the help, which describes them.
type Config struct {
	// APIURL is where Reactor's API is.
	APIURL string
	// CABundle is the path of a file with more PEM roots for calls to Reactor; empty for none.
	CABundle string
	// MintQPS and MintBurst bound the token requests of the whole installation, per second.
	MintQPS   float64
	MintBurst int

	// SessionsPerKey and SessionStartsPerMinute bound the sessions with one API key; 0 is no bound.
	SessionsPerKey         int
	SessionStartsPerMinute int

	// Namespaces that are watched; empty for the whole cluster.
	Namespaces []string
	// Controllers that run.
	Controllers []string
	// Concurrency is how many objects of a kind are worked on at the same time.
	Concurrency int
	// AllowRestart and AllowPromptDelivery allow the spec fields of these names.
	AllowRestart        bool
	AllowPromptDelivery bool

	// LeaderElect lets only one of several replicas work.
	LeaderElect bool
	// LeaderElectionNamespace holds the lease; empty for the operator's own namespace.
	LeaderElectionNamespace string
	// KubeAPIQPS and KubeAPIBurst bound the requests to the Kubernetes API, per second and kind of object; a KubeAPIQPS
	// of 0 is no bound.
	KubeAPIQPS   float32
	KubeAPIBurst int

	// MetricsBindAddress is host:port, or Off.
	MetricsBindAddress string
	// MetricsAuth allows only clients that Kubernetes authorizes to scrape metrics.
	MetricsAuth bool
	// MetricsPerObject exports series of each ReactorToken and ReactorSession.
	MetricsPerObject bool
	// HealthProbeBindAddress is host:port, or Off.
	HealthProbeBindAddress string
	// PprofBindAddress is host:port on loopback, or Off.
	PprofBindAddress string

	// LogLevel is one of logging.Levels, LogFormat one of logging.Formats.
	LogLevel  string
	LogFormat string

	// Version prints the version, and nothing is run.
	Version bool
}

// defaults returns the settings without any flag.
func defaults() Config {
	return Config{
		APIURL:                 "https://api.reactor.inc",
		MintQPS:                20,
		MintBurst:              40,
		SessionsPerKey:         5,
		SessionStartsPerMinute: 10,
		Controllers:            KnownControllers(),
		Concurrency:            8,
		LeaderElect:            true,
		KubeAPIQPS:             200,
		KubeAPIBurst:           400,
		MetricsBindAddress:     ":8443",
		MetricsAuth:            true,
		MetricsPerObject:       true,
		HealthProbeBindAddress: ":8081",
		PprofBindAddress:       Off,
		LogLevel:               logging.LevelInfo,
		LogFormat:              logging.FormatJSON,
	}
}

// Parse reads the arguments, without the program's name, and validates the result. For --help it writes the help to out
// and returns pflag.ErrHelp.
func Parse(args []string, out io.Writer) (Config, error) {
	config := defaults()
	if err := parse(managerHelp+clusterHelp, config.flagGroups(), args, out); err != nil {
		return Config{}, err
	}
	return config, config.Validate()
}

// parse reads the arguments into the flags.
func parse(head string, groups []flagGroup, args []string, out io.Writer) error {
	flags := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	flags.SetOutput(io.Discard) // the caller writes the error, once
	flags.Usage = func() { writeHelp(out, head, groups) }
	for _, group := range groups {
		flags.AddFlagSet(group.flags)
	}
	if err := flags.Parse(args); err != nil {
		return explained(err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: write flags only, as --name=value", flags.Arg(0))
	}
	return nil
}

// explained says what to write instead of what the parser does not understand.
func explained(err error) error {
	if _, unknown := errors.AsType[*pflag.NotExistError](err); unknown {
		return fmt.Errorf("%w; --help lists the flags", err)
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		flag := invalid.GetFlag()
		return problem(flag.Name, invalid.GetValue(), wanted(flag.Value.Type()))
	}
	return err
}

// wanted describes the values of a type of flag.
func wanted(flagType string) string {
	switch flagType {
	case "bool":
		return "true or false"
	case "int":
		return "a whole number"
	case "duration":
		return "a duration such as 4m"
	default:
		return "a number"
	}
}

// flagGroups binds every flag to its field. The fields' values are the defaults.
func (c *Config) flagGroups() []flagGroup {
	return []flagGroup{
		{"Reactor", c.reactorFlags()},
		{"What the operator does", c.scopeFlags()},
		{"Kubernetes", c.kubernetesFlags()},
		{"Metrics and probes", c.servingFlags()},
		{"Logs", c.logFlags()},
		{"Other", c.otherFlags()},
	}
}

func (c *Config) reactorFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringVar(&c.APIURL, "api-url", c.APIURL,
		"The `URL` of Reactor's API. API keys are sent to it. With http:// they are sent unencrypted: use it only for an emulator on this machine.")
	flags.StringVar(&c.CABundle, "ca-bundle", c.CABundle,
		"A PEM `file` of certificates to trust for the API, in addition to the system's. It is read again when it changes.")
	flags.Float64Var(&c.MintQPS, "mint-qps", c.MintQPS,
		"Maximum `number` of token requests per second, for all ReactorTokens together.")
	flags.IntVar(&c.MintBurst, "mint-burst", c.MintBurst,
		"Maximum `number` of token requests in a burst, after a time with fewer requests.")
	return flags
}

func (c *Config) scopeFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringSliceVar(&c.Namespaces, "namespaces", c.Namespaces,
		"Work only in this comma-separated `list` of namespaces. A Role in each is then enough; without the flag the operator works in the whole cluster and needs a ClusterRole.")
	flags.StringSliceVar(&c.Controllers, "controllers", c.Controllers,
		"Comma-separated `list` of the controllers to run: "+strings.Join(KnownControllers(), ", ")+". Without sessions, the operator needs no permissions on pods.")
	flags.IntVar(&c.SessionsPerKey, "sessions-per-key", c.SessionsPerKey,
		"Maximum `number` of sessions that run at the same time with one API key. 0 means no limit. A rotated key counts together with its "+
			"predecessor while sessions of the predecessor run. Reactor's default for an account is 5.")
	flags.IntVar(&c.SessionStartsPerMinute, "session-starts-per-minute", c.SessionStartsPerMinute,
		"Maximum `number` of session starts per minute with one API key. 0 means no limit. Reactor's default for an account is 10.")
	flags.IntVar(&c.Concurrency, "concurrency", c.Concurrency,
		"Maximum `number` of objects of each kind that are reconciled at the same time.")
	flags.BoolVar(&c.AllowRestart, "allow-restart", c.AllowRestart,
		"Allow spec.restart, which restarts workloads when their token changes. The operator then needs permission to patch Deployments, StatefulSets and DaemonSets. This permission also allows it to change their images.")
	flags.BoolVar(&c.AllowPromptDelivery, "allow-prompt-delivery", c.AllowPromptDelivery,
		"Allow spec.promptDelivery, which gives a new token to running pods immediately. The operator then needs permission to patch pods. This permission also allows it to change their images.")
	return flags
}

func (c *Config) kubernetesFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.BoolVar(&c.LeaderElect, "leader-elect", c.LeaderElect,
		"Elect a leader. With several replicas, only the leader works.")
	flags.StringVar(&c.LeaderElectionNamespace, "leader-election-namespace", c.LeaderElectionNamespace,
		"The `namespace` of the leader's lease. Defaults to the namespace of the operator's pod. Required outside of a cluster.")
	flags.Float32Var(&c.KubeAPIQPS, "kube-api-qps", c.KubeAPIQPS,
		"Maximum `number` of requests to the Kubernetes API per second, for each kind of object. 0 means no limit: the API server alone limits the requests.")
	flags.IntVar(&c.KubeAPIBurst, "kube-api-burst", c.KubeAPIBurst,
		"Maximum `number` of requests to the Kubernetes API in a burst, after a time with fewer requests.")
	return flags
}

func (c *Config) servingFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringVar(&c.MetricsBindAddress, "metrics-bind-address", c.MetricsBindAddress,
		"The `host:port` that serves /metrics over HTTPS; 0 turns it off.")
	flags.BoolVar(&c.MetricsAuth, "metrics-auth", c.MetricsAuth,
		"Require permission to get the non-resource URL /metrics. The operator then needs the ClusterRole system:auth-delegator. If false, every client that can reach the port can scrape metrics, and Roles are sufficient.")
	flags.BoolVar(&c.MetricsPerObject, "metrics-per-object", c.MetricsPerObject,
		"Export series for each ReactorToken, and for each ReactorSession that a user must act on. Set it to false if this is too much for your Prometheus. The totals remain, and alerts do not name the object.")
	flags.StringVar(&c.HealthProbeBindAddress, "health-probe-bind-address", c.HealthProbeBindAddress,
		"The `host:port` that serves /healthz and /readyz; 0 turns it off.")
	flags.StringVar(&c.PprofBindAddress, "pprof-bind-address", c.PprofBindAddress,
		"The `host:port` that serves /debug/pprof, such as 127.0.0.1:6060, to find what takes time and memory; 0 turns it off. Profiles show the arguments of the process and are not authenticated, so only a loopback address is accepted.")
	return flags
}

func (c *Config) logFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringVar(&c.LogLevel, "log-level", c.LogLevel,
		"The minimum log `level`: "+strings.Join(logging.Levels(), ", ")+".")
	flags.StringVar(&c.LogFormat, "log-format", c.LogFormat,
		"The `format` of a line: "+strings.Join(logging.Formats(), ", ")+".")
	return flags
}

func (c *Config) otherFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.BoolVar(&c.Version, "version", c.Version, "Print the version and exit.")
	return flags
}

// only returns the flags of these names.
func only(groups []flagGroup, names ...string) *pflag.FlagSet {
	chosen := newFlagSet()
	for _, name := range names {
		for _, group := range groups {
			if flag := group.flags.Lookup(name); flag != nil {
				chosen.AddFlag(flag)
			}
		}
	}
	return chosen
}

// newFlagSet returns a set whose help keeps the order of the code.
func newFlagSet() *pflag.FlagSet {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SortFlags = false
	return flags
}
