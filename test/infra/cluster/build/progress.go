package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// display shows a line that changes: on a terminal in place every second, and in a log as a new line every ten seconds.
type display struct {
	out      io.Writer
	terminal bool
	started  time.Time
}

func newDisplay(out io.Writer) *display {
	terminal := false
	if file, isFile := out.(*os.File); isFile {
		info, err := file.Stat()
		terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return &display{out: out, terminal: terminal, started: time.Now()}
}

// start shows the line regularly until the function that it returns is called.
func (d *display) start(line func(elapsed time.Duration) string) (stop func()) {
	interval := 10 * time.Second
	if d.terminal {
		interval = time.Second
	}
	ticker := time.NewTicker(interval)
	done := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() {
		for {
			select {
			case <-ticker.C:
				d.show(line(time.Since(d.started)))
			case <-done:
				return
			}
		}
	})
	return func() {
		ticker.Stop()
		close(done)
		shown.Wait()
		if d.terminal {
			fmt.Fprint(d.out, "\r\x1b[K")
		}
	}
}

func (d *display) show(line string) {
	if d.terminal {
		fmt.Fprint(d.out, "\r\x1b[K"+line)
		return
	}
	fmt.Fprintln(d.out, line)
}

// elapsed is the time since the start, in whole seconds.
func (d *display) elapsed() time.Duration { return time.Since(d.started).Truncate(time.Second) }

// progress reads the output of the go command and counts what it downloads and compiles.
type progress struct {
	*display

	mu         sync.Mutex
	partial    []byte
	downloaded int
	expected   int
	compiled   int
	latest     string
	other      []string
}

func newProgress(out io.Writer) *progress { return &progress{display: newDisplay(out)} }

func (p *progress) announce(what string) {
	fmt.Fprintf(p.out, "building %s\n", what)
}

// line describes the state of the build after some time.
func (p *progress) line(elapsed time.Duration) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	after := elapsed.Truncate(time.Second)
	switch {
	case p.expected == 0:
		return fmt.Sprintf("  %s: %d modules downloaded", after, p.downloaded)
	case p.compiled == 0:
		return fmt.Sprintf("  %s: %d packages to compile or to find in the build cache", after, p.expected)
	default:
		return fmt.Sprintf("  %s: %d of at most %d packages compiled, at %s", after, p.compiled, p.expected, p.latest)
	}
}

func (p *progress) finish() {
	fmt.Fprintf(p.out, "built in %s\n", p.elapsed())
}

func (p *progress) expect(packages int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = packages
}

// Write takes the output of the go command.
func (p *progress) Write(output []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partial = append(p.partial, output...)
	for {
		line, rest, found := bytes.Cut(p.partial, []byte("\n"))
		if !found {
			return len(output), nil
		}
		p.partial = rest
		p.take(string(line))
	}
}

// take sorts one line: a module that is downloaded, the bare path of a package that is compiled, or something that matters only
// if the build fails.
func (p *progress) take(line string) {
	switch {
	case strings.HasPrefix(line, "go: downloading "):
		p.downloaded++
	case line != "" && !strings.ContainsAny(line, " \t:"):
		p.compiled++
		p.latest = line
	default:
		p.other = append(p.other, line)
	}
}

// complaints are the lines of the go command that were not progress.
func (p *progress) complaints() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(append(p.other, string(p.partial)), "\n")
}

func (p *progress) downloadedModules() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.downloaded
}
