package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"k8s.io/utils/clock"
)

// terminal is where the user reads what happens, and answers.
type terminal struct {
	in          *bufio.Reader
	out         io.Writer
	interactive bool
	clock       clock.PassiveClock
	started     time.Time
}

func newTerminal(in io.Reader, out io.Writer, interactive bool) *terminal {
	t := &terminal{in: bufio.NewReader(in), out: out, interactive: interactive, clock: clock.RealClock{}}
	t.started = t.clock.Now()
	return t
}

func (t *terminal) printf(format string, args ...any) { fmt.Fprintf(t.out, format, args...) }

// elapsed is the time since the start of the command.
func (t *terminal) elapsed() string { return seconds(t.clock.Since(t.started)) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

// step prints the name of a step, does it, and prints how long it took.
func (t *terminal) step(what string, do func() error) error {
	t.printf("%s ... ", what)
	started := t.clock.Now()
	err := do()
	took := seconds(t.clock.Since(started))
	if err != nil {
		t.printf("failed after %s\n", took)
		return err
	}
	t.printf("%s\n", took)
	return nil
}

// agree asks a question and reports whether the answer is yes.
func (t *terminal) agree(question string) (bool, error) {
	t.printf("%s [y/N] ", question)
	answer, err := t.in.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// maxOutput is how many lines of a failed command an error shows.
const maxOutput = 30

// command runs a program to its end. An error has the command and the end of its output.
func command(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	// An interrupt lets Helm record that its operation ended.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	output, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	if len(lines) > maxOutput {
		lines = lines[len(lines)-maxOutput:]
	}
	return fmt.Errorf("run %s: %w\n  %s", strings.Join(args, " "), err, strings.Join(lines, "\n  "))
}
