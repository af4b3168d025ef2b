package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// The kinds of clusters that take an image archive without a registry.
const (
	kindCluster     = "kind"
	k3dCluster      = "k3d"
	minikubeCluster = "minikube"
	nodeCluster     = "make node"
)

// target is the cluster of a kubeconfig context.
type target struct {
	// context is the name of the kubeconfig context, and server the URL of its API server.
	context, server string
	// kind is one of the constants above. Empty: another cluster, which pulls its images.
	kind string
	// name is what the command that loads images calls the cluster.
	name string
	// node is what `make node` recorded about itself in its kubeconfig.
	node nodeExtension
	// local reports whether the cluster is on this machine.
	local bool
}

// String describes the target in a sentence.
func (t target) String() string {
	what := "cluster"
	switch t.kind {
	case kindCluster, k3dCluster, minikubeCluster:
		what = fmt.Sprintf("%s cluster %q", t.kind, t.name)
	case nodeCluster:
		what = "node of `make node`"
	}
	return fmt.Sprintf("context %q, %s at %s", t.context, what, t.server)
}

// nodeExtension is the extension `node.reactor.inc` of a kubeconfig that `make node` wrote. test/infra/node has the same fields.
type nodeExtension struct {
	// PID is the first process of the node's namespaces.
	PID int `json:"pid"`
	// Ctr is the program that talks to containerd, at Address.
	Ctr     string `json:"ctr"`
	Address string `json:"address"`
}

const (
	nodeExtensionName = "node.reactor.inc"
	minikubeProvider  = "minikube.sigs.k8s.io"
)

// errNoContext is returned when there is no cluster to choose.
var errNoContext = errors.New("the kubeconfig has no current context, so there is no cluster to install into. " +
	"Run `kubectl config use-context NAME`, set KUBECONFIG, or start a cluster: `kind create cluster`, or `make node` on Linux as root")

// recognize reads the current context of a kubeconfig.
func recognize(config clientcmdapi.Config) (target, error) {
	if config.CurrentContext == "" {
		return target{}, errNoContext
	}
	current := config.Contexts[config.CurrentContext]
	if current == nil {
		return target{}, fmt.Errorf("the current context %q does not exist in the kubeconfig. Run `kubectl config get-contexts` to list its contexts", config.CurrentContext)
	}
	cluster := config.Clusters[current.Cluster]
	if cluster == nil {
		return target{}, fmt.Errorf("context %q names the cluster %q, which the kubeconfig does not describe. Run `kubectl config get-clusters`",
			config.CurrentContext, current.Cluster)
	}
	t := target{context: config.CurrentContext, server: cluster.Server}
	t.kind, t.name, t.node = recognizeKind(config.CurrentContext, current)
	// A user can rename a context, so its name alone does not prove that the cluster is local. The address must be local too.
	t.local = t.kind != "" && isLocal(cluster.Server)
	return t, nil
}

func recognizeKind(name string, current *clientcmdapi.Context) (kind, cluster string, node nodeExtension) {
	if extension(current.Extensions[nodeExtensionName], &node) && node.PID > 0 {
		return nodeCluster, "", node
	}
	if cluster, found := strings.CutPrefix(name, "kind-"); found {
		return kindCluster, cluster, node
	}
	if cluster, found := strings.CutPrefix(name, "k3d-"); found {
		return k3dCluster, cluster, node
	}
	if name == minikubeCluster || isMinikube(current.Extensions) {
		// minikube names the cluster of its kubeconfig after its profile.
		return minikubeCluster, current.Cluster, node
	}
	return "", "", node
}

func isMinikube(extensions map[string]runtime.Object) bool {
	for _, object := range extensions {
		var info struct {
			Provider string `json:"provider"`
		}
		if extension(object, &info) && info.Provider == minikubeProvider {
			return true
		}
	}
	return false
}

// extension reads an extension of a kubeconfig, and reports whether that was possible.
func extension(object runtime.Object, into any) bool {
	raw, ok := object.(*runtime.Unknown)
	return ok && json.Unmarshal(raw.Raw, into) == nil
}

// isLocal reports whether the address of an API server can be one of this machine: loopback, or a private network, as those of containers and
// virtual machines are.
func isLocal(server string) bool {
	parsed, err := url.Parse(server)
	if err != nil {
		return false
	}
	if host := parsed.Hostname(); host == "localhost" || host == "host.docker.internal" {
		return true
	}
	address, err := netip.ParseAddr(parsed.Hostname())
	if err != nil {
		return false
	}
	// RFC 2544 reserves this range for tests; `make node` uses it.
	tests := netip.MustParsePrefix("198.18.0.0/15")
	return address.IsLoopback() || address.IsUnspecified() || address.IsPrivate() || tests.Contains(address)
}

// loadCommands are the commands that load these archives into the cluster. It is empty if the cluster cannot load archives.
func (t target) loadCommands(archives []string) [][]string {
	var commands [][]string
	for _, archive := range archives {
		switch t.kind {
		case kindCluster:
			commands = append(commands, []string{"kind", "load", "image-archive", archive, "--name", t.name})
		case k3dCluster:
			commands = append(commands, []string{"k3d", "image", "import", archive, "--cluster", t.name})
		case minikubeCluster:
			commands = append(commands, []string{"minikube", "image", "load", archive, "--profile", t.name})
		case nodeCluster:
			commands = append(commands, []string{
				"nsenter", "--target", strconv.Itoa(t.node.PID), "--mount", "--net", "--pid", "--",
				t.node.Ctr, "--address", t.node.Address, "--namespace", "k8s.io", "images", "import", archive,
			})
		}
	}
	return commands
}
