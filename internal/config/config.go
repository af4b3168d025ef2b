// Package config is everything that can be set about the operator: one struct, read from flags and checked as a whole.
//
// Nothing is read from the environment. In particular, the operator does not read REACTOR_API_URL, although Reactor's own tools do: a user
// who sets the address of the API can collect API keys, so it must be a flag, which is reviewed with the installation.
package config

import (
	"errors"
	"fmt"
	"io"

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
