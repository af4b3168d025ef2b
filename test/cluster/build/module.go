package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// programs are the tools of this module: the name that each binary gets, and its main package.
var programs = []struct{ name, mainPackage string }{
	{"etcd", "go.etcd.io/etcd/server/v3"},
	{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"},
	{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"},
	{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"},
	{"kubectl", "k8s.io/kubernetes/cmd/kubectl"},
}

var (
	requiredKubernetes = regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v\S+)`)
	releaseNumber      = regexp.MustCompile(`v(\d+)\.(\d+)\.\S+`)
)

// module is what the binaries depend on.
type module struct {
	version string
	hash    string
}

// readModule reads the pinned version of Kubernetes, and a hash of everything that the module pins, from its folder.
func readModule(folder string) (module, error) {
	requirements, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		return module{}, fmt.Errorf("run this in the module's folder: %w", err)
	}
	sums, err := os.ReadFile(filepath.Join(folder, "go.sum"))
	if err != nil {
		return module{}, fmt.Errorf("run this in the module's folder: %w", err)
	}
	match := requiredKubernetes.FindSubmatch(requirements)
	if match == nil {
		return module{}, errors.New("go.mod does not require k8s.io/kubernetes: run this in the folder test/cluster")
	}
	sum := sha256.Sum256(append(requirements, sums...))
	return module{version: string(match[1]), hash: fmt.Sprintf("%x", sum[:5])}, nil
}

func (m module) folderName() string {
	return "kubernetes-" + m.version + "-" + m.hash
}

// fits returns the version of the binaries in a folder, or why they do not do. A newer minor version passes; an older one may
// lack what the tests use.
func fits(ctx context.Context, folder, pinned string) (string, error) {
	if !filepath.IsAbs(folder) {
		return "", errors.New("it is not an absolute path")
	}
	if err := complete(folder); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(folder, "kube-apiserver"), "--version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("its kube-apiserver --version: %w: %s", err, bytes.TrimSpace(out))
	}
	have := releaseNumber.FindStringSubmatch(string(out))
	want := releaseNumber.FindStringSubmatch(pinned)
	if have == nil || want == nil {
		return "", fmt.Errorf("its version cannot be told from %q", bytes.TrimSpace(out))
	}
	if have[1] != want[1] || number(have[2]) < number(want[2]) {
		return "", fmt.Errorf("it holds %s, and at least v%s.%s is needed", have[0], want[1], want[2])
	}
	return have[0], nil
}

// number reads digits that a regular expression has already checked.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

// complete tells which binaries a folder lacks.
func complete(folder string) error {
	var missing []string
	for _, program := range programs {
		if info, err := os.Stat(filepath.Join(folder, program.name)); err != nil || !info.Mode().IsRegular() {
			missing = append(missing, program.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("it has no %s", strings.Join(missing, ", "))
	}
	return nil
}
