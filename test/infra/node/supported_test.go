package node

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// machine answers what is read from these files, and that others do not exist.
func machine(files map[string]string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		content, ok := files[path]
		if !ok {
			return nil, os.ErrNotExist
		}
		return []byte(content), nil
	}
}

func TestWhichCgroupLayoutsRunANode(t *testing.T) {
	const (
		oneOfEach = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n" +
			"cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n" +
			"cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0\n" +
			"cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0\n"
		memory = "cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n"
	)
	tests := map[string]struct {
		files       map[string]string
		mountPoints []string
		want        string
	}{
		"version 1": {
			files:       map[string]string{"/proc/self/mounts": oneOfEach + memory},
			mountPoints: []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"},
		},
		"version 1, with an empty version 2 beside it": {
			files: map[string]string{
				"/proc/self/mounts":                         oneOfEach + memory + "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
				"/sys/fs/cgroup/unified/cgroup.controllers": "\n",
			},
			mountPoints: []string{
				"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified",
			},
		},
		"version 2": {
			files: map[string]string{
				"/proc/self/mounts":                 "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
				"/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
			},
			mountPoints: []string{"/sys/fs/cgroup"},
		},
		"version 2 without a controller": {
			files: map[string]string{
				"/proc/self/mounts":                 "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
				"/sys/fs/cgroup/cgroup.controllers": "cpu io memory pids\n",
			},
			mountPoints: []string{"/sys/fs/cgroup"},
			want:        "controller cpuset",
		},
		"controllers in both": {
			files: map[string]string{
				"/proc/self/mounts":                         oneOfEach + "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
				"/sys/fs/cgroup/unified/cgroup.controllers": "memory\n",
			},
			mountPoints: []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"},
			want:        "either in version 1, or in version 2",
		},
		"none": {
			files: map[string]string{"/proc/self/mounts": "proc /proc proc rw 0 0\n"},
			want:  "controller cpu,",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h, err := readHierarchy(machine(test.files))
			if err != nil {
				t.Fatal(err)
			}
			if got := h.unsuited(); test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("reason %q, want one with %q", got, test.want)
			}
			if diff := cmp.Diff(test.mountPoints, h.mountPoints()); diff != "" {
				t.Errorf("mount points (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := readHierarchy(machine(nil)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without /proc: %v", err)
	}
}

func TestMissingProgramsAreToldByTheirPackages(t *testing.T) {
	has := func(programs ...string) func(string) bool {
		return func(program string) bool { return slices.Contains(programs, program) }
	}
	got := missingPackages(packages, has("ip", "nsenter", "mount", plugins+"/loopback"))
	if diff := cmp.Diff([]string{"containernetworking-plugins", "runc"}, got); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
}
