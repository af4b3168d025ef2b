package config

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/reactor-operator/reactor-operator/internal/logging"
)

// flagGroup is a part of the help.
type flagGroup struct {
	title string
	flags *pflag.FlagSet
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
		"The `URL` of Reactor's API. API keys are sent to it. With http:// they travel unencrypted: only for an emulator on this machine.")
	flags.StringVar(&c.CABundle, "ca-bundle", c.CABundle,
		"A PEM `file` of certificates to trust for the API, in addition to the system's. It is read again when it changes.")
	flags.Float64Var(&c.MintQPS, "mint-qps", c.MintQPS,
		"At most this `number` of tokens is requested per second, by all ReactorTokens together.")
	flags.IntVar(&c.MintBurst, "mint-burst", c.MintBurst,
		"This `number` of tokens may be requested at once, after a quiet time.")
	return flags
}

func (c *Config) scopeFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringSliceVar(&c.Namespaces, "namespaces", c.Namespaces,
		"Work only in this comma-separated `list` of namespaces. A Role in each is then enough; without the flag the operator works in the whole cluster and needs a ClusterRole.")
	flags.StringSliceVar(&c.Controllers, "controllers", c.Controllers,
		"Comma-separated `list` of the controllers to run: "+strings.Join(KnownControllers(), ", ")+". Without sessions, the operator needs no right on pods.")
	flags.IntVar(&c.SessionsPerKey, "sessions-per-key", c.SessionsPerKey,
		"The maximum `number` of sessions that run at the same time with one API key; 0 sets no limit. A key that was rotated counts with its "+
			"predecessor while sessions of that one run. Reactor allows an account 5 by default.")
	flags.IntVar(&c.SessionStartsPerMinute, "session-starts-per-minute", c.SessionStartsPerMinute,
		"At most this `number` of sessions is started in a minute with one API key; 0 sets no limit. Reactor lets an account start 10 by default.")
	flags.IntVar(&c.Concurrency, "concurrency", c.Concurrency,
		"Work on this `number` of objects of a kind at the same time.")
	flags.BoolVar(&c.AllowRestart, "allow-restart", c.AllowRestart,
		"Obey spec.restart, which rolls workloads when their token changes. Needs the right to patch Deployments, StatefulSets and DaemonSets, with which their images could be changed too.")
	flags.BoolVar(&c.AllowPromptDelivery, "allow-prompt-delivery", c.AllowPromptDelivery,
		"Obey spec.promptDelivery, which hands a new token to running pods at once. Needs the right to patch pods, with which their images could be changed too.")
	return flags
}

func (c *Config) kubernetesFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.BoolVar(&c.LeaderElect, "leader-elect", c.LeaderElect,
		"With several replicas, let one work and the others stand by.")
	flags.StringVar(&c.LeaderElectionNamespace, "leader-election-namespace", c.LeaderElectionNamespace,
		"The `namespace` of the lease that the leader holds; by default the one of the operator's pod. Outside a cluster it must be given.")
	flags.Float32Var(&c.KubeAPIQPS, "kube-api-qps", c.KubeAPIQPS,
		"At most this `number` of requests is sent to the Kubernetes API per second, for each kind of object. With 0 the API server alone sets the pace.")
	flags.IntVar(&c.KubeAPIBurst, "kube-api-burst", c.KubeAPIBurst,
		"This `number` of requests may be sent to the Kubernetes API at once, after a quiet time.")
	return flags
}

func (c *Config) servingFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringVar(&c.MetricsBindAddress, "metrics-bind-address", c.MetricsBindAddress,
		"The `host:port` that serves /metrics over HTTPS; 0 turns it off.")
	flags.BoolVar(&c.MetricsAuth, "metrics-auth", c.MetricsAuth,
		"Let only those scrape who may get the non-resource URL /metrics. The operator needs the ClusterRole system:auth-delegator to ask. With false everyone who reaches the port may scrape, and Roles are enough.")
	flags.BoolVar(&c.MetricsPerObject, "metrics-per-object", c.MetricsPerObject,
		"Export series for each ReactorToken, and for each ReactorSession that waits for a person. Turn it off if those are too many for your Prometheus; totals remain, and alerts cannot name the object.")
	flags.StringVar(&c.HealthProbeBindAddress, "health-probe-bind-address", c.HealthProbeBindAddress,
		"The `host:port` that serves /healthz and /readyz; 0 turns it off.")
	flags.StringVar(&c.PprofBindAddress, "pprof-bind-address", c.PprofBindAddress,
		"The `host:port` that serves /debug/pprof, such as 127.0.0.1:6060, to find out what takes time and memory; 0 turns it off. Profiles show the arguments of the process and are not authenticated, so only a loopback address is accepted.")
	return flags
}

func (c *Config) logFlags() *pflag.FlagSet {
	flags := newFlagSet()
	flags.StringVar(&c.LogLevel, "log-level", c.LogLevel,
		"The least `level` that is written: "+strings.Join(logging.Levels(), ", ")+".")
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
