package controlplane

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// abandon is the variable that lets the test binary start a control plane and wait to be killed.
const abandon = "CONTROLPLANE_TEST_ABANDON"

func startAndWait() {
	cp, err := Start(context.Background(), Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(cp.Dir)
	select {}
}

// programsOf are the programs that have their data in the folder of a control plane, by name.
func programsOf(t *testing.T, dir string) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, pid := range processes(t) {
		arguments, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		if err != nil {
			continue // it has ended meanwhile
		}
		program, rest, _ := strings.Cut(string(arguments), "\x00")
		if strings.Contains(rest, "-dir="+dir+"/") {
			found[filepath.Base(program)] = pid
		}
	}
	return found
}

func commandLine(t *testing.T, pid int) string {
	t.Helper()
	arguments, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(arguments), "\x00", " ")
}

// children are the processes that this one has started, with those that it has not waited for.
func children(t *testing.T) []int {
	t.Helper()
	parent := fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())
	var found []int
	for _, pid := range processes(t) {
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
		if err == nil && strings.Contains(string(status), parent) {
			found = append(found, pid)
		}
	}
	return found
}

func processes(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func names(programs map[string]int) []string {
	var all []string
	for name := range programs {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func TestStopLeavesNothingButTheLogs(t *testing.T) {
	before := children(t)
	t.Setenv("TMPDIR", t.TempDir())
	dir := filepath.Join(t.TempDir(), "logs")
	cp, err := Start(t.Context(), Options{Dir: dir, CRDPaths: []string{crds}, Scheduler: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
	if got := names(programsOf(t, dir)); !slices.Equal(got, want) {
		t.Errorf("programs %q, want %q", got, want)
	}
	if err := cp.Stop(); err != nil {
		t.Error(err)
	}
	if left := programsOf(t, dir); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
	if after := children(t); !slices.Equal(after, before) {
		t.Errorf("child processes %v, want %v as before", after, before)
	}
	if got, want := files(t, dir), []string{"etcd.log", "kube-apiserver.log", "kube-controller-manager.log", "kube-scheduler.log"}; !slices.Equal(got, want) {
		t.Errorf("the folder has %q, want %q", got, want)
	}
	if got := files(t, os.TempDir()); len(got) > 0 {
		t.Errorf("temporary files: %q", got)
	}
	if err := cp.Stop(); err != nil {
		t.Errorf("to stop twice: %v", err)
	}
}

func files(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

func TestADeadControllerManagerIsTold(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	cp, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(programsOf(t, cp.Dir)["kube-controller-manager"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-cp.processes[0].ended
	const want = "kube-controller-manager has ended by itself: signal: killed\nthe end of kube-controller-manager.log:\n"
	if err := cp.Healthy(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("health: %v, want %q", err, want)
	}
	if err := cp.Stop(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("stop: %v, want %q", err, want)
	}
	if got := files(t, os.TempDir()); len(got) > 0 {
		t.Errorf("temporary files: %q", got)
	}
}

func TestAStartThatFailsLeavesNothing(t *testing.T) {
	before := children(t)
	t.Setenv("TMPDIR", t.TempDir())
	tests := map[string]struct {
		options     Options
		interrupted bool
		want        string
	}{
		"the CRDs are not there": {options: Options{CRDPaths: []string{"not-there"}}, want: "not-there: no such file"},
		"the context has ended":  {interrupted: true, want: "wait for kube-apiserver to be ready: context canceled"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.interrupted {
				cancel()
			}
			_, err := Start(ctx, test.options)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if after := children(t); !slices.Equal(after, before) {
				t.Errorf("child processes %v, want %v as before", after, before)
			}
			if got := files(t, os.TempDir()); len(got) > 0 {
				t.Errorf("temporary files: %q", got)
			}
		})
	}
}

func TestAStartGetsASecondChance(t *testing.T) {
	binDir := t.TempDir()
	for _, name := range []string{"etcd", "kube-controller-manager", "kube-scheduler", "kubectl"} {
		if err := os.Symlink(filepath.Join(shared.BinDir, name), filepath.Join(binDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// The first time that it should serve, it ends as if its port were taken.
	script := fmt.Sprintf(`#!/bin/sh
[ "$1" = --help ] || [ -e %[1]s/tried ] || { touch %[1]s/tried; exit 1; }
exec %[2]s/kube-apiserver "$@"
`, binDir, shared.BinDir)
	if err := os.WriteFile(filepath.Join(binDir, "kube-apiserver"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cp, err := Start(t.Context(), Options{BinDir: binDir, CRDPaths: []string{crds}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(files(t, binDir), "tried") {
		t.Error("the first start has not failed")
	}
	if err := cp.Stop(); err != nil {
		t.Error(err)
	}
}

func TestAKilledTestLeavesNothing(t *testing.T) {
	temporary := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), abandon+"=yes", "TMPDIR="+temporary)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dir, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(errors.Join(err, cmd.Wait()))
	}
	dir = strings.TrimSpace(dir)
	if got := names(programsOf(t, dir)); len(got) != 3 {
		t.Errorf("programs %q, want three", got)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it has not been killed")
	}
	eventually(t, "the programs to go", func(context.Context) (bool, error) { return len(programsOf(t, dir)) == 0, nil })
	eventually(t, "the data to go", func(context.Context) (bool, error) { return len(files(t, temporary)) == 0, nil })
}
