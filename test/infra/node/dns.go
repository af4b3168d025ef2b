package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// clusterDomain is where the names of Services end.
	clusterDomain = "cluster.local"
	// nameServerAddress is where pods ask for names.
	nameServerAddress = nodeAddress + ":53"
	// ttl is for how many seconds a pod may remember an answer.
	ttl = 5
)

// serveNames answers pods that ask for the names of Services.
func (n *serviceNetwork) serveNames() error {
	socket, err := enter(n.inside.pid(), func() (net.PacketConn, error) { return net.ListenPacket("udp", nameServerAddress) })
	if err != nil {
		return fmt.Errorf("the service network: listen for DNS: %w", err)
	}
	n.listeners[nameServerAddress] = socket
	n.running.Go(func() {
		const maxQuery = 4096
		query := make([]byte, maxQuery)
		for {
			size, client, err := socket.ReadFrom(query)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			if answer, err := answerQuery(query[:size], n.clusterIP); err == nil {
				_, _ = socket.WriteTo(answer, client) // a client that gets no answer asks again
			}
		}
	})
	return nil
}

// clusterIP looks up a Service.
func (n *serviceNetwork) clusterIP(namespace, name string) (address netip.Addr, found bool) {
	service, err := n.services.Services(namespace).Get(name)
	if err != nil || !hasClusterIP(service) {
		return netip.Addr{}, false
	}
	address, err = netip.ParseAddr(service.Spec.ClusterIP)
	return address, err == nil
}

// answerQuery answers a DNS query: the cluster IP for the name of a Service, and for every other name that it does not exist.
func answerQuery(query []byte, clusterIP func(namespace, name string) (netip.Addr, bool)) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	address, found := netip.Addr{}, false
	if namespace, name, ok := serviceOf(question.Name.String()); ok {
		address, found = clusterIP(namespace, name)
	}
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired},
		Questions: []dnsmessage.Question{question},
	}
	switch {
	case !found:
		reply.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		reply.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: ttl},
			Body:   &dnsmessage.AResource{A: address.As4()},
		}}
	}
	return reply.Pack()
}

// serviceOf reads NAME.NAMESPACE.svc.cluster.local.
func serviceOf(query string) (namespace, name string, ok bool) {
	path, ok := strings.CutSuffix(strings.ToLower(query), ".svc."+clusterDomain+".")
	if !ok {
		return "", "", false
	}
	name, namespace, ok = strings.Cut(path, ".")
	return namespace, name, ok && !strings.Contains(namespace, ".")
}
