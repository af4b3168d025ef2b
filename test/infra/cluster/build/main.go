// Command build makes the binaries of a Kubernetes control plane from the sources that this module pins, and prints the folder
// that holds them as its only output:
//
//	KUBEBUILDER_ASSETS=$(go -C test/infra/cluster run ./build) go test ./...
//
// With the argument node it does the same for the binaries of a node, which the modules in kubelet and containerd pin.
//
// The first run compiles for minutes; later ones find the result in the cache and return at once. Where KUBEBUILDER_ASSETS
// already names binaries that fit, those are taken. It needs the standard library, Go, and no C compiler.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	folder, err := provideTier(ctx, os.Args[1:], os.Getenv, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster binaries:", err)
		os.Exit(1)
	}
	fmt.Println(folder)
}

// provideTier returns a folder with the binaries that the arguments ask for.
func provideTier(ctx context.Context, args []string, getenv func(string) string, log io.Writer) (string, error) {
	switch {
	case len(args) == 0:
		return provide(ctx, getenv, log)
	case len(args) == 1 && args[0] == "node":
		return node.built(ctx, getenv, log)
	default:
		return "", fmt.Errorf("unknown arguments %q: use none for a control plane, or node", args)
	}
}

// provide returns a folder with a control plane: the user's own where they fit, else the ones of this module, which it builds
// when the cache lacks them.
func provide(ctx context.Context, getenv func(string) string, log io.Writer) (string, error) {
	pinned, err := controlPlane.readPins(".")
	if err != nil {
		return "", err
	}
	if folder := getenv("KUBEBUILDER_ASSETS"); folder != "" {
		version, err := fits(ctx, folder, pinned.version)
		if err == nil {
			fmt.Fprintf(log, "using Kubernetes %s of KUBEBUILDER_ASSETS=%s\n", version, folder)
			return folder, nil
		}
		fmt.Fprintf(log, "not using KUBEBUILDER_ASSETS=%s, but Kubernetes %s as pinned here: %v\n", folder, pinned.version, err)
	}
	return controlPlane.built(ctx, getenv, log)
}

// built returns the folder of the tier's binaries in the cache, and builds them when the cache lacks them.
func (t tier) built(ctx context.Context, getenv func(string) string, log io.Writer) (string, error) {
	pinned, err := t.readPins(".")
	if err != nil {
		return "", err
	}
	root, err := cacheRoot(getenv)
	if err != nil {
		return "", err
	}
	return t.cached(ctx, root, t.folderName(pinned), log, func(ctx context.Context, folder string) error {
		return t.compile(ctx, pinned.version, folder, newProgress(log))
	})
}

// cacheRoot is where the binaries of all versions live: outside the tree, so that cleaning or cloning it does not cost a build.
func cacheRoot(getenv func(string) string) (string, error) {
	root := getenv("REACTOR_OPERATOR_CACHE")
	if root == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache folder, set REACTOR_OPERATOR_CACHE: %w", err)
		}
		return filepath.Join(user, "reactor-operator"), nil
	}
	if !filepath.IsAbs(root) {
		// This program runs in its module's folder, so a relative path would not mean what the user's shell means by it.
		return "", errors.New("REACTOR_OPERATOR_CACHE must be an absolute path")
	}
	return root, nil
}
