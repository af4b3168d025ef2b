package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// plugins is where Debian has the plug-ins that give pods an interface.
const plugins = "/usr/lib/cni"

// packages are Debian's names of what brings the programs that a node needs in addition to its own.
var packages = map[string]string{
	"runc":                  "runc",
	"ip":                    "iproute2",
	"nsenter":               "util-linux",
	"mount":                 "mount",
	plugins + "/bridge":     "containernetworking-plugins",
	plugins + "/host-local": "containernetworking-plugins",
	plugins + "/loopback":   "containernetworking-plugins",
}

// Supported says why this machine cannot run a node, and what to do about it; it is empty when the machine can.
func Supported() (reason string) {
	if runtime.GOOS != "linux" {
		return "a node needs Linux, and this is " + runtime.GOOS
	}
	if os.Geteuid() != 0 {
		return "a node needs root, for namespaces, mounts and cgroups of its own: run this as root, best in a virtual machine"
	}
	if missing := missingPackages(packages, exists); len(missing) > 0 {
		return "a node needs programs that are not here: apt-get install --no-install-recommends " + strings.Join(missing, " ")
	}
	hierarchy, err := readHierarchy(os.ReadFile)
	if err != nil {
		return err.Error()
	}
	return hierarchy.unsuited()
}

// exists looks for a program in the PATH, or at its place if it has one.
func exists(program string) bool {
	if filepath.IsAbs(program) {
		_, err := os.Stat(program)
		return err == nil
	}
	_, err := exec.LookPath(program)
	return err == nil
}

// missingPackages are the packages of the programs that do not exist.
func missingPackages(packages map[string]string, exists func(string) bool) []string {
	var missing []string
	for program, pkg := range packages {
		if !exists(program) && !slices.Contains(missing, pkg) {
			missing = append(missing, pkg)
		}
	}
	slices.Sort(missing)
	return missing
}

// hierarchy is how the machine's cgroups are mounted.
type hierarchy struct {
	// v1 has the mount point of each controller of version 1, and of the hierarchies without a controller.
	v1 map[string]string
	// v2 is the mount point of version 2, or empty.
	v2 string
	// controllers are those of version 2.
	controllers []string
}

// readHierarchy reads the mounts of this process.
func readHierarchy(read func(string) ([]byte, error)) (hierarchy, error) {
	mounts, err := read("/proc/self/mounts")
	if err != nil {
		return hierarchy{}, fmt.Errorf("how cgroups are mounted cannot be read: %w", err)
	}
	h := hierarchy{v1: map[string]string{}}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[1], cgroups) {
			continue
		}
		switch fields[2] {
		case "cgroup":
			for option := range strings.SplitSeq(fields[3], ",") {
				h.v1[option] = fields[1]
			}
		case "cgroup2":
			h.v2 = fields[1]
		}
	}
	if h.v2 == "" {
		return h, nil
	}
	controllers, err := read(filepath.Join(h.v2, "cgroup.controllers"))
	if err != nil {
		return hierarchy{}, fmt.Errorf("the controllers of cgroup version 2 cannot be read: %w", err)
	}
	h.controllers = strings.Fields(string(controllers))
	return h, nil
}

// needed are the controllers that kubelet does not start without.
var needed = []string{"cpu", "cpuset", "memory", "pids"}

// unsuited says what the hierarchy lacks.
func (h hierarchy) unsuited() string {
	for _, controller := range needed {
		if h.v1[controller] == "" && !slices.Contains(h.controllers, controller) {
			return fmt.Sprintf("a node needs the cgroup controller %s, which is not mounted below %s", controller, cgroups)
		}
	}
	if h.isVersion2() && h.v2 != cgroups {
		return fmt.Sprintf("a node needs the cgroup controllers either in version 1, or in version 2 mounted at %s", cgroups)
	}
	return ""
}

// isVersion2 reports whether the controllers are in version 2.
func (h hierarchy) isVersion2() bool { return h.v1["memory"] == "" }

// mountPoints are those of all hierarchies, each once.
func (h hierarchy) mountPoints() []string {
	var all []string
	for _, mountPoint := range h.v1 {
		all = append(all, mountPoint)
	}
	if h.v2 != "" {
		all = append(all, h.v2)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
