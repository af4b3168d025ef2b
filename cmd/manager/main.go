// Command manager is the operator. manager --help describes its flags.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/spf13/pflag"
	_ "golang.org/x/crypto/x509roots/fallback" // the image has no roots for TLS; those of a system, if there are any, come first
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/logging"
	"github.com/reactor-operator/reactor-operator/internal/operator"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version = "devel"

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// gcPercent lets garbage grow to half of what is alive before it is collected, and not to as much as that, as Go would. docs/resources.md
// says what that saves and costs. Whoever sets GOGC decides.
const gcPercent = 50

func main() {
	os.Exit(run(ctrl.SetupSignalHandler(), os.Args[1:], os.Stdout, os.Stderr))
}

// run reads the flags and answers those that only ask something; otherwise it operates until the context ends, or drains.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "drain" {
		settings, err := config.ParseDrain(args[1:], stdout)
		if err != nil {
			return refuse(err, stderr)
		}
		return work(settings.Config, stderr, func(kube *rest.Config) error { return operator.Drain(ctx, kube, settings, version) })
	}
	settings, err := config.Parse(args, stdout)
	if err != nil {
		return refuse(err, stderr)
	}
	if settings.Version {
		fmt.Fprintln(stdout, "reactor-operator", version)
		return exitOK
	}
	return work(settings, stderr, func(kube *rest.Config) error { return operator.Run(ctx, kube, settings, version) })
}

// refuse says what is wrong with the arguments, unless they asked for help, which they got.
func refuse(err error, stderr io.Writer) int {
	if errors.Is(err, pflag.ErrHelp) {
		return exitOK
	}
	fmt.Fprintln(stderr, err)
	return exitUsage
}

// work installs the log, finds the cluster, and does what is to be done there.
func work(settings config.Config, stderr io.Writer, do func(*rest.Config) error) int {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	logger := logging.Install(logging.NewHandler(stderr, settings.LogLevel, settings.LogFormat))
	kube, err := ctrl.GetConfig()
	if err != nil {
		logger.Error(err, "the cluster is not found")
		return exitFailed
	}
	if err := do(kube); err != nil {
		logger.Error(err, "the operator stops")
		return exitFailed
	}
	return exitOK
}
