package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// stopTimeout is how long a program may take to end before it is killed.
const stopTimeout = 10 * time.Second

// process is a program that runs next to the API server.
type process struct {
	name  string
	args  []string
	log   string
	cmd   *exec.Cmd
	end   context.CancelFunc
	ended chan struct{}
	err   error // how it ended; read it only once ended is closed
}

// startProcess starts a program that writes into a log.
func startProcess(binary string, log *os.File, args ...string) (*process, error) {
	ctx, end := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	// A group of its own: an interrupt at the terminal is for us, and we stop it in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &process{name: filepath.Base(binary), args: args, log: log.Name(), cmd: cmd, end: end, ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		end()
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// failure returns how a program ended that was not stopped; nil while it runs.
func (p *process) failure() error {
	select {
	case <-p.ended:
		how := p.err
		if how == nil {
			how = errors.New("exit status 0")
		}
		return fmt.Errorf("%s has ended by itself: %w\n%s", p.name, how, lastLines(p.log))
	default:
		return nil
	}
}

// stop ends the program and waits until it is gone.
func (p *process) stop() {
	p.end()
	<-p.ended
}

// kill ends the program as a crash would, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.ended
}
