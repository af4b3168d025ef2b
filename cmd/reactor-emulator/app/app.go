// Package app is the common part of the two commands of the emulator: their flags, and how they serve. The commands are cmd/reactor-emulator
// and test/infra/media. test/infra/media also carries video, and needs its own module for that.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// keysVariable holds more keys, separated by commas.
const keysVariable = "REACTOR_EMULATOR_KEYS"

// settings are the values of the flags.
type settings struct {
	listen          string
	controlListen   string // empty: the control endpoint is served with the API
	keys            []string
	defaultLifetime time.Duration
	ceiling         time.Duration
	quotas          emulator.Quotas
	logLevel        slog.Level
}

// parse reads the flags, and the keys of the environment.
func parse(args []string, moreKeys string) (settings, error) {
	s := settings{quotas: emulator.DefaultQuotas}
	flags := pflag.NewFlagSet("reactor-emulator", pflag.ContinueOnError)
	flags.StringVar(&s.listen, "listen", "127.0.0.1:8090", "The `address` of the API. Clients that reach it can add API keys, unless --control-listen is set.")
	flags.StringVar(&s.controlListen, "control-listen", "",
		"The `address` of the control endpoint (/_emulator/), which adds API keys and faults. If empty, the API's address serves it.")
	flags.StringArrayVar(&s.keys, "key", nil, "An API `key` to accept. Repeat the flag for more keys. The variable "+keysVariable+" adds keys too, separated by commas.")
	flags.DurationVar(&s.defaultLifetime, "default-lifetime", 0,
		"The lifetime of a token without expires_after. Defaults to 1h for a token with a scope and 6h for one without.")
	flags.DurationVar(&s.ceiling, "ceiling", emulator.DefaultCeiling, "The maximum lifetime of a token. The emulator shortens longer requested lifetimes.")
	flags.IntVar(&s.quotas.Concurrent, "concurrent-sessions", s.quotas.Concurrent, "Maximum number of sessions that are open at the same time. 0 means no limit.")
	flags.IntVar(&s.quotas.ConcurrentPerModel, "concurrent-sessions-per-model", s.quotas.ConcurrentPerModel,
		"Maximum number of sessions of one model that are open at the same time. 0 means no limit. Some accounts have a limit of 1.")
	flags.IntVar(&s.quotas.StartsPerMinute, "session-starts-per-minute", s.quotas.StartsPerMinute,
		"Maximum number of session starts per minute. 0 means no limit.")
	flags.TextVar(&s.logLevel, "log-level", slog.LevelInfo, "The minimum log `level`: DEBUG, INFO, WARN or ERROR.")
	flags.Usage = func() {
		fmt.Fprintf(os.Stderr, `Usage:
  reactor-emulator [flags]                   serves a local Reactor API
  %s   prints a line for each token that appears in a file, and never the token

Flags:
%s`, "reactor-emulator "+watchTokenUsage, flags.FlagUsages())
	}
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, errors.New("the emulator takes only flags. The only subcommand, " + watchTokenCommand + ", must come before the flags")
	}
	if s.ceiling < time.Second || s.defaultLifetime != 0 && s.defaultLifetime < time.Second {
		return s, errors.New("--default-lifetime and --ceiling must be at least 1s")
	}
	if min(s.quotas.Concurrent, s.quotas.ConcurrentPerModel, s.quotas.StartsPerMinute) < 0 {
		return s, errors.New("--concurrent-sessions, --concurrent-sessions-per-model and --session-starts-per-minute must not be negative")
	}
	s.keys = append(s.keys, strings.FieldsFunc(moreKeys, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })...)
	return s, nil
}

// Main runs the emulator until the process gets SIGINT or SIGTERM, and returns its exit code.
func Main(media emulator.Media) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv(keysVariable), os.Stdout, media); err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "reactor-emulator:", err)
		return 1
	}
	return 0
}

// run serves until ctx ends, and then finishes open requests for a few seconds. With the subcommand watch-token it watches a file instead.
func run(ctx context.Context, args []string, moreKeys string, out io.Writer, media emulator.Media) error {
	if len(args) > 0 && args[0] == watchTokenCommand {
		return watchToken(ctx, args[1:], out)
	}
	s, err := parse(args, moreKeys)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: s.logLevel}))
	handler := http.Handler(emulator.New(emulator.Options{
		Keys: s.keys, DefaultLifetime: s.defaultLifetime, Ceiling: s.ceiling, Quotas: &s.quotas, Media: media, Logger: log,
	}))
	api, control := handler, net.Listener(nil)
	if s.controlListen != "" {
		if control, err = net.Listen("tcp", s.controlListen); err != nil {
			return err
		}
		defer func() { _ = control.Close() }() // if the API cannot listen
		api = withoutControl(handler)
	}
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	log.Info("listening", "address", listener.Addr().String(), "keys", len(s.keys))
	servers, ctx := errgroup.WithContext(ctx)
	servers.Go(func() error { return serve(ctx, listener, api, log) })
	if control != nil {
		log.Info("listening for control", "address", control.Addr().String())
		servers.Go(func() error { return serve(ctx, control, handler, log) })
	}
	return servers.Wait()
}

// withoutControl hides the control endpoint, except the health check.
func withoutControl(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_emulator/") && r.URL.Path != "/_emulator/healthz" {
			http.NotFound(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// serve serves until ctx ends.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx }, // so that blocked calls end too
	}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- server.Shutdown(grace)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
