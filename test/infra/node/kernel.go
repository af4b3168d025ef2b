package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// settings are what kubelet changes for the whole machine, below /proc/sys.
var settings = []string{
	"kernel/keys/root_maxbytes",
	"kernel/keys/root_maxkeys",
	"kernel/panic",
	"kernel/panic_on_oops",
	"vm/overcommit_memory",
	"vm/panic_on_oom",
}

// rememberKernel records the settings, for the shell that restores them.
func rememberKernel() error {
	var lines strings.Builder
	for _, name := range settings {
		path := filepath.Join("/proc/sys", name)
		value, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s %s\n", path, strings.TrimSpace(string(value)))
	}
	return os.WriteFile(filepath.Join(folder, "kernel"), []byte(lines.String()), 0o600)
}

// makeGroups makes the node's cgroup in every hierarchy, since kubelet wants to find it, and with the controllers that it needs.
func (h hierarchy) makeGroups() error {
	if h.isVersion2() {
		if err := h.enableControllers(); err != nil {
			return err
		}
	}
	for _, mountPoint := range h.mountPoints() {
		if err := os.Mkdir(filepath.Join(mountPoint, mark), 0o755); err != nil {
			return fmt.Errorf("make a cgroup for the node: %w", err)
		}
	}
	return h.giveProcessors()
}

// giveProcessors lets the node have all processors and memory: in version 1 a new cgroup has none.
func (h hierarchy) giveProcessors() error {
	mountPoint := h.v1["cpuset"]
	if mountPoint == "" {
		return nil
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(mountPoint, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(mountPoint, mark, name), value, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// enableControllers hands the controllers of version 2 down to the cgroups of the machine, as systemd does with most of them, and
// records which ones it has added, for the shell that removes them.
func (h hierarchy) enableControllers() error {
	control := filepath.Join(h.v2, "cgroup.subtree_control")
	content, err := os.ReadFile(control)
	if err != nil {
		return err
	}
	var add, remove []string
	for _, controller := range h.controllers {
		if !slices.Contains(strings.Fields(string(content)), controller) {
			add, remove = append(add, "+"+controller), append(remove, "-"+controller)
		}
	}
	if len(add) == 0 {
		return nil
	}
	if err := os.WriteFile(filepath.Join(folder, "controllers"), []byte(strings.Join(remove, " ")), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(control, []byte(strings.Join(add, " ")), 0o600); err != nil {
		return fmt.Errorf("hand down the cgroup controllers %s: %w", strings.Join(h.controllers, ", "), err)
	}
	return nil
}
