// Package process runs the programs that the demo and the tests need next to themselves: each writes into a log file, and none
// outlives the process that started it.
package process

import (
	"bytes"
	"encoding/json"
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

// Process is a program that was started. Its methods may be called from several goroutines.
type Process struct {
	// Name is what errors call it.
	Name string
	// Log is the path of the file that it writes to.
	Log string

	cmd   *exec.Cmd
	ended chan struct{}
	err   error // how it ended; read it only once ended is closed
}

// Start starts a program that writes into a new log file. A nil environment is that of this process.
func Start(name, log string, env []string, binary string, args ...string) (*Process, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the program has it too
	p := &Process{Name: name, Log: log, cmd: exec.Command(binary, args...), ended: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.SysProcAttr = Apart()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Failure says how the program ended, and is nil while it runs: ask before you stop it.
func (p *Process) Failure() error {
	select {
	case <-p.ended:
		how := p.err
		if how == nil {
			how = errors.New("exit status 0")
		}
		return fmt.Errorf("%s has ended by itself: %w", p.Name, how)
	default:
		return nil
	}
}

// Stop asks the program to end with SIGTERM, kills it if it does not end within 15 s, and waits until it is gone.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// Kill ends the program as a crash would, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.ended
}

// ExitCode is that of a program that has ended, and -1 if a signal ended it.
func (p *Process) ExitCode() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// ListeningAddress is the address, host:port, in the first line of the log, where a program says in JSON where it listens. It is empty as long
// as there is none.
func (p *Process) ListeningAddress() string {
	content, err := os.ReadFile(p.Log)
	line, _, complete := bytes.Cut(content, []byte("\n"))
	var said struct{ Address string }
	if err != nil || !complete || json.Unmarshal(line, &said) != nil {
		return ""
	}
	return said.Address
}

// Tail returns the last lines of the log.
func (p *Process) Tail(most int) string {
	content, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// FreeAddress returns a loopback address, host:port, on which no program listened a moment ago.
func FreeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
