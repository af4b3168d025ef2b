package authn

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxCallerBytes limits the length of a caller's name.
const maxCallerBytes = 512

// proxyHeader accepts the caller that an authenticating proxy names in a header, if the request comes from one of the networks.
type proxyHeader struct {
	header   string
	networks []netip.Prefix
}

// Inspect implements Authenticator.
func (p *proxyHeader) Inspect(request *http.Request) (bool, error) {
	_, err := p.Authenticate(request)
	return err == nil, err
}

// Authenticate implements Authenticator. The caller is the value of the header.
func (p *proxyHeader) Authenticate(request *http.Request) (string, error) {
	values := request.Header.Values(p.header)
	if len(values) == 0 || values[0] == "" {
		return "", ErrNoCredentials
	}
	switch {
	case !contains(p.networks, peerAddress(request)):
		return "", &RejectedError{errors.New("the header " + p.header + " comes from outside the networks of the proxy")}
	case len(values) > 1: // a visitor sent the header, and the proxy added its own
		return "", &RejectedError{errors.New("the header " + p.header + " occurs several times")}
	case len(values[0]) > maxCallerBytes:
		return "", &RejectedError{errors.New("the header " + p.header + " is too long")}
	}
	return values[0], nil
}

// ParseNetworks parses the networks of --proxy-networks.
func ParseNetworks(networks []string) ([]netip.Prefix, error) {
	var parsed []netip.Prefix
	for _, network := range networks {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return nil, fmt.Errorf("--proxy-networks: %w", err)
		}
		parsed = append(parsed, prefix)
	}
	return parsed, nil
}

// ClientAddress returns the address of the visitor, or its network of 64 bits for IPv6: one visitor has many addresses there. Each trusted proxy
// appends the address of its client to X-Forwarded-For. So the entries are read from the last one, as long as a trusted proxy added them: a
// client can have made up the entries before.
func ClientAddress(request *http.Request, proxies []netip.Prefix) string {
	address := peerAddress(request)
	entries := strings.Split(strings.Join(request.Header.Values("X-Forwarded-For"), ","), ",")
	for _, entry := range slices.Backward(entries) {
		forwarded, err := netip.ParseAddr(strings.TrimSpace(entry))
		if err != nil || !contains(proxies, address) {
			break
		}
		address = forwarded.Unmap().WithZone("")
	}
	if address.Is6() {
		if network, err := address.Prefix(64); err == nil {
			return network.String()
		}
	}
	return address.String()
}

// peerAddress returns the address at the other end of the connection. Headers do not change it.
func peerAddress(request *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(request.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap().WithZone("")
}

func contains(networks []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(networks, func(network netip.Prefix) bool { return network.Contains(address) })
}
