package tokenserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/reactor-operator/reactor-operator/internal/config"
)

const (
	// A client has so long for the header, for all of its request, for taking the answer, and between two requests. An answer takes up
	// to the 15 s that Reactor may take, and its keys the issuer's 10 s.
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 45 * time.Second
	idleTimeout   = time.Minute
	// mostHeader bounds the header of a request, in bytes.
	mostHeader = 16 << 10
	// shutdownTimeout is how long what is in flight may take to finish.
	shutdownTimeout = 30 * time.Second
)

// Run serves the route until the context ends, and then answers what has been asked. It returns an error when the settings cannot be
// followed, or when it cannot listen.
func Run(ctx context.Context, settings config.TokenServer, version string, log *slog.Logger) error {
	registry := newRegistry(version)
	route, err := newRoute(settings, version, registry, log) //nolint:contextcheck // go-oidc keeps a context for its settings only
	if err != nil {
		return err
	}
	certificates, err := newCertificates(settings)
	if err != nil {
		return err
	}
	servers, err := listen(settings, route, certificates, registry, log)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "the token server starts", "version", version, "listen", settings.Listen, "path", settings.Path, "tls", certificates != nil)
	group, ctx := errgroup.WithContext(ctx)
	if certificates != nil {
		group.Go(func() error { return certificates.Start(ctx) })
	}
	for _, one := range servers {
		group.Go(one.serve)
		group.Go(func() error { return one.stopAfter(ctx) })
	}
	return group.Wait()
}

// newCertificates reads the certificates, and again when they change; nil without TLS.
func newCertificates(settings config.TokenServer) (*certwatcher.CertWatcher, error) {
	if settings.TLSCertFile == "" {
		return nil, nil //nolint:nilnil // plain HTTP was asked for
	}
	certificates, err := certwatcher.New(settings.TLSCertFile, settings.TLSKeyFile)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert-file and --tls-key-file: %w", err)
	}
	return certificates, nil
}

// server is an HTTP server and where it listens.
type server struct {
	http     *http.Server
	listener net.Listener
}

// listen opens all ports before anything is served, so that a port that is taken is told at once.
func listen(
	settings config.TokenServer, route http.Handler, certificates *certwatcher.CertWatcher, registry *prometheus.Registry, log *slog.Logger,
) ([]server, error) {
	probes := http.NewServeMux()
	healthy := func(writer http.ResponseWriter, _ *http.Request) { _, _ = writer.Write([]byte("ok")) }
	probes.HandleFunc("/healthz", healthy)
	probes.HandleFunc("/readyz", healthy) // a token server without a token says why, which is better than no answer
	metrics := http.NewServeMux()
	metrics.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	var servers []server
	for _, wanted := range []struct {
		address string
		handler http.Handler
		secure  bool
	}{
		{settings.Listen, route, certificates != nil},
		{settings.MetricsBindAddress, metrics, false},
		{settings.HealthProbeBindAddress, probes, false},
	} {
		if wanted.address == config.Off {
			continue
		}
		listener, err := net.Listen("tcp", wanted.address)
		if err != nil {
			for _, opened := range servers {
				_ = opened.listener.Close()
			}
			return nil, fmt.Errorf("listening: %w", err)
		}
		if wanted.secure {
			listener = tls.NewListener(listener, &tls.Config{
				MinVersion: tls.VersionTLS12, GetCertificate: certificates.GetCertificate, NextProtos: []string{"h2", "http/1.1"},
			})
		}
		servers = append(servers, server{newHTTPServer(wanted.handler, log), listener})
	}
	return servers, nil
}

func newHTTPServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		ErrorLog: slog.NewLogLogger(serverErrors{log.Handler()}, slog.LevelError),
		Handler:  handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: mostHeader,
	}
}

// serverErrors takes the errors of net/http. All but panics are failures of a client's connection, such as a TLS handshake that is given up:
// anybody can cause them, and so they are written for debugging only.
type serverErrors struct{ slog.Handler }

// Handle implements slog.Handler.
func (s serverErrors) Handle(ctx context.Context, record slog.Record) error {
	if !strings.HasPrefix(record.Message, "http: panic serving ") {
		record.Level = slog.LevelDebug
		if !s.Enabled(ctx, record.Level) {
			return nil
		}
	}
	return s.Handler.Handle(ctx, record)
}

func (s server) serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving on %s: %w", s.listener.Addr(), err)
	}
	return nil
}

// stopAfter answers what has been asked before the context ended.
func (s server) stopAfter(ctx context.Context) error {
	<-ctx.Done()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := s.http.Shutdown(bounded); err != nil {
		return fmt.Errorf("finishing what was asked on %s: %w", s.listener.Addr(), err)
	}
	return nil
}
