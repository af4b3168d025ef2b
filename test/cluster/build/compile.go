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

// compile builds the programs into a folder.
func compile(ctx context.Context, m module, folder string, p *progress) error {
	p.announce()
	stop := p.start()
	err := runBuild(ctx, m, folder, p)
	stop()
	if ctx.Err() != nil {
		return errors.New("interrupted; what is compiled so far is kept in Go's build cache")
	}
	if err != nil {
		return fmt.Errorf("build Kubernetes %s: %w\n%s", m.version, err, p.complaints())
	}
	// Go names a binary after the package's folder, and etcd's is called server.
	if err := os.Rename(filepath.Join(folder, "server"), filepath.Join(folder, "etcd")); err != nil {
		return err
	}
	p.finish()
	return nil
}

func runBuild(ctx context.Context, m module, folder string, p *progress) error {
	var packages []string
	for _, program := range programs {
		packages = append(packages, program.mainPackage)
	}
	// Listing comes first since it downloads the modules, and tells how much there is to compile.
	list := goCommand(ctx, append([]string{"list", "-deps"}, packages...), p)
	var dependencies bytes.Buffer
	list.Stdout = &dependencies
	if err := list.Run(); err != nil {
		return err
	}
	p.expect(bytes.Count(dependencies.Bytes(), []byte("\n")))
	flags := []string{"build", "-v", "-trimpath", "-ldflags", linkerFlags(m.version), "-o", folder + string(filepath.Separator)}
	return goCommand(ctx, append(flags, packages...), p).Run()
}

func goCommand(ctx context.Context, args []string, p *progress) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
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
