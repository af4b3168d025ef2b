package reactor

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// DefaultBaseURL is where Reactor's API is.
	DefaultBaseURL = "https://api.reactor.inc"

	// DefaultTimeout bounds a call from the look-up of the name to the last byte of the answer.
	DefaultTimeout = 15 * time.Second

	defaultUserAgent = "reactor-operator"

	// maxHeaderBytes bounds the answer's header, as maxAnswerBytes bounds its body.
	maxHeaderBytes = 64 << 10
)

// Clock tells the local time. Those of k8s.io/utils/clock are such clocks.
type Clock interface {
	Now() time.Time
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

// Options configures a Client.
type Options struct {
	// BaseURL is the API's address, with an optional path: https://api.reactor.inc. Whoever sets it can collect keys, so
	// it belongs to the installation and never to a tenant.
	BaseURL string

	// UserAgent is sent with each request; reactor-operator when empty.
	UserAgent string

	// CABundle holds certificates in PEM that are trusted beside the system's, for a proxy that ends TLS. It is used by
	// the client's own transport only.
	CABundle []byte

	// Timeout bounds a whole call; DefaultTimeout when 0.
	Timeout time.Duration

	// Transport replaces the client's own, in tests. The own one honours HTTPS_PROXY and its relatives.
	Transport http.RoundTripper

	// Clock is the local clock; the real one when nil.
	Clock Clock
}

// Client calls Reactor's API. It is safe for concurrent use.
type Client struct {
	baseURL   string
	userAgent string
	timeout   time.Duration
	transport http.RoundTripper
	clock     Clock
}

// NewClient validates the options. Its errors name the option, and never what stands in it.
func NewClient(options Options) (*Client, error) {
	base, err := parseBaseURL(options.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("base URL: %w", err)
	}
	transport, err := ownTransport(options.CABundle)
	if err != nil {
		return nil, fmt.Errorf("CA bundle: %w", err)
	}
	if !isHeaderText(options.UserAgent) {
		return nil, errors.New("user agent: it holds control characters")
	}
	if options.Timeout < 0 {
		return nil, errors.New("timeout: it is negative")
	}
	client := &Client{
		baseURL:   base,
		userAgent: defaultUserAgent,
		timeout:   DefaultTimeout,
		transport: transport,
		clock:     realClock{},
	}
	client.apply(options)
	return client, nil
}

// apply replaces defaults by what is set.
func (c *Client) apply(options Options) {
	if options.UserAgent != "" {
		c.userAgent = options.UserAgent
	}
	if options.Timeout > 0 {
		c.timeout = options.Timeout
	}
	if options.Transport != nil {
		c.transport = options.Transport
	}
	if options.Clock != nil {
		c.clock = options.Clock
	}
}

// parseBaseURL returns the URL without its trailing slashes. The parser's own error is dropped: it quotes the URL, and
// with it a password that somebody wrote there.
func parseBaseURL(text string) (string, error) {
	base, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("it is not a URL")
	case base.Scheme != "http" && base.Scheme != "https":
		return "", errors.New("it must begin with https:// or http://")
	case base.Hostname() == "":
		return "", errors.New("it names no host")
	case base.User != nil:
		return "", errors.New("it must not hold a user name or a password")
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return "", errors.New("it must not hold a query or a fragment")
	}
	return strings.TrimRight(base.String(), "/"), nil
}

// ownTransport returns a transport with proxies from the environment and the extra roots.
func ownTransport(caBundle []byte) (*http.Transport, error) {
	roots, err := rootsWith(caBundle)
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           10,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}, nil
}

// rootsWith returns the system's roots and those of the bundle; nil, which is the system's, for an empty bundle. A block
// that is not a certificate is an error and not skipped: the file is then another one than meant, such as the key's.
func rootsWith(caBundle []byte) (*x509.CertPool, error) {
	if len(caBundle) == 0 {
		return nil, nil //nolint:nilnil // nil is how crypto/tls is told to take the system's roots
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificates: %w", err)
	}
	count := 0
	for block, rest := pem.Decode(caBundle); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d is not a certificate", count+1)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", count+1, err)
		}
		roots.AddCert(certificate)
		count++
	}
	if count == 0 {
		return nil, errors.New("it holds no certificate in PEM form")
	}
	return roots, nil
}

// isHeaderText tells whether s can be sent as the value of a header: it holds no control character.
func isHeaderText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
