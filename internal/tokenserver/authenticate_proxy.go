package tokenserver

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
)

// longestName bounds a caller's name, in bytes.
const longestName = 512

// proxyHeader believes what an authenticating proxy writes into a header, if the request comes from one of the named networks.
type proxyHeader struct {
	header   string
	networks []netip.Prefix
}

// inspect implements authenticator.
func (p *proxyHeader) inspect(request *http.Request) (bool, error) {
	_, err := p.authenticate(request)
	return err == nil, err
}

// authenticate implements authenticator. A caller is what the proxy calls him.
func (p *proxyHeader) authenticate(request *http.Request) (string, error) {
	values := request.Header.Values(p.header)
	if len(values) == 0 || values[0] == "" {
		return "", errNoCredentials
	}
	switch {
	case !within(p.networks, peerOf(request)):
		return "", &refusedError{errors.New("the header " + p.header + " comes from outside the networks of the proxy")}
	case len(values) > 1: // the proxy adds its own to that of the visitor
		return "", &refusedError{errors.New("the header " + p.header + " is there several times")}
	case len(values[0]) > longestName:
		return "", &refusedError{errors.New("the header " + p.header + " is too long")}
	}
	return values[0], nil
}

// peerOf is the address at the other end of the connection. What headers say about it does not count.
func peerOf(request *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(request.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap().WithZone("")
}

func within(networks []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(networks, func(network netip.Prefix) bool { return network.Contains(address) })
}
