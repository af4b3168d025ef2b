package main

import (
	"io"
	"testing"
	"time"
)

func TestProgressFollowsTheGoCommand(t *testing.T) {
	p := newProgress(io.Discard)
	steps := []struct{ output, want string }{
		{"", "  1m5s: 0 modules downloaded"},
		{"go: downloading k8s.io/kubernetes v1.37.2\ngo: downloading k8s.io/api v0.37.2\n", "  1m5s: 2 modules downloaded"},
	}
	for _, step := range steps {
		write(t, p, step.output)
		if got := p.line(65*time.Second + 300*time.Millisecond); got != step.want {
			t.Errorf("after %q: %q, want %q", step.output, got, step.want)
		}
	}
	p.expect(40)
	if got, want := p.line(time.Minute), "  1m0s: 40 packages to compile or to find in the build cache"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	write(t, p, "unicode/utf8\nk8s.io/ap")
	write(t, p, "i/core/v1\n")
	if got, want := p.line(time.Minute), "  1m0s: 2 of at most 40 packages compiled, at k8s.io/api/core/v1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWhatTheCompilerComplainsOfIsKept(t *testing.T) {
	p := newProgress(io.Discard)
	write(t, p, "go: downloading k8s.io/api v0.37.2\nunicode/utf8\n# k8s.io/api/core/v1\ntypes.go:3:2: undefined: x\nno newline at the end")
	want := "# k8s.io/api/core/v1\ntypes.go:3:2: undefined: x\nno newline at the end"
	if got := p.complaints(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func write(t *testing.T, p *progress, output string) {
	t.Helper()
	if n, err := io.WriteString(p, output); n != len(output) || err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(output), err)
	}
}
