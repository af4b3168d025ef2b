// Command token-server serves tokens for Reactor to web pages, so that they never get an API key. token-server --help describes its flags.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	_ "golang.org/x/crypto/x509roots/fallback" // the image has no root certificates; those of the system, if it has any, take precedence

	"github.com/reactor-operator/reactor-operator/internal/config"
	"github.com/reactor-operator/reactor-operator/internal/logging"
	"github.com/reactor-operator/reactor-operator/internal/tokenserver"
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run reads the flags. It prints the help or the version if a flag requests it, and otherwise serves until the context ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	settings, err := config.ParseTokenServer(args, stdout)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, err)
		return exitUsage
	case settings.Version:
		fmt.Fprintln(stdout, "reactor-token-server", version)
		return exitOK
	}
	handler := logging.NewHandler(stderr, settings.LogLevel, settings.LogFormat)
	logging.Install(handler) // for the logs of libraries
	log := slog.New(handler)
	if err := tokenserver.Run(ctx, settings, version, log); err != nil {
		log.ErrorContext(ctx, "the token server stopped because of an error", "error", err)
		return exitFailed
	}
	return exitOK
}
