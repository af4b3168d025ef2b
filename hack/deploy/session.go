package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
)

// session is one run of a command against one cluster.
type session struct {
	settings
	*terminal

	what    installation
	target  target
	cluster *cluster
}

// startSession reads the current context. It does not call the cluster yet.
func startSession(s settings, what installation, t *terminal) (*session, error) {
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	kubeconfig, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w. KUBECONFIG names its file; the default is ~/.kube/config", err)
	}
	chosen, err := recognize(kubeconfig)
	if err != nil {
		return nil, err
	}
	// Use the context of the start, even if another program changes the current context in the meantime.
	config, err := clientcmd.NewNonInteractiveClientConfig(kubeconfig, chosen.context, nil, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("use %s: %w. Run `kubectl config view --minify` to check its settings", chosen, err)
	}
	c, err := connect(config)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w. Run `kubectl cluster-info` to see whether it answers", chosen, err)
	}
	return &session{settings: s, terminal: t, what: what, target: chosen, cluster: c}, nil
}

// errDeclined ends a command whose user did not agree.
var errDeclined = errors.New("nothing was changed, because the answer was not yes")

// askFor asks before a change to a cluster that is not on this machine.
func (s *session) askFor(change string) error {
	switch needConsent(s.target, s.yes, s.interactive) {
	case granted:
		return nil
	case refused:
		return fmt.Errorf("%s is not on this machine, and there is no terminal to ask on. Nothing was changed. "+
			"If this is the cluster that you mean, add YES=1", s.target)
	default:
		agreed, err := s.agree(fmt.Sprintf("%s is not on this machine. %s?", s.target, change))
		if err == nil && !agreed {
			err = errDeclined
		}
		return err
	}
}

// needCommands fails if a program is missing.
func needCommands(names ...string) error {
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("the command %q is needed and was not found: %w. Install it, or add its folder to PATH", name, err)
		}
	}
	return nil
}

// runHelm runs Helm on the cluster of the session.
func (s *session) runHelm(ctx context.Context, args ...string) error {
	flags := []string{"--kube-context", s.target.context, "--namespace", s.what.namespace}
	// HELM of the Makefile may contain variables and arguments, so a shell must split it.
	return command(ctx, append([]string{"bash", "-c", s.helm + ` "$@"`, "helm"}, append(args, flags...)...)...)
}

// runKubectl does so with kubectl.
func (s *session) runKubectl(ctx context.Context, args ...string) error {
	return command(ctx, append([]string{s.kubectl, "--context", s.target.context}, args...)...)
}

// writeJSON writes a file below bin/, the folder of all built files. YAML readers can read JSON.
func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

// readDigests reads the files that `make image` wrote next to the archives: the name of each image in a registry, by digest.
func readDigests(names []string) (map[string]string, error) {
	digests := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("bin", name+".digest"))
		if err != nil {
			return nil, fmt.Errorf("read the digest of a built image: %w", err)
		}
		_, digest, found := strings.Cut(strings.TrimSpace(string(text)), "@")
		if !found {
			return nil, fmt.Errorf("bin/%s.digest has %q, want NAME@DIGEST. Run `make clean`, and try again", name, text)
		}
		digests[name] = digest
	}
	return digests, nil
}
