package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// Record is what one run of one part has measured. It is kept as JSON, a file for each part.
type Record struct {
	Part    string
	Command string
	Commit  string
	Date    string // of the day
	Took    string
	Machine Machine
	Rows    []Row
	Series  []Series
}

// Machine is what it was measured on.
type Machine struct {
	CPU        string
	Cores      int
	Memory     string
	Kernel     string
	Go         string
	Kubernetes string
	Load       string // of the last minute, before the run: others may have worked too
}

// Row is a figure beside its floor.
type Row struct {
	Figure   string
	Operator string
	Floor    string `json:",omitempty"`
	Ratio    string `json:",omitempty"`
	Goal     string `json:",omitempty"`
	Verdict  Verdict
}

// Verdict is whether a goal was met.
type Verdict string

// The verdicts. A count that is wrong fails the run, whatever its size; a time never does.
const (
	NoGoal Verdict = ""
	Met    Verdict = "met"
	NotMet Verdict = "not met"
	Wrong  Verdict = "wrong"
)

// Series are raw samples.
type Series struct {
	Name   string
	Unit   string
	Values []float64
}

// goal judges a figure that may be missed.
func goal(met bool) Verdict {
	if met {
		return Met
	}
	return NotMet
}

// count judges a figure that must be right in each run.
func count(right bool) Verdict {
	if right {
		return Met
	}
	return Wrong
}

// wrongCounts are the rows that fail a run.
func (r *Record) wrongCounts() error {
	var failed []error
	for _, row := range r.Rows {
		if row.Verdict == Wrong {
			failed = append(failed, fmt.Errorf("%s: %s: got %s, want %s", r.Part, row.Figure, row.Operator, row.Goal))
		}
	}
	return errors.Join(failed...)
}

// one returns the series of this name.
func (r *Record) one(name string) []float64 {
	for _, series := range r.Series {
		if series.Name == name {
			return series.Values
		}
	}
	return nil
}

// save writes the record in place of an earlier one of its part.
func (r *Record) save(folder string) (string, error) {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(folder, r.Part+".json")
	return path, os.WriteFile(path, append(compact(text), '\n'), 0o644)
}

// compact puts arrays of numbers onto one line each.
func compact(text []byte) []byte {
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		trimmed := strings.TrimSpace(line)
		number := trimmed != "" && strings.Trim(trimmed, "-+.,0123456789e") == ""
		switch {
		case number:
			out.WriteString(trimmed)
		case trimmed == "]" && strings.HasSuffix(out.String(), "\n"):
			out.WriteString(line)
		case strings.HasSuffix(trimmed, "["):
			out.WriteString(strings.TrimRight(line, "\n"))
		case trimmed == "]" || trimmed == "],":
			out.WriteString(strings.TrimRight(trimmed, "\n") + "\n")
		default:
			if out.Len() > 0 && !strings.HasSuffix(out.String(), "\n") {
				out.WriteString("\n")
			}
			out.WriteString(line)
		}
	}
	return []byte(strings.TrimRight(out.String(), "\n"))
}

// load reads the records of a folder, in the order of the parts. Those that are not there are left out.
func load(folder string) ([]Record, error) {
	var records []Record
	for _, part := range partNames() {
		text, err := os.ReadFile(filepath.Join(folder, part+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		record := Record{}
		if err := json.Unmarshal(text, &record); err != nil {
			return nil, fmt.Errorf("%s.json: %w", part, err)
		}
		records = append(records, record)
	}
	return records, nil
}

// machine describes this one.
func machine(ctx context.Context, binaries string) (Machine, error) {
	m := Machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version()}
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return m, err
	}
	memory, memoryErr := proc.Meminfo()
	load, loadErr := proc.LoadAvg()
	processors, processorsErr := proc.CPUInfo()
	kernel, kernelErr := os.ReadFile("/proc/sys/kernel/osrelease")
	said, saidErr := exec.CommandContext(ctx, filepath.Join(binaries, "kube-apiserver"), "--version").Output() //nolint:gosec // a folder of this machine
	if err := errors.Join(memoryErr, loadErr, processorsErr, kernelErr, saidErr); err != nil {
		return m, err
	}
	if len(processors) > 0 && processors[0].ModelName != "" {
		m.CPU = processors[0].ModelName
	}
	m.Memory = fmt.Sprintf("%.0f GiB", float64(*memory.MemTotalBytes)/(1<<30))
	m.Load = fmt.Sprintf("%.1f", load.Load1)
	m.Kernel = "Linux " + strings.TrimSpace(string(kernel))
	m.Kubernetes = strings.TrimPrefix(strings.TrimSpace(string(said)), "Kubernetes ")
	return m, nil
}

// dirty ends the commit of a run whose code was not committed.
const dirty = "-dirty"

// commit is what was measured, and whether something of it was not committed. Results of earlier parts do not count.
func commit(ctx context.Context) string {
	said, err := exec.CommandContext(ctx, "git", "describe", "--always", "--abbrev=12", "--exclude=*").Output()
	changes, statusErr := exec.CommandContext(ctx, "git", "status", "--porcelain", "--", ":/", ":(top,exclude)docs").Output()
	if err != nil || statusErr != nil {
		return "unknown"
	}
	name := strings.TrimSpace(string(said))
	if len(changes) > 0 {
		name += dirty
	}
	return name
}

// today is the day of a time.
func today(now time.Time) string { return now.UTC().Format(time.DateOnly) }
