// Command deploy installs the operator from this checkout into the cluster of the current kubeconfig context, and removes it again:
//
//	make deploy      make undeploy
//	make try         make try-down
//
// It builds the images without a container engine. It loads them into a cluster of this machine (kind, k3d, minikube, make node) with that
// cluster's own command, and delivers them to any other cluster through a registry. `try` adds an emulator of Reactor, a token and a pod that
// mounts it.
//
// It asks before it changes a cluster that is not on this machine. Every command that it runs names the context that was current at the start.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// settings are the values of the flags.
type settings struct {
	registry string
	version  string
	helm     string
	kubectl  string
	yes      bool
	timeout  time.Duration
	helmArgs []string
}

const usage = "usage: deploy [flags] deploy|undeploy|try|try-down [-- arguments of helm upgrade]"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.SetLogger(logr.Discard())
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "\nerror:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var s settings
	flags := pflag.NewFlagSet("deploy", pflag.ContinueOnError)
	flags.StringVar(&s.registry, "registry", "", "push the images below this name, such as registry.example.com/team; needed for a cluster that is not on this machine")
	flags.StringVar(&s.version, "version", "devel", "tag of the images")
	flags.StringVar(&s.helm, "helm", "helm", "command that runs Helm; a shell splits it")
	flags.StringVar(&s.kubectl, "kubectl", "kubectl", "command that runs kubectl")
	flags.BoolVar(&s.yes, "yes", false, "do not ask before a change to a cluster that is not on this machine")
	flags.DurationVar(&s.timeout, "timeout", 5*time.Minute, "how long to wait for the operator, and for the tokens of a trial")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New(usage)
	}
	s.helmArgs = flags.Args()[1:]
	newSession := func(what installation) (*session, error) {
		return startSession(s, what, newTerminal(os.Stdin, os.Stdout, term.IsTerminal(int(os.Stdin.Fd()))))
	}
	switch command := flags.Arg(0); command {
	case "deploy", "try":
		deployment, err := newSession(installations[command])
		if err != nil {
			return err
		}
		return deployment.up(ctx)
	case "undeploy", "try-down":
		removal, err := newSession(installations[command])
		if err != nil {
			return err
		}
		return removal.down(ctx)
	default:
		return fmt.Errorf("unknown command %q. %s", command, usage)
	}
}
