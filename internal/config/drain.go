package config

import (
	"errors"
	"io"
	"time"
)

// Drain has the settings of `manager drain`. It uses the fields of Config for Reactor, namespaces and logs; the others have their defaults.
type Drain struct {
	Config

	// Timeout is how long the drain waits for sessions to end before it removes their finalizers.
	Timeout time.Duration
}

// defaultDrainTimeout is less than the five minutes for which Helm waits for a hook by default.
const defaultDrainTimeout = 4 * time.Minute

const drainHelp = `Ends what runs, before Reactor Operator is uninstalled.

Usage:
  manager drain [flags]

It sets spec.suspend of every ReactorSession, cleans up their Reactor sessions as the operator does,
whether the operator runs or not, and removes the operator's finalizers. After that, pods, sessions
and namespaces can be deleted without the operator. ReactorTokens and their Secrets stay as they are.
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
		"How long the drain waits for sessions to end, as a `duration`. Then it removes their finalizers. Reactor ends the sessions that are still open when the time of their tokens is over.")
	return []flagGroup{
		{"What is drained", own},
		{"Where", only(d.Config.flagGroups(), "namespaces", "api-url", "ca-bundle")},
		{"Logs", only(d.Config.flagGroups(), "log-level", "log-format")},
	}
}
