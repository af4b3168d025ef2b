package node

import (
	"bytes"
	_ "embed"
	"os"
	"path/filepath"
	"text/template"
	"time"
)

var (
	//go:embed containerd.toml
	containerdConfiguration string
	//go:embed kubelet.yaml
	kubeletConfiguration string
	//go:embed bridge.conflist
	networkConfiguration string
)

// writeConfiguration makes the folders of the node's data, and writes the files that its programs read.
func writeConfiguration(syncFrequency time.Duration) error {
	for _, name := range []string{"cni", "containerd", "kubelet", "lib/kubelet", "log"} {
		if err := os.MkdirAll(filepath.Join(data, name), 0o700); err != nil {
			return err
		}
	}
	// Empty: there is no DNS beyond the cluster's.
	if err := os.WriteFile(filepath.Join(data, "resolv.conf"), nil, 0o600); err != nil {
		return err
	}
	values := map[string]string{
		"Data": data, "Name": mark, "Socket": socket, "Plugins": plugins, "PauseImage": pauseImage,
		"NodeAddress": nodeAddress, "PodNetwork": podNetwork, "SyncFrequency": syncFrequency.String(),
		"ClusterDomain": clusterDomain,
	}
	for name, text := range map[string]string{
		"containerd.toml":     containerdConfiguration,
		"kubelet.yaml":        kubeletConfiguration,
		"cni/bridge.conflist": networkConfiguration,
	} {
		form, err := template.New(name).Option("missingkey=error").Parse(text)
		if err != nil {
			return err
		}
		var filled bytes.Buffer
		if err := form.Execute(&filled, values); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(data, name), filled.Bytes(), 0o600); err != nil {
			return err
		}
	}
	return nil
}
