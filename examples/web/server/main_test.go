package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

// page is what npm run build makes, in small.
var page = fstest.MapFS{"index.html": {Data: []byte("<title>page</title>")}, "assets/page-1a2b.js": {Data: []byte("page()")}}

// started is a site whose token server answers as this handler does.
func started(t *testing.T, tokenServer http.HandlerFunc) string {
	t.Helper()
	tokens := httptest.NewServer(tokenServer)
	t.Cleanup(tokens.Close)
	handler, err := site{model: "reactor/helios", apiURL: "https://reactor.test/", tokenServer: tokens.URL}.handler(page)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func get(t *testing.T, address string) (*http.Response, string) {
	t.Helper()
	response, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestThePageIsServedAndGuarded(t *testing.T) {
	address := started(t, http.NotFound)
	tests := []struct{ path, body, cache string }{
		{"/", "<title>page</title>", "no-cache"},
		{"/assets/page-1a2b.js", "page()", "public, max-age=31536000, immutable"},
		{"/settings.json", `{"apiUrl":"https://reactor.test","model":"reactor/helios"}`, "no-store"},
	}
	for _, test := range tests {
		response, body := get(t, address+test.path)
		if body != test.body || response.Header.Get("Cache-Control") != test.cache {
			t.Errorf("%s: %q, kept %q", test.path, body, response.Header.Get("Cache-Control"))
		}
		if got := response.Header.Get("Content-Security-Policy"); !strings.Contains(got, "connect-src 'self' https://reactor.test;") {
			t.Errorf("%s: the page may connect to: %s", test.path, got)
		}
	}
}

func TestTheTokenRouteIsForwardedAsThePageAsked(t *testing.T) {
	var host, asked, from string
	address := started(t, func(w http.ResponseWriter, r *http.Request) {
		host, asked, from = r.Host, r.Method+" "+r.URL.String(), r.Header.Get("X-Forwarded-For")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/api/token?expires_at=true", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Forwarded-For", "198.51.100.7, 192.0.2.1") // of an ingress controller
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") != "7" {
		t.Errorf("the answer became %s, %v", response.Status, response.Header)
	}
	if "http://"+host != address || asked != "POST /api/token?expires_at=true" || from != "198.51.100.7, 192.0.2.1, 127.0.0.1" {
		t.Errorf("the token server was asked: %s of %s, by %s", asked, host, from)
	}
}

func TestAProgramWithoutAPageSaysHowToGetOne(t *testing.T) {
	if _, err := (site{}).handler(fstest.MapFS{}); err == nil || !strings.Contains(err.Error(), "npm run build") {
		t.Errorf("got %v", err)
	}
	if _, err := (site{tokenServer: ":"}).handler(page); err == nil || !strings.Contains(err.Error(), "--token-server") {
		t.Errorf("a bad address: %v", err)
	}
}
