package node

import (
	"fmt"
	"slices"
	"syscall"

	"github.com/prometheus/procfs"

	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

// Kill ends kubelet or containerd as kill -9 does, and returns once it is gone. Pods run on. Healthy and Stop take it for ended on purpose.
func (n *Node) Kill(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := slices.IndexFunc(n.processes, func(p *process.Process) bool { return p.Name == name })
	if at < 0 {
		return fmt.Errorf("kill %s: it does not run", name)
	}
	// The process that we have started waits for its child, which is the program: it is within the node's namespace of processes.
	program, err := childOf(n.processes[at].PID())
	if err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	if err := syscall.Kill(program, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	<-n.processes[at].Ended()
	n.processes = slices.Delete(n.processes, at, at+1)
	return nil
}

// Restart starts a program that Kill has ended, as it was started before.
func (n *Node) Restart(name string) error {
	n.mu.Lock()
	starts := n.starts[name]
	running := slices.ContainsFunc(n.processes, func(p *process.Process) bool { return p.Name == name })
	n.mu.Unlock()
	if len(starts) == 0 || running {
		return fmt.Errorf("restart %s: it was not killed", name)
	}
	return n.run(name, starts[0]...)
}

// childOf returns the one child of a process.
func childOf(parent int) (int, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		if stat, err := p.Stat(); err == nil && stat.PPID == parent {
			return p.PID, nil
		}
	}
	return 0, fmt.Errorf("process %d has no child", parent)
}
