// Command manager is the operator. manager --help describes its flags.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

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

func main() {
	os.Exit(run(ctrl.SetupSignalHandler(), os.Args[1:], os.Stdout, os.Stderr))
}

// run reads the flags and answers those that only ask something; otherwise it operates until the context ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	settings, err := config.Parse(args, stdout)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, err)
		return exitUsage
	case settings.Version:
		fmt.Fprintln(stdout, "reactor-operator", version)
		return exitOK
	}
	logger := logging.Install(logging.NewHandler(stderr, settings.LogLevel, settings.LogFormat))
	if err := operate(ctx, settings, logger); err != nil {
		logger.Error(err, "the operator stops")
		return exitFailed
	}
	return exitOK
}

// operate runs the controllers until the context ends. It returns an error when they cannot start, or when another replica
// has taken the lead.
func operate(ctx context.Context, settings config.Config, logger logr.Logger) error {
	logger.Info("the operator starts", "version", version, "apiURL", settings.APIURL,
		"namespaces", settings.Namespaces, "controllers", settings.Controllers)
	kube, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
	}
	mgr, err := operator.NewManager(kube, settings, version)
	if err != nil {
		return err
	}
	if err := operator.AddControllers(mgr, settings, version, metrics.Registry); err != nil {
		return err
	}
	return mgr.Start(ctx)
}
