// Command build makes the binaries of a Kubernetes control plane from the sources that this module pins, and prints the folder
// that holds them as its only output:
//
//	KUBEBUILDER_ASSETS=$(go -C test/cluster run ./build) go test ./...
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
	folder, err := provide(ctx, os.Getenv, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster binaries:", err)
		os.Exit(1)
	}
	fmt.Println(folder)
}

// provide returns a folder with all the binaries: the user's own where they fit, else the ones of this module, which it builds
// when the cache lacks them.
func provide(ctx context.Context, getenv func(string) string, log io.Writer) (string, error) {
	module, err := readModule(".")
	if err != nil {
		return "", err
	}
	if folder := getenv("KUBEBUILDER_ASSETS"); folder != "" {
		version, err := fits(ctx, folder, module.version)
		if err == nil {
			fmt.Fprintf(log, "using Kubernetes %s of KUBEBUILDER_ASSETS=%s\n", version, folder)
			return folder, nil
		}
		fmt.Fprintf(log, "not using KUBEBUILDER_ASSETS=%s, but Kubernetes %s as pinned here: %v\n", folder, module.version, err)
	}
	root, err := cacheRoot(getenv)
	if err != nil {
		return "", err
	}
	return cached(ctx, root, module.folderName(), log, func(ctx context.Context, folder string) error {
		return compile(ctx, module, folder, newProgress(log, module.version))
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
