package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// serviceRange has the cluster IPs of Services: what envtest gives kube-apiserver.
const serviceRange = "10.0.0.0/24"

// serviceNetwork is what kube-proxy and a DNS server are elsewhere: it accepts connections to cluster IPs within the node's namespaces and
// passes them to pods. A connection comes from the node then, and not from the pod that opened it. kube-proxy itself would need iptables or
// nftables, which not every machine has.
type serviceNetwork struct {
	inside   *namespaces
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu        sync.Mutex
	listeners map[string]io.Closer // by address and port
	errs      []error
}

// startServiceNetwork returns once the Services that exist are served. The context bounds only the start.
func startServiceNetwork(ctx context.Context, config *rest.Config, inside *namespaces) (*serviceNetwork, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().Services()
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n := &serviceNetwork{
		inside: inside, services: informer.Lister(), slices: factory.Discovery().V1().EndpointSlices().Lister(), cancel: cancel,
		listeners: map[string]io.Closer{},
	}
	changed := make(chan struct{}, 1)
	tell := func(any) {
		select {
		case changed <- struct{}{}:
		default: // a change is pending already
		}
	}
	if _, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: tell, UpdateFunc: func(_, object any) { tell(object) }, DeleteFunc: tell,
	}); err != nil {
		cancel()
		return nil, err
	}
	factory.Start(running.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			cancel()
			return nil, fmt.Errorf("the service network: read all %s: %w", kind, context.Cause(ctx))
		}
	}
	if err := n.serveNames(); err != nil {
		cancel()
		return nil, err
	}
	n.listen(running)
	n.running.Go(func() {
		for {
			select {
			case <-changed:
				n.listen(running)
			case <-running.Done():
				factory.Shutdown()
				return
			}
		}
	})
	return n, nil
}

// stop ends all connections.
func (n *serviceNetwork) stop() {
	n.cancel()
	n.mu.Lock()
	for _, listener := range n.listeners {
		_ = listener.Close()
	}
	n.mu.Unlock()
	n.running.Wait()
}

// failure is what could not be served.
func (n *serviceNetwork) failure() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return errors.Join(n.errs...)
}

// listen listens for each port of each Service, and no longer for those that are gone.
func (n *serviceNetwork) listen(ctx context.Context) {
	services, err := n.services.List(labels.Everything())
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.errs = append(n.errs, err)
		return
	}
	wanted := map[string]bool{nameServerAddress: true}
	for _, service := range services {
		for _, port := range service.Spec.Ports {
			if !hasClusterIP(service) || port.Protocol != corev1.ProtocolTCP {
				continue
			}
			address := net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(int(port.Port)))
			wanted[address] = true
			if n.listeners[address] != nil {
				continue
			}
			listener, err := enter(n.inside.pid(), func() (net.Listener, error) { return net.Listen("tcp", address) })
			if err != nil {
				n.errs = append(n.errs, fmt.Errorf("the service network: serve Service %s/%s: %w", service.Namespace, service.Name, err))
				continue
			}
			n.listeners[address] = listener
			n.running.Go(func() { n.accept(ctx, listener, service.Namespace, service.Name, port.Name) })
		}
	}
	for address, listener := range n.listeners {
		if !wanted[address] {
			_ = listener.Close()
			delete(n.listeners, address)
		}
	}
}

func hasClusterIP(service *corev1.Service) bool {
	return service.Spec.ClusterIP != "" && service.Spec.ClusterIP != corev1.ClusterIPNone
}

// accept passes connections on until the listener is closed.
func (n *serviceNetwork) accept(ctx context.Context, listener net.Listener, namespace, service, port string) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		n.running.Go(func() { n.pass(ctx, connection, namespace, service, port) })
	}
}

// pass connects a client with a pod. Without a pod the client's connection ends, as it would be refused elsewhere.
func (n *serviceNetwork) pass(ctx context.Context, client net.Conn, namespace, service, port string) {
	defer func() { _ = client.Close() }()
	endpoints := n.endpoints(namespace, service, port)
	if len(endpoints) == 0 {
		return
	}
	const dialTimeout = 10 * time.Second
	dialer := net.Dialer{Timeout: dialTimeout}
	pod, err := dialer.DialContext(ctx, "tcp", endpoints[rand.IntN(len(endpoints))]) //nolint:gosec // no secret depends on which pod it is
	if err != nil {
		return
	}
	defer func() { _ = pod.Close() }()
	stop := context.AfterFunc(ctx, func() { _, _ = client.Close(), pod.Close() })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { copyHalf(pod, client) })
	both.Go(func() { copyHalf(client, pod) })
	both.Wait()
}

// copyHalf copies one direction of a connection, and passes its end on.
func copyHalf(to, from net.Conn) {
	_, _ = io.Copy(to, from) // what ends it early ends the other direction too
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// endpoints are the addresses of the pods that are ready for a port of a Service.
func (n *serviceNetwork) endpoints(namespace, service, port string) []string {
	all, err := n.slices.EndpointSlices(namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service}))
	if err != nil {
		return nil
	}
	return addresses(all, port)
}

func addresses(all []*discoveryv1.EndpointSlice, port string) []string {
	var found []string
	for _, slice := range all {
		at := slices.IndexFunc(slice.Ports, func(p discoveryv1.EndpointPort) bool { return p.Port != nil && (p.Name == nil || *p.Name == port) })
		if at < 0 {
			continue
		}
		for i := range slice.Endpoints {
			if ready := slice.Endpoints[i].Conditions.Ready; ready != nil && !*ready {
				continue
			}
			for _, address := range slice.Endpoints[i].Addresses {
				found = append(found, net.JoinHostPort(address, strconv.Itoa(int(*slice.Ports[at].Port))))
			}
		}
	}
	return found
}
