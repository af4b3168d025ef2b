package main

import (
	"strings"
	"unicode/utf8"
)

// row is one line of the table at the end.
type row struct {
	what, expected, seen string
	ok                   bool
}

func (r row) cells() []string {
	ok := "NO"
	if r.ok {
		ok = "yes"
	}
	return []string{r.what, r.expected, r.seen, ok}
}

// allSeen tells whether there is something in the table, and all of it is as expected.
func allSeen(rows []row) bool {
	for _, r := range rows {
		if !r.ok {
			return false
		}
	}
	return len(rows) > 0
}

// exitCode is 0 only if the demo came to its end and everything was seen.
func exitCode(rows []row, err error) int {
	if err != nil || !allSeen(rows) {
		return 1
	}
	return 0
}

var tableHead = []string{"what", "expected", "seen", "ok"}

// columnWidths are the most that a column may take; longer cells are wrapped. With the gaps they make up the printer's width.
var columnWidths = []int{21, 29, 31, 3}

const columnGap = "  "

// table writes the rows.
func (p *printer) table(rows []row) {
	p.blank()
	p.tableLines(tableHead, bold)
	rules := make([]string, len(columnWidths))
	for i, most := range columnWidths {
		rules[i] = strings.Repeat("─", most)
	}
	p.tableLines(rules, faint)
	for _, r := range rows {
		style := ""
		if !r.ok {
			style = red
		}
		p.tableLines(r.cells(), style)
	}
}

func (p *printer) tableLines(cells []string, style string) {
	for _, line := range layOut(cells) {
		p.line(style, indent+line)
	}
}

// layOut puts cells beside each other, and wraps what is too long for its column.
func layOut(cells []string) []string {
	wrapped := make([][]string, len(cells))
	height := 0
	for i, cell := range cells {
		for _, line := range wrap(cell, columnWidths[i]) {
			wrapped[i] = append(wrapped[i], chop(line, columnWidths[i])...)
		}
		height = max(height, len(wrapped[i]))
	}
	lines := make([]string, height)
	for n := range lines {
		var line strings.Builder
		for i, column := range wrapped {
			text := ""
			if n < len(column) {
				text = column[n]
			}
			line.WriteString(text + strings.Repeat(" ", max(0, columnWidths[i]-utf8.RuneCountInString(text))) + columnGap)
		}
		lines[n] = strings.TrimRight(line.String(), " ")
	}
	return lines
}

// chop breaks what is too long anywhere.
func chop(text string, most int) []string {
	var parts []string
	runes := []rune(text)
	for len(runes) > most {
		parts = append(parts, string(runes[:most]))
		runes = runes[most:]
	}
	return append(parts, string(runes))
}
