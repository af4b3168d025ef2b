package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The table stands between these lines of the document; what is around it is written by hand.
const (
	tableBegin = "<!-- Written by make bench-docs from docs/performance/*.json: begin -->\n"
	tableEnd   = "<!-- end -->\n"
)

// plotFile is the plot of the part growth, beside the results.
const plotFile = "growth.svg"

// render writes the table of a document, and the plot, from the results in a folder.
func render(results, document string) error {
	records, err := load(results)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	before, rest, begins := bytes.Cut(text, []byte(tableBegin))
	_, after, ends := bytes.Cut(rest, []byte(tableEnd))
	if !begins || !ends {
		return fmt.Errorf("%s lacks the lines between which the table stands", document)
	}
	written := bytes.Join([][]byte{before, []byte(tableBegin), []byte(tableOf(records, filepath.Base(results))), []byte(tableEnd), after}, nil)
	if err := os.WriteFile(document, written, 0o644); err != nil {
		return err
	}
	for i := range records {
		if records[i].Part == partGrowth {
			return os.WriteFile(filepath.Join(results, plotFile), []byte(plotOf(&records[i])), 0o644)
		}
	}
	return nil
}

// tableOf renders the results, and what each was measured with.
func tableOf(records []Record, folder string) string {
	var text strings.Builder
	if len(records) == 0 {
		return "\nNo run that is large enough has been recorded.\n\n"
	}
	for i := range records {
		record := &records[i]
		fmt.Fprintf(&text, "\n### %s\n\n", record.Part)
		fmt.Fprintf(&text, "`%s`, commit %s, %s, in %s; %s, %d cores, %s, %s, Kubernetes %s, %s, load %s before it. [Samples](%s/%s.json).\n\n",
			record.Command, record.Commit, record.Date, record.Took, record.Machine.CPU, record.Machine.Cores, record.Machine.Memory, record.Machine.Kernel,
			record.Machine.Kubernetes, record.Machine.Go, record.Machine.Load, folder, record.Part)
		text.WriteString("| figure | operator | floor | ratio | goal | |\n|---|---|---|---|---|---|\n")
		for _, row := range record.Rows {
			fmt.Fprintf(&text, "| %s | %s | %s | %s | %s | %s |\n", row.Figure, row.Operator, row.Floor, row.Ratio, row.Goal, row.Verdict)
		}
		if record.Part == partGrowth {
			fmt.Fprintf(&text, "\n![What a token costs in systems of several sizes](%s/%s)\n", folder, plotFile)
		}
	}
	return text.String() + "\n"
}
