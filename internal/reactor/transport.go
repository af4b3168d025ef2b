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
	// maxHeaderBytes is the maximum size of the header of an answer.
	maxHeaderBytes = 64 << 10

	// maxIdleConnections is the maximum number of HTTP/1.1 connections that stay open for the next call. It is larger than the number of
	// workers. With net/http's default of 2 per host, most workers would open a new connection for each call.
	maxIdleConnections = 64

	// idleConnTimeout is shorter than the minute for which an API key may stay in memory after its last use, because the buffers of a
	// connection contain the data that was sent last until the connection is closed.
	idleConnTimeout = 45 * time.Second

	// A NAT or a proxy may silently drop an established connection. HTTP/2 sends all calls over one connection, and a call that
	// times out only ends its stream, so the next call uses the dead connection again. Therefore the client sends a ping on a connection
	// on which nothing arrived for sendPingAfter, and closes it if no response arrives within pingTimeout. The sum is less than
	// DefaultTimeout, so that the error of a call over a dead connection names the lost connection and not the timeout of the call.
	sendPingAfter = 5 * time.Second
	pingTimeout   = 5 * time.Second
)

// ownTransport contains the http.Transport for new calls. It replaces that transport, and closes the connections that no call uses, in two
// cases:
//   - A call timed out. Pings do not detect every dead connection: HTTP/1.1 has no pings, and a proxy may answer them although its own
//     connection to Reactor is dead. Pending calls continue on the old connections.
//   - The file of the CA bundle changed. New calls must not use a connection that was verified with the previous certificates.
//
// It is safe for concurrent use.
type ownTransport struct {
	caBundleFile     string
	caBundleReloaded func(error) // may be nil
	http2            http.HTTP2Config

	mu       sync.Mutex
	current  *http.Transport
	roots    *x509.CertPool // nil: the system certificates
	loaded   fs.FileInfo    // the version of the file from which roots were read
	reported string         // the reported reason why the file cannot be used; empty if it can be used
}

// newOwnTransport reads the CA bundle, if caBundleFile is not empty.
func newOwnTransport(caBundleFile string, caBundleReloaded func(error)) (*ownTransport, error) {
	own := &ownTransport{
		caBundleFile:     caBundleFile,
		caBundleReloaded: caBundleReloaded,
		http2: http.HTTP2Config{
			SendPingTimeout: sendPingAfter, PingTimeout: pingTimeout,
			MaxEncoderHeaderTableSize: 1, // so small that no header fits: otherwise the table would keep API keys
		},
	}
	if caBundleFile != "" {
		// The version is read first: if the file changes before it is read, the next call reads it again. The error of a missing file is
		// ignored here, because readCABundle returns it with the name of the file.
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

// forCall returns the transport for a new call. It checks the file of the CA bundle for each call. This costs one stat and needs no
// goroutine, and there is no interval in which calls fail although the file already contains a proxy's new certificate.
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

// retire replaces a transport on which a call timed out. If several calls time out on it, only the first call replaces it: the later ones
// must not replace the new transport.
func (o *ownTransport) retire(transport *http.Transport) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.current == transport {
		o.replace()
	}
}

// replace replaces the current transport and closes its idle connections. The connections in use are closed no later than
// idleConnTimeout after their last call, or when a ping is lost.
func (o *ownTransport) replace() {
	old := o.current
	o.current = o.build()
	old.CloseIdleConnections()
}

// reload reads the file of the CA bundle again if it changed. It reports whether there is news: a new version is in use (no error), or the
// previous certificates stay in use for a reason that was not reported yet. A file that cannot be used may be only partly written, so it is
// read at each call until it can be used.
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

// isSameVersion reports whether a file was neither written nor replaced. Kubernetes updates a mounted ConfigMap or Secret by pointing a
// symbolic link to other files.
func isSameVersion(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// build returns a transport that uses the current roots and the proxies from the environment.
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

// readCABundle returns the system certificates and those of the file.
func readCABundle(file string) (*x509.CertPool, error) {
	bundle, err := os.ReadFile(file) //nolint:gosec // the path is a flag of the installation
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

// rootsWith returns the system certificates and those of the bundle. A block that is not a certificate is an error, because the path then
// probably names a wrong file, such as that of a private key.
func rootsWith(bundle []byte) (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system certificates: %w", err)
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
		return nil, errors.New("it contains no certificate in PEM format")
	}
	return roots, nil
}
