package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// compile builds the programs of the tier into a folder.
func (t tier) compile(ctx context.Context, version, folder string, p *progress) error {
	p.announce(fmt.Sprintf("%s from source, for Kubernetes %s, once: %s", names(t.programs), version, t.cost))
	stop := p.start(p.line)
	err := t.runBuild(ctx, version, folder, p)
	stop()
	if ctx.Err() != nil {
		return errors.New("interrupted; what is compiled so far is kept in Go's build cache")
	}
	if err != nil {
		return fmt.Errorf("build Kubernetes %s: %w\n%s", version, err, p.complaints())
	}
	// Go names a binary after the package's folder, and etcd's is called server.
	if err := os.Rename(filepath.Join(folder, "server"), filepath.Join(folder, "etcd")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	p.finish()
	return nil
}

func (t tier) runBuild(ctx context.Context, version, folder string, p *progress) error {
	// Listing comes first since it downloads the modules, and tells how much there is to compile.
	packages := 0
	for _, module := range t.modules() {
		dependencies, err := listDependencies(ctx, module, t.packagesOf(module), p)
		if err != nil {
			return err
		}
		packages += dependencies
	}
	p.expect(packages)
	for _, module := range t.modules() {
		flags := []string{"build", "-v", "-trimpath", "-ldflags", linkerFlags(version), "-o", folder + string(filepath.Separator)}
		if err := goCommand(ctx, module, append(flags, t.packagesOf(module)...), p).Run(); err != nil {
			return err
		}
	}
	return nil
}

// listDependencies returns how many packages the given ones consist of. It downloads the modules of these packages.
func listDependencies(ctx context.Context, module string, packages []string, p *progress) (int, error) {
	list := goCommand(ctx, module, append([]string{"list", "-deps"}, packages...), p)
	var dependencies bytes.Buffer
	list.Stdout = &dependencies
	err := list.Run()
	return bytes.Count(dependencies.Bytes(), []byte("\n")), err
}

func goCommand(ctx context.Context, module string, args []string, p *progress) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the packages are arguments of this program
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Stdout = p
	cmd.Stderr = p
	// Interrupted, Go removes its work folder; killed, it would leave it.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// linkerFlags state the version, which a build outside Kubernetes's own scripts does not know: the API server would call itself
// v0.0.0-master. They leave out symbol tables, which nobody reads here.
func linkerFlags(version string) string {
	const prefix = "k8s.io/component-base/version."
	release := releaseNumber.FindStringSubmatch(version)
	flags := []string{"-s", "-w"}
	for _, value := range []string{"gitVersion=" + version, "gitMajor=" + release[1], "gitMinor=" + release[2], "gitTreeState=archive"} {
		flags = append(flags, "-X", prefix+value)
	}
	return strings.Join(flags, " ")
}
