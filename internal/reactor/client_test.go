package reactor

import (
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"
)

func TestNewClientRefusesWhatCannotWork(t *testing.T) {
	path := func(content string) string { return writeFile(t, filepath.Join(t.TempDir(), "ca.crt"), content) }
	privateKey := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}))
	garbled := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("secret")}))
	empty := path("")
	tests := []struct {
		name      string
		options   Options
		wantError string
	}{
		{"https with a host", Options{BaseURL: DefaultBaseURL}, ""},
		{"http, a port, a path and a trailing slash", Options{BaseURL: "http://127.0.0.1:8090/api/"}, ""},
		{"no URL", Options{}, "base URL: it must start with https:// or http://"},
		{"no scheme", Options{BaseURL: "api.reactor.inc"}, "base URL: it must start with https:// or http://"},
		{"another scheme", Options{BaseURL: "ftp://api.reactor.inc"}, "base URL: it must start with https:// or http://"},
		{"no host", Options{BaseURL: "https://:443"}, "base URL: it has no host name"},
		{"an opaque URL", Options{BaseURL: "https:api.reactor.inc"}, "base URL: it has no host name"},
		{"a password", Options{BaseURL: "https://user:secret@api.reactor.inc"}, "base URL: it must not contain a user name or a password"},
		{"a password in what does not parse", Options{BaseURL: "https://user:secret@api.reactor.inc:port"}, "base URL: it is not a URL"},
		{"a query", Options{BaseURL: "https://api.reactor.inc?key=secret"}, "base URL: it must not contain a query or a fragment"},
		{"an empty query", Options{BaseURL: "https://api.reactor.inc?"}, "base URL: it must not contain a query or a fragment"},
		{"a fragment", Options{BaseURL: "https://api.reactor.inc#secret"}, "base URL: it must not contain a query or a fragment"},
		{"a bundle that is not PEM", Options{BaseURL: DefaultBaseURL, CABundleFile: path("secret")}, "CA bundle: it contains no certificate in PEM format"},
		{"a bundle with a private key", Options{BaseURL: DefaultBaseURL, CABundleFile: path(privateKey)}, "CA bundle: block 1 is not a certificate"},
		{"a bundle with a garbled certificate", Options{BaseURL: DefaultBaseURL, CABundleFile: path(garbled)}, "CA bundle: certificate 1: x509: malformed certificate"},
		{"an empty bundle", Options{BaseURL: DefaultBaseURL, CABundleFile: empty}, empty + " is empty"},
		{"a bundle that does not exist", Options{BaseURL: DefaultBaseURL, CABundleFile: "/no/such.pem"}, "open /no/such.pem: no such file or directory"},
		{"a user agent with a line break", Options{BaseURL: DefaultBaseURL, UserAgent: "a\r\nb"}, "user agent: it contains control characters"},
		{"a negative timeout", Options{BaseURL: DefaultBaseURL, Timeout: -1}, "timeout: it is negative"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := NewClient(test.options)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.wantError || strings.Contains(got, "secret") {
				t.Errorf("got  %q\nwant %q", got, test.wantError)
			}
		})
	}
}

func TestTheAddressKeepsItsPathAndLosesItsTrailingSlashes(t *testing.T) {
	for base, want := range map[string]string{
		"https://api.reactor.inc":          "https://api.reactor.inc",
		"https://api.reactor.inc//":        "https://api.reactor.inc",
		"http://proxy.internal:80/reactor": "http://proxy.internal:80/reactor",
	} {
		client, err := NewClient(Options{BaseURL: base})
		if err != nil {
			t.Fatal(err)
		}
		if client.baseURL != want {
			t.Errorf("%s becomes %s, want %s", base, client.baseURL, want)
		}
	}
}
