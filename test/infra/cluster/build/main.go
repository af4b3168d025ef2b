// Command build provides the binaries of a Kubernetes control plane in the version that this module pins, and prints the folder
// that holds them as its only output:
//
//	KUBEBUILDER_ASSETS=$(go -C test/infra/cluster run ./build) go test ./...
//
// With the argument node it does the same for the binaries of a node, which the modules in kubelet and containerd pin.
//
// It takes the binaries, in this order, from the folder in KUBEBUILDER_ASSETS (control plane), from its cache, from a download of
// files whose SHA-256 sums the tree pins, and from a build. DOWNLOAD=0 skips the download. A build needs Go and no C compiler.
//
// The argument sums writes the pinned sums. The arguments modules FOLDER PACKAGE... download the Go modules of packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "cluster binaries:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, log io.Writer) error {
	switch {
	case len(args) == 1 && args[0] == "sums":
		return newDownloader(runtime.GOARCH, log).writeSums(ctx, controlPlane, node)
	case len(args) > 2 && args[0] == "modules":
		return downloadModules(ctx, args[1], args[2:], log)
	}
	folder, err := provideTier(ctx, args, getenv, log)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, folder)
	return err
}

func newDownloader(arch string, log io.Writer) downloader {
	return downloader{fetcher: newFetcher(), source: ".", arch: arch, log: log}
}

// provideTier returns a folder with the binaries that the arguments ask for.
func provideTier(ctx context.Context, args []string, getenv func(string) string, log io.Writer) (string, error) {
	switch {
	case len(args) == 0:
		return provide(ctx, getenv, log)
	case len(args) == 1 && args[0] == "node":
		return node.built(ctx, getenv, log)
	default:
		return "", fmt.Errorf("unknown arguments %q: use none for a control plane, or one of: node; sums; modules with a folder and packages", args)
	}
}

// provide returns a folder with a control plane: the user's own one if it fits, otherwise the one in the cache.
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

// built returns the folder of the tier's binaries in the cache, and fills it if the cache lacks them.
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
		build := func(rest tier) error { return rest.compile(ctx, pinned.version, folder, newProgress(log)) }
		return t.fill(ctx, folder, pinned.version, getenv, newDownloader(runtime.GOARCH, log), build)
	})
}

// fill puts the binaries into an empty folder: it downloads what it can, takes kubectl from the PATH, and has the rest built.
func (t tier) fill(ctx context.Context, folder, version string, getenv func(string) string, from downloader, build func(rest tier) error) error {
	if getenv("DOWNLOAD") == "0" {
		fmt.Fprintln(from.log, "not downloading: DOWNLOAD=0")
	} else if err := from.download(ctx, t, folder); err != nil {
		return err
	}
	if err := t.copyKubectl(ctx, folder, version, from.log); err != nil {
		return err
	}
	rest := t
	rest.programs = t.missing(folder)
	if len(rest.programs) == 0 {
		return nil
	}
	return build(rest)
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
