// Command server is the web server of the example. It serves the page that npm run build embedded in it, gives the page its settings, and
// forwards /api/token to the token server. It has no API key and no token. See ../README.md.
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

// site holds the values of the flags.
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

// serve serves until ctx ends, and finishes open requests.
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
		return nil, errors.New("this program has no page. Run npm ci and npm run build in examples/web, and build the program again")
	}
	tokenServer, err := url.Parse(s.tokenServer)
	if err != nil {
		return nil, fmt.Errorf("--token-server: %w", err)
	}
	api, err := url.Parse(s.apiURL)
	if err != nil {
		return nil, fmt.Errorf("--api-url: %w", err)
	}
	// The SDK concatenates paths. With a slash at the end it would request //sessions.
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
		_, _ = w.Write(settings) // an error means that the browser has disconnected
	})
	mux.Handle("/api/token", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(tokenServer)
		r.Out.Host = r.In.Host // the token server compares it with the page's origin
		// The token server applies limits to each visitor. Proxies in front of this server list the visitor in this header, and this server
		// appends its own client. The token server reads the list from the end, past the proxies that it trusts.
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
		r.SetXForwarded()
	}})
	return guarded(mux, api.Scheme+"://"+api.Host), nil
}

// cached allows browsers to cache files whose names change with their contents. Browsers must request the other files again.
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

// guarded protects the page's token from foreign scripts and sites.
func guarded(handler http.Handler, api string) http.Handler {
	policy := "default-src 'self'; connect-src 'self' " + api + "; style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		handler.ServeHTTP(w, r)
	})
}
