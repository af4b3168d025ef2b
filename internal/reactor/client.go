package reactor

import (
	"errors"
	"fmt"
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

	// CABundleFile is the path of a file of certificates in PEM that are trusted in addition to the system's, for a proxy that
	// ends TLS; empty for none. It is read again when it changes, such as a mounted ConfigMap. It is used by the client's own
	// transport only.
	CABundleFile string

	// CABundleReloaded is called after CABundleFile changed: with nil when the client uses the new certificates, or with the
	// reason why it keeps those that it read before, once for each reason. It may be nil, and is called by the calls of the
	// client, so it must not wait for one.
	CABundleReloaded func(error)

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
	own       *ownTransport
	transport http.RoundTripper // replaces own if it is not nil
	clock     Clock
}

// NewClient validates the options and reads CABundleFile. Its errors name the option, or the file that cannot be read, and never what
// is in it.
func NewClient(options Options) (*Client, error) {
	base, err := parseBaseURL(options.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("base URL: %w", err)
	}
	own, err := newOwnTransport(options.CABundleFile, options.CABundleReloaded)
	if err != nil {
		return nil, err
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
		own:       own,
		transport: options.Transport,
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
	if options.Clock != nil {
		c.clock = options.Clock
	}
}

// transportForCall returns what sends a call, and what to do when that call timed out.
func (c *Client) transportForCall() (transport http.RoundTripper, timedOut func()) {
	if c.transport != nil {
		return c.transport, func() {}
	}
	own := c.own.forCall()
	return own, func() { c.own.retire(own) }
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

// isHeaderText tells whether s can be sent as the value of a header: it holds no control character.
func isHeaderText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
