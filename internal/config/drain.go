package config

import (
	"errors"
	"io"
	"time"
)

// Drain is what `manager drain` was told. Of Config it uses where Reactor is, which namespaces, and how to log; the rest stands at its
// defaults.
type Drain struct {
	Config

	// Timeout is how long sessions may take to end; then they are let go of.
	Timeout time.Duration
}

// defaultDrainTimeout is less than the five minutes for which Helm waits for a hook by default.
const defaultDrainTimeout = 4 * time.Minute

const drainHelp = `Ends what runs, before Reactor Operator is uninstalled.

Usage:
  manager drain [flags]

It sets spec.suspend of every ReactorSession, sees to their Reactor sessions as the operator would,
whether that runs or not, and takes the operator's finalizers off: after that, pods, sessions and
namespaces can be deleted without it. ReactorTokens and their Secrets stay as they are.
`

// ParseDrain reads the arguments of `manager drain`, without these two words, and validates the result. For --help it writes the help to
// out and returns pflag.ErrHelp.
func ParseDrain(args []string, out io.Writer) (Drain, error) {
	drain := Drain{Config: defaults(), Timeout: defaultDrainTimeout}
	if err := parse(drainHelp+clusterHelp, drain.flagGroups(), args, out); err != nil {
		return Drain{}, err
	}
	var wrong error
	if drain.Timeout <= 0 {
		wrong = problem("timeout", drain.Timeout, "a duration such as 4m")
	}
	return drain, errors.Join(drain.Validate(), wrong)
}

// flagGroups binds the flags of the operator that have a meaning here, and the drain's own.
func (d *Drain) flagGroups() []flagGroup {
	own := newFlagSet()
	own.DurationVar(&d.Timeout, "timeout", d.Timeout,
		"Sessions may take this `duration` to end. Then their finalizers are taken off all the same; Reactor ends what is still open when the time of its token is over.")
	return []flagGroup{
		{"What is drained", own},
		{"Where", only(d.Config.flagGroups(), "namespaces", "api-url", "ca-bundle")},
		{"Logs", only(d.Config.flagGroups(), "log-level", "log-format")},
	}
}
