package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a program may take to end before it is killed. The operator finishes what is in flight.
const stopTimeout = 15 * time.Second

// process is a program that the demo runs beside itself.
type process struct {
	name  string
	log   string // the file that it writes to
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // how it ended; read it only once ended is closed
}

// startProcess starts a program that writes into a log file.
func startProcess(name, log string, env []string, binary string, args ...string) (*process, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the program has it too
	p := &process{name: name, log: log, cmd: exec.Command(binary, args...), ended: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.SysProcAttr = apart()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// failure says how the program ended that nobody has stopped, and nil while it runs.
func (p *process) failure() error {
	select {
	case <-p.ended:
		how := p.err
		if how == nil {
			how = errors.New("exit status 0")
		}
		return fmt.Errorf("%s has ended by itself: %w", p.name, how)
	default:
		return nil
	}
}

// stop asks the program to end, and kills it if it does not.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// tail returns the last lines of the log.
func (p *process) tail(most int) string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// freeAddress returns a loopback address that nobody listened on a moment ago.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
