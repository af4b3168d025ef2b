package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	module       = "github.com/reactor-operator/reactor-operator"
	pausePackage = module + "/test/infra/node/pause"
	pauseImage   = "localhost/pause:test"
)

// BuildImage compiles a main package of this repository and writes the archive of an image that runs it. It calls Go, in the folder
// of the repository or one below. Images of localhost are requested from no registry, and pods find them if their tag is not latest.
func BuildImage(ctx context.Context, tag, mainPackage, archive string) error {
	return BuildImageOf(ctx, ".", tag, mainPackage, archive)
}

// BuildImageOf does so with the main package of another checkout, which is in this folder.
func BuildImageOf(ctx context.Context, checkout, tag, mainPackage, archive string) (err error) {
	work, err := os.MkdirTemp("", "reactor-operator-image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	program := filepath.Join(work, strings.TrimSuffix(filepath.Base(archive), filepath.Ext(archive)))
	if err := goCommand(ctx, "build", "-C", checkout, "-trimpath", "-ldflags", "-s -w", "-o", program, mainPackage).run(); err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return fmt.Errorf("image %s: find the folder of the repository: %w", tag, err)
	}
	packer := filepath.Join(strings.TrimSpace(string(root)), "hack", "image")
	if err := goCommand(ctx, "run", "-C", packer, ".", "--name", tag, "--output", archive, program).run(); err != nil {
		return fmt.Errorf("image %s: %w", tag, err)
	}
	return nil
}

// toolchain is a call of Go.
type toolchain struct{ cmd *exec.Cmd }

// goCommand builds programs that need no library of the machine, which an image does not have.
func goCommand(ctx context.Context, args ...string) toolchain {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	return toolchain{cmd}
}

func (t toolchain) run() error {
	if output, err := t.cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(t.cmd.Args, " "), err, output)
	}
	return nil
}
