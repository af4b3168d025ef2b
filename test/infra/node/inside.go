package node

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/reactor-operator/reactor-operator/test/infra/process"
)

//go:embed init.sh
var initScript string

// namespaces are those that the node lives in, with their first process.
type namespaces struct {
	cmd   *exec.Cmd
	alive io.Closer
}

// startNamespaces makes the namespaces, with folders of the node's own.
func startNamespaces(ctx context.Context) (*namespaces, error) {
	cmd := exec.Command("/bin/sh", "-c", initScript, "init", data)
	cmd.SysProcAttr = newNamespaces()
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("make namespaces for the node: %w", err)
	}
	inside := &namespaces{cmd: cmd, alive: alive}
	if err := os.WriteFile(filepath.Join(folder, "init.pid"), []byte(inside.pid()), 0o600); err != nil {
		inside.end()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if line, err := bufio.NewReader(output).ReadString('\n'); err != nil || line != "ready\n" {
		inside.end()
		return nil, fmt.Errorf("prepare the namespaces of the node: %s", strings.TrimSpace(complaints.String()))
	}
	return inside, nil
}

func (n *namespaces) pid() string { return strconv.Itoa(n.cmd.Process.Pid) }

// enter is the command that runs a program inside.
func (n *namespaces) enter(args ...string) []string {
	return append([]string{"nsenter", "--target", n.pid(), "--mount", "--net", "--pid", "--"}, args...)
}

// connect links the namespaces to the machine.
func (n *namespaces) connect(ctx context.Context) error {
	const inner = "eth0"
	for _, args := range [][]string{
		{"ip", "link", "add", mark, "type", "veth", "peer", "name", inner, "netns", n.pid()},
		{"ip", "address", "add", HostAddress + "/30", "dev", mark},
		{"ip", "link", "set", mark, "up"},
		n.enter("ip", "address", "add", nodeAddress+"/30", "dev", inner),
		n.enter("ip", "link", "set", inner, "up"),
		n.enter("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"),
		// All cluster IPs are the node's own, where the service network listens.
		n.enter("ip", "route", "add", "local", serviceRange, "dev", "lo"),
		{"ip", "route", "add", podNetwork, "via", nodeAddress},
	} {
		if err := command(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// killAll kills all that runs inside but the first process, and that too if it does not work.
func (n *namespaces) killAll() {
	// Nothing must be killed where another process is the first one.
	const script = `grep -qF "$1" /proc/1/cmdline && kill -KILL -1`
	if err := command(context.Background(), n.enter("sh", "-c", script, "sh", data)...); err != nil {
		_ = n.cmd.Process.Kill() // it may have ended already
	}
}

// end kills the first process, and with it all that still runs inside.
func (n *namespaces) end() {
	_ = n.cmd.Process.Kill() // it may have ended already
	_ = n.cmd.Wait()         // it was killed
	_ = n.alive.Close()
}

// run starts a binary of the node inside. Each start has a log of its own.
func (n *Node) run(name string, args ...string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.starts == nil {
		n.starts = map[string][][]string{}
	}
	log := name + ".log"
	if before := len(n.starts[name]); before > 0 {
		log = fmt.Sprintf("%s-%d.log", name, before+1)
	}
	n.starts[name] = append(n.starts[name], args)
	// The search path finds the shim, and runc.
	env := append(os.Environ(), "PATH="+n.binDir+string(os.PathListSeparator)+os.Getenv("PATH"))
	entered := n.inside.enter(append([]string{filepath.Join(n.binDir, name)}, args...)...)
	p, err := process.Start(name, filepath.Join(n.Dir, log), env, entered[0], entered[1:]...)
	if err != nil {
		return err
	}
	n.processes = append(n.processes, p)
	return nil
}

// ctr talks to containerd.
func (n *Node) ctr(ctx context.Context, args ...string) error {
	return command(ctx, n.inside.enter(append([]string{filepath.Join(n.binDir, "ctr"), "--address", socket}, args...)...)...)
}

// command runs a program to its end. What it says of a failure is in the error.
func command(ctx context.Context, args ...string) error {
	if output, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(output))
	}
	return nil
}
