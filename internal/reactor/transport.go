package reactor

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// maxHeaderBytes bounds the answer's header, as maxAnswerBytes bounds its body.
	maxHeaderBytes = 64 << 10

	// maxIdleConnections is how many HTTP/1.1 connections stay open for the next call: more than there are workers. With net/http's
	// default of 2 per host, the other workers dial, and shake hands, for every call.
	maxIdleConnections = 64

	// idleConnTimeout is shorter than the minute for which an API key may stay in memory after its last use: the buffers of a
	// connection hold what was sent last until it is closed.
	idleConnTimeout = 45 * time.Second

	// A NAT or a proxy may silently drop an established connection. HTTP/2 sends all calls over one connection, and a call that
	// times out ends its stream only, so the next call uses the dead connection again. Therefore a connection on which nothing
	// arrived for sendPingAfter is asked for a sign of life, and closed when none comes within pingTimeout. Together they are below
	// DefaultTimeout, so that a call over a dead connection ends with the true reason.
	sendPingAfter = 5 * time.Second
	pingTimeout   = 5 * time.Second
)

// ownTransport holds the http.Transport that new calls use. It replaces it, and so drops the connections that no call uses, in two
// cases:
//   - A call timed out. Pings do not show everything: HTTP/1.1 has none, and a proxy may answer them while its own way to Reactor is
//     dead. Calls that are pending on the old connections end there.
//   - The file of the CA bundle changed. New calls must not use a connection that the previous certificates allowed.
//
// It is safe for concurrent use.
type ownTransport struct {
	caBundleFile     string
	caBundleReloaded func(error) // may be nil
	http2            http.HTTP2Config

	mu       sync.Mutex
	current  *http.Transport
	roots    *x509.CertPool // nil for the system's
	loaded   fs.FileInfo    // the version of the file that roots are from
	reported string         // why the file cannot be used now; empty if it can
}

// newOwnTransport reads the CA bundle; an empty name stands for none.
func newOwnTransport(caBundleFile string, caBundleReloaded func(error)) (*ownTransport, error) {
	own := &ownTransport{
		caBundleFile:     caBundleFile,
		caBundleReloaded: caBundleReloaded,
		http2: http.HTTP2Config{
			SendPingTimeout: sendPingAfter, PingTimeout: pingTimeout,
			MaxEncoderHeaderTableSize: 1, // no header fits: the table would keep each key
		},
	}
	if caBundleFile != "" {
		// The version first: if the file changes in between, the next call reads it again. A file that is missing is reported by the
		// next line, which names it.
		own.loaded, _ = os.Stat(caBundleFile)
		roots, err := readCABundle(caBundleFile)
		if err != nil {
			return nil, err
		}
		own.roots = roots
	}
	own.current = own.build()
	return own, nil
}

// forCall returns the transport for a new call. The file of the CA bundle is checked for each: that is one stat, and needs neither a
// goroutine nor a period in which a new certificate of a proxy fails.
func (o *ownTransport) forCall() *http.Transport {
	o.mu.Lock()
	changed, err := o.reload()
	transport := o.current
	o.mu.Unlock()
	if changed && o.caBundleReloaded != nil {
		o.caBundleReloaded(err)
	}
	return transport
}

// retire replaces a transport on which a call timed out. Of several calls that time out on it, the first does; the later ones do not
// replace the new transport.
func (o *ownTransport) retire(transport *http.Transport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.current == transport {
		o.replace()
	}
}

// replace drops the current transport. Its idle connections are closed; those in use are closed when they have been idle for a
// while, or lost their ping.
func (o *ownTransport) replace() {
	old := o.current
	o.current = o.build()
	old.CloseIdleConnections()
}

// reload reads the file of the CA bundle again if it is not the version that was read. It reports whether there is news: a new
// version in use (no error), or another reason than before why the previous certificates stay in use. A file that cannot be used is
// read at each call until it can: it may be half written.
func (o *ownTransport) reload() (news bool, err error) {
	if o.caBundleFile == "" {
		return false, nil
	}
	version, err := os.Stat(o.caBundleFile)
	if err == nil && o.reported == "" && isSameVersion(version, o.loaded) {
		return false, nil
	}
	var roots *x509.CertPool
	if err == nil {
		roots, err = readCABundle(o.caBundleFile)
	}
	if err != nil {
		news = err.Error() != o.reported
		o.reported = err.Error()
		return news, err
	}
	o.loaded, o.roots, o.reported = version, roots, ""
	o.replace()
	return true, nil
}

// isSameVersion reports whether a file was neither written nor replaced. Kubernetes updates a mounted ConfigMap or Secret by turning a
// symbolic link to other files.
func isSameVersion(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// build returns a transport with proxies from the environment and the roots.
func (o *ownTransport) build() *http.Transport {
	http2 := o.http2
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.roots},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http2,
		DisableCompression:     true,
		MaxIdleConns:           maxIdleConnections,
		MaxIdleConnsPerHost:    maxIdleConnections,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

// readCABundle returns the system's roots and those of the file.
func readCABundle(file string) (*x509.CertPool, error) {
	bundle, err := os.ReadFile(file) //nolint:gosec // the installation names the file
	if err != nil {
		return nil, err
	}
	if len(bundle) == 0 {
		return nil, fmt.Errorf("%s is empty", file)
	}
	roots, err := rootsWith(bundle)
	if err != nil {
		return nil, fmt.Errorf("CA bundle: %w", err)
	}
	return roots, nil
}

// rootsWith returns the system's roots and those of the bundle. A block that is not a certificate is an error and not skipped: the
// file is then another one than meant, such as the key's.
func rootsWith(bundle []byte) (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificates: %w", err)
	}
	count := 0
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
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
