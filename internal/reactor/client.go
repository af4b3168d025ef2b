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
	// DefaultBaseURL is the address of Reactor's API.
	DefaultBaseURL = "https://api.reactor.inc"

	// DefaultTimeout limits a call, from the DNS lookup to the last byte of the answer.
	DefaultTimeout = 15 * time.Second

	defaultUserAgent = "reactor-operator"
)

// Clock returns the local time. The clocks of k8s.io/utils/clock implement it.
type Clock interface {
	Now() time.Time
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

// Options configures a Client.
type Options struct {
	// BaseURL is the address of the API, with an optional path, such as https://api.reactor.inc. A user who sets it can collect API keys, so
	// only the administrator of the installation may set it, and never a tenant.
	BaseURL string

	// UserAgent is sent with each request. The default is reactor-operator.
	UserAgent string

	// CABundleFile is the path of a PEM file of certificates to trust in addition to the system certificates, for a proxy that terminates
	// TLS; empty for none. The client reads it again when it changes, as a mounted ConfigMap does. A Transport that replaces the client's
	// own does not use it.
	CABundleFile string

	// CABundleReloaded, if not nil, is called after CABundleFile changed: with nil if the client uses the new certificates, or with the
	// reason why it keeps the previous ones, once for each reason. The client calls it at the start of a request, so it must not wait for a
	// request of this client.
	CABundleReloaded func(error)

	// Timeout limits a whole call. The default is DefaultTimeout.
	Timeout time.Duration

	// Transport replaces the client's own transport in tests. The own one uses HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
	Transport http.RoundTripper

	// Clock is the local clock. The default is the system clock.
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

// NewClient validates the options and reads CABundleFile. Its errors name the option, or the file that cannot be read, but not their
// content.
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
		return nil, errors.New("user agent: it contains control characters")
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

// apply replaces defaults by the options that are set.
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

// transportForCall returns the transport for a call, and a function to call if that call times out.
func (c *Client) transportForCall() (transport http.RoundTripper, timedOut func()) {
	if c.transport != nil {
		return c.transport, func() {}
	}
	own := c.own.forCall()
	return own, func() { c.own.retire(own) }
}

// parseBaseURL returns the URL without its trailing slashes. It does not return the error of url.Parse, which quotes the URL and any
// password in it.
func parseBaseURL(text string) (string, error) {
	base, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("it is not a URL")
	case base.Scheme != "http" && base.Scheme != "https":
		return "", errors.New("it must start with https:// or http://")
	case base.Hostname() == "":
		return "", errors.New("it has no host name")
	case base.User != nil:
		return "", errors.New("it must not contain a user name or a password")
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return "", errors.New("it must not contain a query or a fragment")
	}
	return strings.TrimRight(base.String(), "/"), nil
}

// isHeaderText reports whether s can be the value of a header: it contains no control character.
func isHeaderText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
