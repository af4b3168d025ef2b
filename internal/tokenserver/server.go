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
	// The timeouts for a request's header, a whole request, a response, and the time between two requests. A response takes up to 15 s for Reactor
	// and 10 s for the keys of an issuer.
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 45 * time.Second
	idleTimeout   = time.Minute
	// maxHeaderBytes is the maximum size of a request's header.
	maxHeaderBytes = 16 << 10
	// shutdownTimeout is the time for running requests to finish after the context has ended.
	shutdownTimeout = 30 * time.Second
)

// Run serves the route until the context ends, and then finishes the running requests. It returns an error if a setting cannot be used, or if it
// cannot listen.
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
	for _, server := range servers {
		group.Go(server.serve)
		group.Go(func() error { return server.stopAfter(ctx) })
	}
	return group.Wait()
}

// newCertificates returns a watcher that reads the certificates, and reads them again when they change. It is nil without TLS.
func newCertificates(settings config.TokenServer) (*certwatcher.CertWatcher, error) {
	if settings.TLSCertFile == "" {
		return nil, nil //nolint:nilnil // the server uses plain HTTP
	}
	certificates, err := certwatcher.New(settings.TLSCertFile, settings.TLSKeyFile)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert-file and --tls-key-file: %w", err)
	}
	return certificates, nil
}

// listeningServer is an HTTP server and its listener.
type listeningServer struct {
	http     *http.Server
	listener net.Listener
}

// listen opens all ports before the first request is served, so that a port that is in use is reported immediately.
func listen(
	settings config.TokenServer, route http.Handler, certificates *certwatcher.CertWatcher, registry *prometheus.Registry, log *slog.Logger,
) ([]listeningServer, error) {
	probes := http.NewServeMux()
	healthy := func(writer http.ResponseWriter, _ *http.Request) { _, _ = writer.Write([]byte("ok")) }
	probes.HandleFunc("/healthz", healthy)
	probes.HandleFunc("/readyz", healthy) // even without a token: the route then responds with the reason
	metrics := http.NewServeMux()
	metrics.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	var servers []listeningServer
	for _, endpoint := range []struct {
		address string
		handler http.Handler
		secure  bool
	}{
		{settings.Listen, route, certificates != nil},
		{settings.MetricsBindAddress, metrics, false},
		{settings.HealthProbeBindAddress, probes, false},
	} {
		if endpoint.address == config.Off {
			continue
		}
		listener, err := net.Listen("tcp", endpoint.address)
		if err != nil {
			for _, opened := range servers {
				_ = opened.listener.Close()
			}
			return nil, fmt.Errorf("listening: %w", err)
		}
		if endpoint.secure {
			listener = tls.NewListener(listener, &tls.Config{
				MinVersion: tls.VersionTLS12, GetCertificate: certificates.GetCertificate, NextProtos: []string{"h2", "http/1.1"},
			})
		}
		servers = append(servers, listeningServer{newHTTPServer(endpoint.handler, log), listener})
	}
	return servers, nil
}

func newHTTPServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		ErrorLog: slog.NewLogLogger(serverErrors{log.Handler()}, slog.LevelError),
		Handler:  handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
	}
}

// serverErrors logs the errors of net/http. All but panics are failures of a client's connection, such as a canceled TLS handshake. Every client
// can cause them, so they are logged at the level debug.
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

func (s listeningServer) serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving on %s: %w", s.listener.Addr(), err)
	}
	return nil
}

// stopAfter waits until the context ends, and then finishes the running requests.
func (s listeningServer) stopAfter(ctx context.Context) error {
	<-ctx.Done()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := s.http.Shutdown(bounded); err != nil {
		return fmt.Errorf("finishing the requests on %s: %w", s.listener.Addr(), err)
	}
	return nil
}
