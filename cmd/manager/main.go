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
	_ "golang.org/x/crypto/x509roots/fallback" // the image has no root certificates; those of the system take precedence
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

// gcPercent starts a garbage collection when the heap has grown by 50 percent. Go's default is 100 percent. docs/resources.md has the memory
// that this saves and the CPU time that it costs. If the environment variable GOGC is set, it takes precedence.
const gcPercent = 50

func main() {
	os.Exit(run(ctrl.SetupSignalHandler(), os.Args[1:], os.Stdout, os.Stderr))
}

// run reads the flags. It answers --help and --version. Otherwise it runs the operator until the context ends, or drains.
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

// refuse prints what is wrong with the arguments, unless they requested help.
func refuse(err error, stderr io.Writer) int {
	if errors.Is(err, pflag.ErrHelp) {
		return exitOK
	}
	fmt.Fprintln(stderr, err)
	return exitUsage
}

// work installs the log, reads the configuration of the cluster, and runs the operator or the drain.
func work(settings config.Config, stderr io.Writer, do func(*rest.Config) error) int {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	logger := logging.Install(logging.NewHandler(stderr, settings.LogLevel, settings.LogFormat))
	kube, err := ctrl.GetConfig()
	if err != nil {
		logger.Error(err, "cannot read the configuration of the cluster")
		return exitFailed
	}
	if err := do(kube); err != nil {
		logger.Error(err, "the operator stopped because of an error")
		return exitFailed
	}
	return exitOK
}
