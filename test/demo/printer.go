package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	// width is how wide the demo's own words are; what programs print may be a little wider.
	width  = 92
	widest = 100
	indent = "  "
)

// printer writes what the reader sees. All of it goes through the veil.
type printer struct {
	out    io.Writer
	colour bool
	veil   veil
	headed bool // the last line is a heading's
}

func newPrinter(out io.Writer, colour bool) *printer { return &printer{out: out, colour: colour} }

// The styles of a terminal.
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (p *printer) styled(style, text string) string {
	if !p.colour || style == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (p *printer) line(style, text string) {
	fmt.Fprintln(p.out, p.styled(style, p.veil.over(text)))
	p.headed = false
}

func (p *printer) blank() { fmt.Fprintln(p.out) }

func (p *printer) title(text string) {
	p.blank()
	p.line(bold, text)
	p.line(faint, strings.Repeat("═", utf8.RuneCountInString(text)))
}

func (p *printer) heading(text string) {
	p.blank()
	p.line(bold, text)
	p.line(faint, strings.Repeat("─", utf8.RuneCountInString(text)))
	p.headed = true
}

// text writes a paragraph.
func (p *printer) text(format string, args ...any) {
	for _, line := range wrap(fmt.Sprintf(format, args...), width-len(indent)) {
		p.line("", indent+line)
	}
}

// command writes what the reader could type.
func (p *printer) command(text string) {
	p.apart()
	p.nextCommand(text)
}

// request writes a request to the local Reactor API, which the demo itself sends: nobody needs curl for it. A body that begins with @ is
// the content of a file of the demo.
func (p *printer) request(method, path, body string) {
	if name, isFile := strings.CutPrefix(body, "@"); isFile {
		body = "@$DEMO/" + name
	}
	p.apart()
	p.line(cyan, indent+strings.TrimRight("→ "+method+" $REACTOR"+path+"  "+body, " "))
}

// apart leaves a line blank, except below a heading.
func (p *printer) apart() {
	if !p.headed {
		p.blank()
	}
}

// nextCommand writes a command that follows another one at once.
func (p *printer) nextCommand(text string) {
	prompt := "$ "
	for line := range strings.SplitSeq(text, "\n") {
		p.line(cyan, indent+prompt+line)
		prompt = "    "
	}
}

// output writes what a command has printed.
func (p *printer) output(text string) {
	text = strings.TrimRight(p.veil.over(text), "\n")
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		for i, part := range fold(strings.TrimRight(line, " "), widest-len(indent)) {
			p.line("", indent+strings.Repeat(" ", 4*min(i, 1))+part)
		}
	}
}

// good and bad write what was seen of a step.
func (p *printer) good(format string, args ...any) {
	p.verdict(green, "✓ ", fmt.Sprintf(format, args...))
}
func (p *printer) bad(format string, args ...any) {
	p.verdict(red, "✗ ", fmt.Sprintf(format, args...))
}

func (p *printer) verdict(style, mark, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		for _, line := range wrap(line, width-len(indent)-2) {
			p.line(style, indent+mark+line)
			mark = "  "
		}
	}
}

// suggestions writes commands, and what each is for.
func (p *printer) suggestions(all [][2]string) {
	p.blank()
	for _, suggestion := range all {
		p.line(faint, indent+"# "+suggestion[0])
		p.line(cyan, indent+suggestion[1])
	}
	p.blank()
}

// wrap breaks a text between words into lines of at most so many characters; a longer word gets a line of its own.
func wrap(text string, most int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= most:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}

// fold breaks a line of a program's output between words, and keeps the spaces within it. What follows the first part is 4
// shorter, for its indentation.
func fold(line string, most int) []string {
	var parts []string
	runes := []rune(line)
	for len(runes) > most {
		at := most
		for at > most/2 && runes[at] != ' ' {
			at--
		}
		if runes[at] != ' ' {
			at = most
		}
		parts = append(parts, strings.TrimRight(string(runes[:at]), " "))
		runes = []rune(strings.TrimLeft(string(runes[at:]), " "))
		if len(parts) == 1 {
			most -= 4
		}
	}
	return append(parts, string(runes))
}
