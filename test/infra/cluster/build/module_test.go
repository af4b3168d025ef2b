package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// folderOf makes a folder of programs that each answer --version with the given text.
func folderOf(t *testing.T, version string) string {
	t.Helper()
	folder := t.TempDir()
	fill(t, folder, version)
	return folder
}

func fill(t *testing.T, folder, version string) {
	t.Helper()
	for _, program := range controlPlane.programs {
		script := "#!/bin/sh\necho '" + version + "'\n"
		if err := os.WriteFile(filepath.Join(folder, program.name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhichBinariesOfTheUserAreTaken(t *testing.T) {
	withoutManager := folderOf(t, "Kubernetes v1.37.2")
	if err := os.Remove(filepath.Join(withoutManager, "kube-controller-manager")); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		folder      string
		wantVersion string
		wantError   string
	}{
		"the pinned version is taken":            {folder: folderOf(t, "Kubernetes v1.37.2"), wantVersion: "v1.37.2"},
		"another patch release is taken":         {folder: folderOf(t, "Kubernetes v1.37.0"), wantVersion: "v1.37.0"},
		"a newer minor release is taken":         {folder: folderOf(t, "Kubernetes v1.40.1"), wantVersion: "v1.40.1"},
		"a suffix of the version does not hurt":  {folder: folderOf(t, "Kubernetes v1.37.2-eks-1"), wantVersion: "v1.37.2-eks-1"},
		"an older minor release is refused":      {folder: folderOf(t, "Kubernetes v1.9.9"), wantError: "it holds v1.9.9, and at least v1.37 is needed"},
		"another major release is refused":       {folder: folderOf(t, "Kubernetes v2.37.0"), wantError: "it holds v2.37.0"},
		"an unreadable version is refused":       {folder: folderOf(t, "something else"), wantError: `cannot be told from "something else"`},
		"a folder without a program is refused":  {folder: withoutManager, wantError: "it has no kube-controller-manager"},
		"a folder that does not exist is told":   {folder: "/does/not/exist", wantError: "it has no etcd, kube-apiserver"},
		"a relative path is refused, as unclear": {folder: "bin", wantError: "not an absolute path"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := fits(t.Context(), test.folder, "v1.37.2")
			if got != test.wantVersion {
				t.Errorf("version %q, want %q", got, test.wantVersion)
			}
			if test.wantError == "" && err != nil || test.wantError != "" && (err == nil || !strings.Contains(err.Error(), test.wantError)) {
				t.Errorf("error %v, want one with %q", err, test.wantError)
			}
		})
	}
}

func TestTheFolderFollowsEverythingThatIsPinned(t *testing.T) {
	write := func(requirements, sums string) string {
		folder := t.TempDir()
		for name, content := range map[string]string{"go.mod": requirements, "go.sum": sums} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		m, err := controlPlane.readPins(folder)
		if err != nil {
			t.Fatal(err)
		}
		return controlPlane.folderName(m)
	}
	const requirements = "module m\n\nrequire (\n\tk8s.io/kubernetes v1.37.2 // indirect\n)\n"
	first := write(requirements, "sums")
	if !regexp.MustCompile(`^kubernetes-v1\.37\.2-[0-9a-f]{10}$`).MatchString(first) {
		t.Errorf("unexpected name %q", first)
	}
	if again := write(requirements, "sums"); again != first {
		t.Errorf("the same module gives %q and %q", first, again)
	}
	if other := write(requirements, "other sums"); other == first {
		t.Error("a changed go.sum keeps the folder")
	}
	if other := write(requirements+"\n", "sums"); other == first {
		t.Error("a changed go.mod keeps the folder")
	}
}

func TestTheProgramsAreTheToolsOfTheirModules(t *testing.T) {
	for _, tier := range []tier{controlPlane, node} {
		for _, module := range tier.modules() {
			content, err := os.ReadFile(filepath.Join("..", module, "go.mod"))
			if err != nil {
				t.Fatal(err)
			}
			block := regexp.MustCompile(`\ntool (?:\(([^)]*)\)|(\S+))`).FindStringSubmatch(string(content))
			if block == nil {
				t.Fatalf("%s/go.mod names no tools", module)
			}
			tools, packages := strings.Fields(block[1]+block[2]), tier.packagesOf(module)
			slices.Sort(tools)
			slices.Sort(packages)
			if !slices.Equal(tools, packages) {
				t.Errorf("%s/go.mod pins the tools %q, and %q are built", module, tools, packages)
			}
		}
	}
}

// Else a node would be compiled from nothing, though most of it is compiled with the control plane.
func TestTheKubeletIsPinnedAsTheControlPlaneIs(t *testing.T) {
	versions := func(path string) map[string]string {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, line := range regexp.MustCompile(`(?m)^\t(\S+\.\S+) (v\S+)`).FindAllStringSubmatch(string(content), -1) {
			found[line[1]] = line[2]
		}
		return found
	}
	kubelet, plane := versions("../kubelet/go.mod"), versions("../go.mod")
	if len(kubelet) < 50 {
		t.Fatalf("only %d requirements are read", len(kubelet))
	}
	for module, version := range kubelet {
		if other, both := plane[module]; both && other != version {
			t.Errorf("%s is %s for the kubelet and %s for the control plane", module, version, other)
		}
	}
}

func TestAnUnknownTierIsRefused(t *testing.T) {
	if _, err := provideTier(t.Context(), []string{"nodes"}, os.Getenv, io.Discard); err == nil || !strings.Contains(err.Error(), "nodes") {
		t.Errorf("error %v, want one that names the argument", err)
	}
}

func TestTheBinariesStateTheirVersion(t *testing.T) {
	const want = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 -X k8s.io/component-base/version.gitMajor=1" +
		" -X k8s.io/component-base/version.gitMinor=37 -X k8s.io/component-base/version.gitTreeState=archive"
	if got := linkerFlags("v1.37.2"); got != want {
		t.Errorf("linker flags %q, want %q", got, want)
	}
}
