package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
)

// kubeconfig is what the programs write, in short: a context, its cluster, and their extensions.
func kubeconfig(context, cluster, server, contextExtensions string) string {
	return `
apiVersion: v1
kind: Config
current-context: ` + context + `
contexts:
- name: ` + context + `
  context:
    cluster: ` + cluster + `
    user: me
` + contextExtensions + `
clusters:
- name: ` + cluster + `
  cluster: {server: "` + server + `"}
`
}

func recognizeText(t *testing.T, text string) (target, error) {
	t.Helper()
	config, err := clientcmd.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return recognize(*config)
}

func TestTheContextSaysHowAClusterTakesImages(t *testing.T) {
	minikube := `
    extensions:
    - name: context_info
      extension: {provider: minikube.sigs.k8s.io, version: v1.37.0}
`
	node := `
    extensions:
    - name: node.reactor.inc
      extension: {pid: 42, ctr: /assets/ctr, address: /run/containerd/containerd.sock}
`
	archives := []string{"/bin/a.tar", "/bin/b.tar"}
	tests := map[string]struct {
		text  string
		local bool
		want  []string
	}{
		"kind": {
			text: kubeconfig("kind-dev", "kind-dev", "https://127.0.0.1:41234", ""), local: true,
			want: []string{"kind load image-archive /bin/a.tar --name dev", "kind load image-archive /bin/b.tar --name dev"},
		},
		"k3d": {
			text: kubeconfig("k3d-my-cluster", "k3d-my-cluster", "https://0.0.0.0:6550", ""), local: true,
			want: []string{"k3d image import /bin/a.tar --cluster my-cluster", "k3d image import /bin/b.tar --cluster my-cluster"},
		},
		"minikube by its name": {
			text: kubeconfig("minikube", "minikube", "https://192.168.49.2:8443", ""), local: true,
			want: []string{"minikube image load /bin/a.tar --profile minikube", "minikube image load /bin/b.tar --profile minikube"},
		},
		"minikube with a profile of another name": {
			text: kubeconfig("trial", "trial", "https://192.168.49.2:8443", minikube), local: true,
			want: []string{"minikube image load /bin/a.tar --profile trial", "minikube image load /bin/b.tar --profile trial"},
		},
		"make node": {
			text: kubeconfig("controlplane", "controlplane", "https://198.18.0.1:40001", node), local: true,
			want: []string{
				"nsenter --target 42 --mount --net --pid -- /assets/ctr --address /run/containerd/containerd.sock --namespace k8s.io images import /bin/a.tar",
				"nsenter --target 42 --mount --net --pid -- /assets/ctr --address /run/containerd/containerd.sock --namespace k8s.io images import /bin/b.tar",
			},
		},
		"a cluster of a provider":         {text: kubeconfig("production", "production", "https://k8s.example.com", "")},
		"another cluster of this machine": {text: kubeconfig("docker-desktop", "docker-desktop", "https://127.0.0.1:6443", "")},
		"a context that was given the name of kind": {
			text: kubeconfig("kind-prod", "prod", "https://k8s.example.com", ""),
			want: []string{"kind load image-archive /bin/a.tar --name prod", "kind load image-archive /bin/b.tar --name prod"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := recognizeText(t, test.text)
			if err != nil {
				t.Fatal(err)
			}
			var commands []string
			for _, command := range got.loadCommands(archives) {
				commands = append(commands, strings.Join(command, " "))
			}
			if diff := cmp.Diff(test.want, commands); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
			if got.local != test.local {
				t.Errorf("%s: local is %t", got, got.local)
			}
		})
	}
}

func TestAKubeconfigWithoutAContextIsRefusedWithAdvice(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"nothing":                   {"apiVersion: v1\nkind: Config\n", "kind create cluster"},
		"a context that is missing": {"apiVersion: v1\nkind: Config\ncurrent-context: gone\n", "kubectl config get-contexts"},
		"a cluster that is missing": {
			"apiVersion: v1\nkind: Config\ncurrent-context: half\ncontexts:\n- {name: half, context: {cluster: gone}}\n", "kubectl config get-clusters",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := recognizeText(t, test.text); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestOnlyAddressesOfThisMachineAndOfPrivateNetworksAreLocal(t *testing.T) {
	tests := map[string]bool{
		"https://127.0.0.1:6443": true, "https://[::1]:6443": true, "https://localhost:6443": true, "https://0.0.0.0:6550": true,
		"https://172.18.0.2:6443": true, "https://192.168.49.2:8443": true, "https://198.18.0.1:1": true, "https://host.docker.internal:6550": true,
		"https://203.0.113.7:6443": false, "https://k8s.example.com": false, "https://localhost.example.com": false, "::": false, "": false,
	}
	for server, want := range tests {
		if got := isLocal(server); got != want {
			t.Errorf("isLocal(%q) = %t", server, got)
		}
	}
}
