// Command bench measures the operator next to a floor, a program that makes the same requests and decides nothing, taken in the same run. It
// fills the table in docs/performance.md. make bench builds what it runs; docs/performance.md says what each part does.
//
// Everything is on one machine and there is no node: pods are made, and the benchmark plays the kubelet where that matters.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// The parts.
const (
	partFresh    = "fresh"
	partRequests = "requests"
	partMemory   = "memory"
	partRestart  = "restart"
	partLatency  = "latency"
	partRotation = "rotation"
	partSessions = "sessions"
	partSteady   = "steady"
	partGrowth   = "growth"
)

// part is something that can be measured.
type part struct {
	name    string
	measure func(*bench, context.Context) error
	long    bool // it is measured only when it is asked for
}

// parts are all of them, in their order.
var parts []part

func init() { //nolint:gochecknoinits // the parts' own code asks for their names
	parts = []part{
		{partFresh, (*bench).fresh, false},
		{partRequests, (*bench).requests, false},
		{partMemory, (*bench).memory, false},
		{partRestart, (*bench).restart, false},
		{partLatency, (*bench).latency, false},
		{partRotation, (*bench).rotation, false},
		{partSessions, (*bench).sessionsPart, false},
		{partSteady, (*bench).steady, true},
		{partGrowth, (*bench).growth, true},
	}
}

func partNames() []string {
	var names []string
	for _, part := range parts {
		names = append(names, part.name)
	}
	return names
}

func defaultParts() []string {
	var names []string
	for _, part := range parts {
		if !part.long {
			names = append(names, part.name)
		}
	}
	return names
}

func main() {
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard()) // client-go says there what the errors say too
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	settings, err := parse(args)
	if err != nil {
		return err
	}
	if settings.render {
		return render(settings.results, settings.docs)
	}
	b := &bench{settings: settings, began: time.Now(), log: os.Stderr, out: os.Stdout, command: commandOf(args)}
	return b.run(ctx)
}

// commandOf is the command as a person would type it: make finds the control plane that this needs.
func commandOf(args []string) string {
	command, others := "make bench", []string(nil)
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--n="); ok {
			command += " N=" + value
		} else if value, ok := strings.CutPrefix(arg, "--only="); ok {
			command += " ONLY=" + value
		} else {
			others = append(others, arg)
		}
	}
	if len(others) == 0 {
		return command
	}
	return command + " ARGS='" + strings.Join(others, " ") + "'"
}

// bench is a run of the benchmark.
type bench struct {
	settings

	began    time.Time
	log, out io.Writer
	command  string
	record   *Record  // of the part that is being measured
	writes   *example // what the operator writes; nil before it has written anything
	system   *system  // of n tokens; nil before it is needed
}

// say tells people how far it is.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.log, "%8s  %s\n", time.Since(b.began).Round(time.Second), fmt.Sprintf(format, args...))
}

// row adds a figure.
func (b *bench) row(row Row) {
	b.record.Rows = append(b.record.Rows, row)
	line := []string{row.Figure + ": " + row.Operator}
	for _, more := range []struct{ name, text string }{{"floor ", row.Floor}, {"ratio ", row.Ratio}, {"goal ", row.Goal}, {"", string(row.Verdict)}} {
		if more.text != "" {
			line = append(line, more.name+more.text)
		}
	}
	fmt.Fprintln(b.out, strings.Join(line, " | "))
}

// samples adds raw samples, each with four digits.
func (b *bench) samples(name, unit string, values []float64) {
	kept := make([]float64, 0, len(values))
	for _, value := range values {
		kept = append(kept, rounded(value))
	}
	b.record.Series = append(b.record.Series, Series{Name: name, Unit: unit, Values: kept})
}

// run measures the parts, and saves each as soon as it is done.
func (b *bench) run(ctx context.Context) (err error) {
	for _, binary := range []string{"bin/manager", "bin/reactor-emulator"} {
		if _, err := os.Stat(binary); err != nil {
			return fmt.Errorf("%w: make build builds it, and this runs in the root of the repository", err)
		}
	}
	on, err := machine(ctx, os.Getenv("KUBEBUILDER_ASSETS"))
	if err != nil {
		return err
	}
	at := commit(ctx)
	defer func() { err = errors.Join(err, b.system.end()) }()
	var wrong []error
	for i, part := range parts {
		if !slices.Contains(b.only, part.name) {
			continue
		}
		if err := b.provideSystem(ctx, i); err != nil {
			return err
		}
		begin := time.Now()
		b.record = &Record{Part: part.name, Command: b.command, Commit: at, Date: today(begin), Machine: on}
		b.say("%s begins", part.name)
		if err := part.measure(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		b.record.Took = time.Since(begin).Round(time.Second).String()
		wrong = append(wrong, b.record.wrongCounts())
		if err := b.keep(part.name); err != nil {
			return err
		}
	}
	return errors.Join(wrong...)
}

// provideSystem makes the system of n tokens before a part that uses it, and ends it before one from which on nobody does.
func (b *bench) provideSystem(ctx context.Context, at int) error {
	if usesSystem(parts[at].name) {
		return b.needSystem(ctx)
	}
	if b.systemIsNeeded(at) {
		return nil
	}
	unused := b.system
	b.system = nil
	return unused.end()
}

// usesSystem tells whether a part measures a system of n tokens that is there.
func usesSystem(part string) bool {
	return slices.Contains([]string{partMemory, partRestart, partLatency, partRotation}, part)
}

// systemIsNeeded tells whether a part from here on uses it.
func (b *bench) systemIsNeeded(from int) bool {
	return slices.ContainsFunc(parts[from:], func(later part) bool {
		return usesSystem(later.name) && slices.Contains(b.only, later.name)
	})
}

// keep saves the record: for the table if it is large enough and right, and elsewhere if it is not.
func (b *bench) keep(part string) error {
	folder, why := b.place(part)
	path, err := b.record.save(folder)
	if err != nil {
		return err
	}
	if why != "" {
		b.say("%s is done: %s. It does not fill the table: %s", part, path, why)
		return nil
	}
	b.say("%s is done: %s", part, path)
	return render(b.results, b.docs)
}

// Who is measured.
const (
	byOperator = "operator"
	byFloor    = "floor"
)

// smallFolder takes the results that do not fill the table.
const smallFolder = "bin/bench"

// place is where the record goes, and why not where the table is made from.
func (b *bench) place(part string) (folder, why string) {
	if why := b.tooSmall(part); why != "" {
		return smallFolder, why
	}
	if strings.HasSuffix(b.record.Commit, dirty) {
		return smallFolder, "something that was measured is not committed"
	}
	if err := b.record.wrongCounts(); err != nil {
		return smallFolder, err.Error()
	}
	return b.results, ""
}

// stage starts one.
func (b *bench) stage(ctx context.Context, options stage.Options) (*stage.Stage, error) {
	options.PprofServed = b.profile != ""
	return stage.Start(ctx, options)
}
