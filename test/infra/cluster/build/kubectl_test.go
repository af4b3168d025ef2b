package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kubectlOnPath puts a script with the name kubectl on the PATH, alone.
func kubectlOnPath(t *testing.T, script string) string {
	t.Helper()
	folder := t.TempDir()
	path := filepath.Join(folder, "kubectl")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder)
	return path
}

func TestAKubectlOnThePathIsUsedInsteadOfABuild(t *testing.T) {
	version := func(version string) string {
		return `[ "$*" = "version --client -o json" ] && echo '{"clientVersion": {"gitVersion": "` + version + `"}, "kustomizeVersion": "v5.7.1"}'`
	}
	tests := map[string]struct {
		script   string
		wantUsed bool
		wantLog  string
	}{
		"the pinned version is used":             {version("v1.37.2"), true, "using kubectl v1.37.2 of "},
		"another patch release is used":          {version("v1.37.9"), true, "using kubectl v1.37.9 of "},
		"one minor version older is used":        {version("v1.36.0"), true, "using kubectl v1.36.0 of "},
		"one minor version newer is used":        {version("v1.38.1"), true, "using kubectl v1.38.1 of "},
		"a suffix does not matter":               {version("v1.37.2-eks-1234"), true, "using kubectl v1.37.2-eks-1234 of "},
		"two minor versions older is not":        {version("v1.35.4"), false, "it is v1.35.4, more than one minor version away from v1.37.2"},
		"two minor versions newer is not":        {version("v1.39.0"), false, "it is v1.39.0, more than one minor version away"},
		"another major version is not":           {version("v2.37.2"), false, "it is v2.37.2"},
		"an answer without a version is not":     {version(""), false, `its version cannot be told from ""`},
		"an answer that is not JSON is not":      {"echo Client Version: v1.37.2", false, "invalid character"},
		"a program that fails is not":            {"exit 3", false, "exit status 3"},
		"a wrapper that needs its folder is not": {`. "${0%/*}/version.sh"`, false, "its version --client -o json"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			installed := kubectlOnPath(t, test.script)
			folder := t.TempDir()
			var log strings.Builder
			if err := controlPlane.copyKubectl(t.Context(), folder, "v1.37.2", &log); err != nil {
				t.Fatal(err)
			}
			_, err := os.Stat(filepath.Join(folder, "kubectl"))
			if used := err == nil; used != test.wantUsed {
				t.Errorf("used %t, want %t", used, test.wantUsed)
			}
			if !strings.Contains(log.String(), test.wantLog) || !strings.Contains(log.String(), installed) {
				t.Errorf("it prints %q, want %q and the path", log.String(), test.wantLog)
			}
		})
	}
}

func TestWithoutAKubectlOnThePathItIsBuilt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	folder := t.TempDir()
	var log strings.Builder
	if err := controlPlane.copyKubectl(t.Context(), folder, "v1.37.2", &log); err != nil || log.Len() > 0 || len(entries(t, folder)) > 0 {
		t.Errorf("%v, it prints %q", err, log.String())
	}
}

func TestAKubectlThatIsNotNeededIsNotAsked(t *testing.T) {
	kubectlOnPath(t, "exit 3")
	folder := t.TempDir()
	fill(t, folder, "Kubernetes v1.37.2")
	var log strings.Builder
	err := errors.Join(controlPlane.copyKubectl(t.Context(), folder, "v1.37.2", &log), node.copyKubectl(t.Context(), folder, "v1.37.2", &log))
	if err != nil || log.Len() > 0 {
		t.Errorf("%v, it prints %q", err, log.String())
	}
}
