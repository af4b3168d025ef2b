package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Kill ends a program as kill -9 does, and returns once it is gone: etcd, kube-apiserver, kube-controller-manager or kube-scheduler. What
// it stored stays. Healthy and Stop take it for ended on purpose.
func (cp *ControlPlane) Kill(name string) error {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	at := slices.IndexFunc(cp.processes, func(p *process) bool { return p.name == name })
	var args []string
	if at >= 0 {
		args = cp.processes[at].args
		cp.processes[at].kill()
		cp.processes = slices.Delete(cp.processes, at, at+1)
	} else {
		var err error
		if args, err = cp.killServer(name); err != nil {
			return fmt.Errorf("kill %s: %w", name, err)
		}
	}
	if cp.killed == nil {
		cp.killed = map[string][]string{}
	}
	cp.killed[name] = args
	return nil
}

// killServer kills a program that envtest has started, which does not say what process it is, and returns the program's arguments.
func (cp *ControlPlane) killServer(name string) ([]string, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		line := strings.Split(strings.TrimSuffix(string(content), "\x00"), "\x00")
		ours := func(arg string) bool { return strings.HasSuffix(arg, "-dir="+filepath.Join(cp.data(), name)) }
		if err != nil || line[0] != cp.binary(name) || !slices.ContainsFunc(line, ours) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return nil, err
		}
		return line[1:], await(context.Background(), name+" to be gone", func(context.Context) (bool, error) {
			return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH), nil
		})
	}
	return nil, errors.New("it does not run, or this is no Linux")
}

// killOrphan kills kube-apiserver if etcd was killed: without it, it does not end in order.
func (cp *ControlPlane) killOrphan() error {
	cp.mu.Lock()
	_, orphaned := cp.killed[etcdName]
	_, gone := cp.killed[apiServerName]
	cp.mu.Unlock()
	if !orphaned || gone {
		return nil
	}
	return cp.Kill(apiServerName)
}

// Restart starts a program that Kill has ended, on the same data and the same ports, and waits until etcd or kube-apiserver serves. More
// flags come after those that it had, and override them this time only.
func (cp *ControlPlane) Restart(ctx context.Context, name string, flags ...string) error {
	cp.mu.Lock()
	args, known := cp.killed[name]
	cp.mu.Unlock()
	if !known {
		return fmt.Errorf("restart %s: it was not killed", name)
	}
	// A connection of another program may have the port now, until it notices that no program serves there.
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		return cp.tryToRestart(ctx, name, args, flags)
	})
	if err != nil {
		return fmt.Errorf("restart %s: %w\n%s", name, err, lastLines(cp.logOf(name)))
	}
	cp.mu.Lock()
	delete(cp.killed, name)
	cp.mu.Unlock()
	return nil
}

// tryToRestart returns false when the program ends before it serves.
func (cp *ControlPlane) tryToRestart(ctx context.Context, name string, args, flags []string) (bool, error) {
	log, err := os.OpenFile(cp.logOf(name), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return false, err
	}
	defer func() { _ = log.Close() }() // the program has it too
	p, err := startProcess(cp.binary(name), log, slices.Concat(args, flags)...)
	if err != nil {
		return false, err
	}
	p.args = args
	serves := cp.serves(name)
	for p.failure() == nil && !serves(ctx) {
		select {
		case <-ctx.Done():
			p.stop()
			return false, context.Cause(ctx)
		case <-p.ended:
		case <-time.After(50 * time.Millisecond):
		}
	}
	if p.failure() != nil {
		return false, nil
	}
	cp.add(p)
	return true, nil
}

// serves reports whether a program serves clients. Those without clients do so immediately.
func (cp *ControlPlane) serves(name string) func(context.Context) bool {
	switch name {
	case etcdName:
		return func(ctx context.Context) bool { return Answers(ctx, cp.EtcdURL()+"/health") }
	case apiServerName:
		return func(ctx context.Context) bool { return cp.ready(ctx) == nil }
	default:
		return func(context.Context) bool { return true }
	}
}

// EtcdURL is where etcd serves clients, without TLS and to all clients.
func (cp *ControlPlane) EtcdURL() string { return cp.servers.Etcd.URL.String() }

// Answers reports whether a GET of a URL is answered with 200.
func Answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

func (cp *ControlPlane) add(p *process) {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	cp.processes = append(cp.processes, p)
}

func (cp *ControlPlane) logOf(name string) string { return filepath.Join(cp.Dir, name+".log") }
