// Command server is the web server of the example: it serves the page that npm run build put into it, tells the page its settings, and forwards
// /api/token to the token server. It holds no key and no token. See ../README.md.
package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

//go:embed all:page
var built embed.FS

// site is what the flags say.
type site struct {
	listen      string
	model       string
	apiURL      string
	tokenServer string
}

func main() {
	var s site
	flag.StringVar(&s.listen, "listen", ":8080", "the address to listen on")
	flag.StringVar(&s.model, "model", "reactor/helios", "the model that the page shows; the tokens must be for it")
	flag.StringVar(&s.apiURL, "api-url", "https://api.reactor.inc", "Reactor's API, as browsers reach it")
	flag.StringVar(&s.tokenServer, "token-server", "http://web-token-server:8080", "the token server, which answers /api/token")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// serve serves until ctx ends, and lets answers finish.
func serve(ctx context.Context, s site) error {
	page, err := fs.Sub(built, "page")
	if err != nil {
		return err
	}
	handler, err := s.handler(page)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: s.listen, Handler: handler, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		stopped <- server.Shutdown(grace)
	})
	slog.Info("listening", "address", s.listen)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// handler serves the page, its settings and the token route.
func (s site) handler(page fs.FS) (http.Handler, error) {
	if _, err := fs.Stat(page, "index.html"); err != nil {
		return nil, errors.New("there is no page in this program: run npm ci and npm run build in examples/web, and build it again")
	}
	tokenServer, err := url.Parse(s.tokenServer)
	if err != nil {
		return nil, fmt.Errorf("--token-server: %w", err)
	}
	api, err := url.Parse(s.apiURL)
	if err != nil {
		return nil, fmt.Errorf("--api-url: %w", err)
	}
	// The SDK joins paths as they are: with a slash at the end it would ask for //sessions.
	settings, err := json.Marshal(map[string]string{"model": s.model, "apiUrl": strings.TrimSuffix(s.apiURL, "/")})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", cached(http.FileServerFS(page)))
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /settings.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(settings) // a browser that is gone needs nothing
	})
	mux.Handle("/api/token", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(tokenServer)
		r.Out.Host = r.In.Host // the token server compares it with the page's origin
		// Whose limits these are: what stands in front of this server has said it, and this server adds who asked it. The token server reads
		// that from its end, as far as it knows the proxies.
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
		r.SetXForwarded()
	}})
	return guarded(mux, api.Scheme+"://"+api.Host), nil
}

// cached lets browsers keep files whose names change with their contents, and ask again for the others.
func cached(files http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/assets/") {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		} else {
			w.Header().Set("Cache-Control", "no-cache")
		}
		files.ServeHTTP(w, r)
	})
}

// guarded keeps the page's token from scripts and sites that have no business with it.
func guarded(handler http.Handler, api string) http.Handler {
	policy := "default-src 'self'; connect-src 'self' " + api + "; style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		handler.ServeHTTP(w, r)
	})
}
