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
	"slices"
	"strconv"
	"strings"
)

// program is a tool of a module: the name that the binary gets, the folder of the module that pins it, and its main package.
type program struct{ name, module, mainPackage string }

// tier is a set of binaries that lie in one folder.
type tier struct {
	prefix   string // of the folder's name
	cost     string // what it takes to build all of them
	programs []program
}

// controlPlane is all that accepts pods and never runs them.
var controlPlane = tier{
	prefix: "kubernetes",
	cost:   "on two cores, all of them take less than ten minutes, with 4 GB for Go's build cache and 400 MB for the result",
	programs: []program{
		{"etcd", ".", "go.etcd.io/etcd/server/v3"},
		{"kube-apiserver", ".", "k8s.io/kubernetes/cmd/kube-apiserver"},
		{"kube-controller-manager", ".", "k8s.io/kubernetes/cmd/kube-controller-manager"},
		{"kube-scheduler", ".", "k8s.io/kubernetes/cmd/kube-scheduler"},
		{"kubectl", ".", "k8s.io/kubernetes/cmd/kubectl"},
	},
}

// The folders of the modules that pin a node.
const (
	kubeletModule    = "kubelet"
	containerdModule = "containerd"
)

// node is what runs pods beside a control plane. Its modules are others, so that what they pin does not make the control plane
// stale; the one of kubelet has the versions of the control plane's, so that most of it is in Go's build cache by then.
var node = tier{
	prefix: "node",
	cost:   "on two cores, all of them take two minutes after the control plane, and six without it; the result has 170 MB",
	programs: []program{
		{"kubelet", kubeletModule, "k8s.io/kubernetes/cmd/kubelet"},
		{"containerd", containerdModule, "github.com/containerd/containerd/v2/cmd/containerd"},
		{"containerd-shim-runc-v2", containerdModule, "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"},
		{"ctr", containerdModule, "github.com/containerd/containerd/v2/cmd/ctr"},
	},
}

// modules are the folders of the modules that pin the programs, in the order of the programs.
func (t tier) modules() []string {
	var folders []string
	for _, program := range t.programs {
		if !slices.Contains(folders, program.module) {
			folders = append(folders, program.module)
		}
	}
	return folders
}

// packagesOf are the main packages that a module pins.
func (t tier) packagesOf(module string) []string {
	var packages []string
	for _, program := range t.programs {
		if program.module == module {
			packages = append(packages, program.mainPackage)
		}
	}
	return packages
}

var (
	requiredKubernetes = regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v\S+)`)
	releaseNumber      = regexp.MustCompile(`v(\d+)\.(\d+)\.\S+`)
)

// pins are what the binaries of a tier depend on.
type pins struct {
	version string // of Kubernetes
	hash    string
}

// readPins reads the pinned version of Kubernetes, and a hash of everything that the tier's modules pin. The folder is
// test/infra/cluster.
func (t tier) readPins(folder string) (pins, error) {
	var everything []byte
	for _, module := range t.modules() {
		for _, name := range []string{"go.mod", "go.sum"} {
			content, err := os.ReadFile(filepath.Join(folder, module, name))
			if err != nil {
				return pins{}, fmt.Errorf("run this in the folder test/infra/cluster: %w", err)
			}
			everything = append(everything, content...)
		}
	}
	match := requiredKubernetes.FindSubmatch(everything)
	if match == nil {
		return pins{}, errors.New("go.mod does not require k8s.io/kubernetes: run this in the folder test/infra/cluster")
	}
	sum := sha256.Sum256(everything)
	return pins{version: string(match[1]), hash: fmt.Sprintf("%x", sum[:5])}, nil
}

func (t tier) folderName(p pins) string {
	return t.prefix + "-" + p.version + "-" + p.hash
}

// fits returns the version of the control plane in a folder, or why they do not do. A newer minor version passes; an older one may
// lack what the tests use.
func fits(ctx context.Context, folder, pinned string) (string, error) {
	if !filepath.IsAbs(folder) {
		return "", errors.New("it is not an absolute path")
	}
	if err := controlPlane.complete(folder); err != nil {
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

// missing returns the programs that a folder lacks.
func (t tier) missing(folder string) []program {
	var missing []program
	for _, program := range t.programs {
		if info, err := os.Stat(filepath.Join(folder, program.name)); err != nil || !info.Mode().IsRegular() {
			missing = append(missing, program)
		}
	}
	return missing
}

// complete returns an error that names the programs that a folder lacks.
func (t tier) complete(folder string) error {
	if missing := t.missing(folder); len(missing) > 0 {
		return fmt.Errorf("it has no %s", names(missing))
	}
	return nil
}

func names(programs []program) string {
	var all []string
	for _, program := range programs {
		all = append(all, program.name)
	}
	return strings.Join(all, ", ")
}
