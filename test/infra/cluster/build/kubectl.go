package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// maxKubectlSkew is how many minor versions kubectl may be away from the API server, by the version skew policy of Kubernetes.
const maxKubectlSkew = 1

// copyKubectl copies the kubectl on the PATH into the folder if the tier needs one, the folder has none, and its version is within
// the skew of the pinned one. It is a copy, because the folder in the cache must not change with what is installed later.
func (t tier) copyKubectl(ctx context.Context, folder, pinned string, log io.Writer) error {
	if !slices.ContainsFunc(t.missing(folder), func(p program) bool { return p.name == "kubectl" }) {
		return nil
	}
	installed, err := exec.LookPath("kubectl")
	if err != nil {
		return nil //nolint:nilerr // No kubectl on the PATH is not an error: it is built.
	}
	candidate := filepath.Join(folder, "kubectl")
	version, err := copyIfClose(ctx, installed, candidate, pinned)
	if err != nil {
		fmt.Fprintf(log, "not using %s: %v\n", installed, err)
		return errors.Join(os.RemoveAll(candidate), context.Cause(ctx))
	}
	fmt.Fprintf(log, "using kubectl %s of %s\n", version, installed)
	return nil
}

// copyIfClose returns the version of the copy. It asks the copy and not the original: a script that starts the real program may
// not work from another folder.
func copyIfClose(ctx context.Context, installed, candidate, pinned string) (string, error) {
	source, err := os.Open(installed)
	if err != nil {
		return "", err
	}
	defer func() { _ = source.Close() }()
	if err := writeProgram(source, candidate); err != nil {
		return "", err
	}
	version, err := kubectlVersion(ctx, candidate)
	if err != nil {
		return "", err
	}
	have, want := releaseNumber.FindStringSubmatch(version), releaseNumber.FindStringSubmatch(pinned)
	if have == nil || want == nil {
		return "", fmt.Errorf("its version cannot be told from %q", version)
	}
	skew := number(have[2]) - number(want[2])
	if have[1] != want[1] || skew > maxKubectlSkew || skew < -maxKubectlSkew {
		return "", fmt.Errorf("it is %s, more than one minor version away from %s", version, pinned)
	}
	return version, nil
}

func kubectlVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "version", "--client", "-o", "json").Output()
	if err != nil {
		return "", fmt.Errorf("its version --client -o json: %w", err)
	}
	var answer struct {
		ClientVersion struct {
			GitVersion string `json:"gitVersion"`
		} `json:"clientVersion"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return "", fmt.Errorf("its version --client -o json: %w", err)
	}
	return answer.ClientVersion.GitVersion, nil
}
