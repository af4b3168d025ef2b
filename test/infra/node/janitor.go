package node

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

//go:embed clean.sh
var cleanScript string

// waiting goes before the script that cleans up: it waits until no process can write to its standard input anymore.
const waiting = "trap '' HUP INT TERM\nread -r _\n"

// janitor is a shell that cleans up after the node: on request, or when this process has ended.
type janitor struct {
	cmd        *exec.Cmd
	alive      io.Closer
	complaints *bytes.Buffer
}

// startJanitor starts the shell. It keeps the turn until it has cleaned up.
func startJanitor(turn *os.File) (*janitor, error) {
	j := &janitor{cmd: exec.Command("/bin/sh", "-c", waiting+cleanScript, "janitor", folder, mark), complaints: &bytes.Buffer{}}
	// A session of its own, so that what ends ours spares it.
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	j.cmd.Dir = "/"
	j.cmd.ExtraFiles = []*os.File{turn}
	j.cmd.Stderr = j.complaints
	var err error
	if j.alive, err = j.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := j.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the shell that cleans up: %w", err)
	}
	return j, nil
}

// cleanUp has the shell do now what it would do later, so that there is one way of cleaning up and every test goes it.
func (j *janitor) cleanUp() error {
	if err := j.alive.Close(); err != nil {
		return err
	}
	if err := j.cmd.Wait(); err != nil {
		return fmt.Errorf("clean up after the node: %w: %s", err, strings.TrimSpace(j.complaints.String()))
	}
	return nil
}

// cleanUpAfterAnother removes what a node has left that was killed together with its shell.
func cleanUpAfterAnother(ctx context.Context, log io.Writer) error {
	if _, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	fmt.Fprintln(log, "cleaning up after a node that was killed")
	return command(ctx, "/bin/sh", "-c", cleanScript, "janitor", folder, mark)
}

// waitForTurn waits until no other node runs. The lock is on a folder that every machine has, so that it leaves no file, and the
// kernel gives it back when the last process ends that has it.
func waitForTurn(ctx context.Context, log io.Writer) (*os.File, error) {
	file, err := os.Open(filepath.Dir(folder))
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for told := false; ; told = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", file.Name(), err), file.Close())
		}
		if !told {
			fmt.Fprintln(log, "another node runs on this machine, waiting for its end")
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), file.Close())
		}
	}
}
