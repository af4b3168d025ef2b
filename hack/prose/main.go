// Command prose checks the English of this repository with Vale. Vale reads Markdown as it is. Of other files, it reads what this program
// extracts: comments, texts of alerts, and the strings of Go and of the chart that users can see. The findings have the file and the line
// of the source.
//
// Usage: prose [-level warning] VALE, where VALE is the path of Vale. The program fails if Vale reports an error.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// config is the configuration of Vale, relative to the root of the repository.
const config = "hack/vale/.vale.ini"

func main() {
	level := flag.String("level", "error", "the lowest level to report: suggestion, warning or error")
	flag.Parse()
	if err := run(context.Background(), *level, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "prose:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, level string, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: prose [-level LEVEL] VALE, where VALE is the path of Vale")
	}
	folder, err := os.MkdirTemp("", "prose")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	lines, err := extractAll(ctx, folder)
	if err != nil {
		return err
	}
	found, err := lint(ctx, folder, level, args[0])
	if err != nil {
		return err
	}
	errorCount := 0
	for _, path := range slices.Sorted(maps.Keys(lines)) {
		for _, finding := range found[extractedName(path)] {
			fmt.Printf("%s:%d: %s: %s (%s)\n", path, sourceLine(lines[path], finding.Line), finding.Severity, finding.Message, finding.Check)
			if finding.Severity == "error" {
				errorCount++
			}
		}
	}
	if errorCount > 0 {
		return fmt.Errorf("%d errors in %d files", errorCount, len(found))
	}
	return nil
}

// extractAll writes the text of each file of the repository into the folder, under the path of the file. It returns the source lines of
// each extracted file: element i is the source line of line i+1.
func extractAll(ctx context.Context, folder string) (map[string][]int, error) {
	listed, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return nil, fmt.Errorf("listing the files of the repository: %w", err)
	}
	lines := map[string][]int{}
	for path := range strings.SplitSeq(strings.TrimSuffix(string(listed), "\x00"), "\x00") {
		extract := extractorOf(path)
		if extract == nil {
			continue
		}
		source, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // It was deleted, and is not committed yet.
		}
		if err != nil {
			return nil, err
		}
		pieces, err := extract(path, string(source))
		if err != nil {
			return nil, err
		}
		text, numbers := join(pieces)
		lines[path] = numbers
		target := filepath.Join(folder, extractedName(path))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(target, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

// extractedName returns the name of the extracted text of a file: Vale reads it as Markdown, whatever the file is.
func extractedName(path string) string {
	return strings.TrimSuffix(path, ".md") + ".md"
}

// finding is a part of what Vale reports of one place.
type finding struct {
	Check    string `json:"Check"`
	Line     int    `json:"Line"`
	Message  string `json:"Message"`
	Severity string `json:"Severity"`
}

// lint runs Vale on the folder, and returns its findings by path.
func lint(ctx context.Context, folder, level, vale string) (map[string][]finding, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, vale,
		"--no-global", "--config="+filepath.Join(root, config), "--minAlertLevel="+level, "--output=JSON", "--no-exit", ".")
	command.Dir = folder
	var problems bytes.Buffer
	command.Stderr = &problems
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", command, err, output, problems.Bytes())
	}
	found := map[string][]finding{}
	if err := json.Unmarshal(output, &found); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", command, err, output, problems.Bytes())
	}
	return found, nil
}

// sourceLine returns the line of the source of a line of the extracted text.
func sourceLine(lines []int, line int) int {
	if line < 1 || line > len(lines) {
		return line
	}
	return lines[line-1]
}
