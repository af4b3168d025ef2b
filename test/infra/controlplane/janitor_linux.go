package controlplane

import (
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// janitor is a shell that outlives this process in order to clean up after it. A test that is interrupted, killed or out of time
// never comes to its Stop, and what it started would run on, each time another control plane. A signal at the death of the parent
// would not do: envtest starts its programs without one, and nothing would remove the data.
type janitor struct {
	cmd   *exec.Cmd
	alive io.Closer
}

// script waits until no process can write to its standard input anymore, kills what still has a folder below $1 as one of its
// -dir flags, and removes the folder $2.
const script = `trap '' HUP INT TERM
read -r _
for file in $(grep -lsF -e "-dir=$1/" /proc/[0-9]*/cmdline); do
	pid=${file#/proc/}
	kill -KILL "${pid%/cmdline}"
done
rm -rf "$2" || rm -rf "$2"`

// startJanitor watches over the programs that have their data in a folder, and over what must be removed with them.
func startJanitor(data, doomed string) (*janitor, error) {
	cmd := exec.Command("/bin/sh", "-c", script, "janitor", data, doomed)
	// A session of its own, so that what ends ours spares it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the shell that cleans up: %w", err)
	}
	return &janitor{cmd: cmd, alive: alive}, nil
}

// cleanUp has the shell do now what it would do later, so that there is one way of cleaning up and every test goes it.
func (j *janitor) cleanUp() error {
	if err := j.alive.Close(); err != nil {
		return err
	}
	if err := j.cmd.Wait(); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}
