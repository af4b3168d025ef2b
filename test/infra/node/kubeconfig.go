package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
)

// kubeconfigExtension is the name of the extension by which hack/deploy recognizes a node. It has the same name there.
const kubeconfigExtension = "node.reactor.inc"

// extension is what a program needs to import images into this node: containerd has no address outside of the node's namespaces.
type extension struct {
	// PID is the first process of the node's namespaces.
	PID int `json:"pid"`
	// Ctr is the program that talks to containerd, at Address.
	Ctr     string `json:"ctr"`
	Address string `json:"address"`
}

// markKubeconfig adds the extension to the context of the administrator's kubeconfig.
func (n *Node) markKubeconfig() error {
	ctr, err := filepath.Abs(filepath.Join(n.binDir, "ctr"))
	if err != nil {
		return err
	}
	raw, err := json.Marshal(extension{PID: n.inside.cmd.Process.Pid, Ctr: ctr, Address: socket})
	if err != nil {
		return err
	}
	path := n.ControlPlane.KubeconfigPath()
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return fmt.Errorf("mark the kubeconfig of the node: %w", err)
	}
	for _, context := range config.Contexts {
		context.Extensions = map[string]runtime.Object{kubeconfigExtension: &runtime.Unknown{Raw: raw, ContentType: runtime.ContentTypeJSON}}
	}
	content, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("mark the kubeconfig of the node: %w", err)
	}
	return os.WriteFile(path, content, 0o600)
}
