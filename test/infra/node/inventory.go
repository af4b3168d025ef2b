package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Inventory is what a node could leave on a machine, a line for each thing: mounts, links, routes, cgroups, kernel settings, folders
// and processes. Take one before Start and one after Stop, and compare.
type Inventory []string

// TakeInventory records the state of the machine.
func TakeInventory() (Inventory, error) {
	var all Inventory
	for _, look := range []func() ([]string, error){mounted, linked, grouped, configured, kept, running} {
		found, err := look()
		if err != nil {
			return nil, fmt.Errorf("take an inventory of the machine: %w", err)
		}
		all = append(all, found...)
	}
	slices.Sort(all)
	return all, nil
}

// Since returns what has come and gone since an earlier inventory.
func (i Inventory) Since(earlier Inventory) (come, gone Inventory) {
	without := func(all, others Inventory) Inventory {
		return slices.DeleteFunc(slices.Clone(all), func(line string) bool { return slices.Contains(others, line) })
	}
	return without(i, earlier), without(earlier, i)
}

func prefixed(prefix string, lines []string) []string {
	var all []string
	for _, line := range lines {
		if line != "" {
			all = append(all, prefix+" "+line)
		}
	}
	return all
}

func mounted() ([]string, error) {
	content, err := os.ReadFile("/proc/self/mounts")
	return prefixed("mount", strings.Split(string(content), "\n")), err
}

func linked() ([]string, error) {
	routes, err := os.ReadFile("/proc/self/net/route")
	if err != nil {
		return nil, err
	}
	links, err := filepath.Glob("/sys/class/net/*")
	return append(prefixed("link", links), prefixed("route", strings.Split(string(routes), "\n"))...), err
}

// grouped are the cgroups of nodes. Those of others come and go.
func grouped() ([]string, error) {
	var found []string
	err := filepath.WalkDir(cgroups, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // it has gone meanwhile
		}
		if err == nil && entry.IsDir() && (strings.Contains(path, mark) || strings.Contains(path, "kubepods")) {
			found = append(found, "cgroup "+path)
		}
		return err
	})
	return found, err
}

func configured() ([]string, error) {
	var found []string
	for _, path := range append([]string{cgroups + "/cgroup.subtree_control"}, below("/proc/sys", settings)...) {
		value, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, path+" = "+strings.TrimSpace(string(value)))
	}
	return found, nil
}

func below(folder string, names []string) []string {
	var paths []string
	for _, name := range names {
		paths = append(paths, filepath.Join(folder, name))
	}
	return paths
}

// kept are the folders that a node has, and those that its programs make by default.
func kept() ([]string, error) {
	var found []string
	for _, path := range []string{
		folder, "/etc/cni", "/etc/kubernetes", "/opt/cni", "/opt/containerd", "/run/containerd", "/run/cni", "/usr/libexec/kubernetes",
		"/var/lib/cni", "/var/lib/containerd", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods",
	} {
		if _, err := os.Stat(path); err == nil {
			found = append(found, "folder "+path)
		}
	}
	return found, nil
}

// running are the processes of nodes and control planes.
func running() ([]string, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended meanwhile
		}
		line := strings.ReplaceAll(string(content), "\x00", " ")
		program, _, _ := strings.Cut(line, " ")
		named := slices.Contains([]string{"pause", "kubelet", "containerd", "containerd-shim-runc-v2", "nsenter"}, filepath.Base(program))
		if named || strings.Contains(line, folder) {
			found = append(found, "process "+filepath.Base(filepath.Dir(file))+" "+program)
		}
	}
	return found, nil
}
