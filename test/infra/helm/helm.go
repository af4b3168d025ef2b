// Package helm finds Helm for tests.
package helm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build returns the path of the Helm that tools/helm names, which Go builds into its own cache when it does not exist: with the flags of
// the operator's image, so that most of it is compiled once for both. It takes the root of the repository.
func Build(ctx context.Context, repository string) (string, error) {
	command := exec.CommandContext(ctx, "go", "tool", "-modfile="+filepath.Join("tools", "helm", "go.mod"), "-n", "helm")
	command.Dir = repository
	command.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	command.Stderr = os.Stderr
	path, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("building Helm: %w", err)
	}
	return strings.TrimSpace(string(path)), nil
}
