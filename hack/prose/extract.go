package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// piece is a paragraph of text.
type piece struct {
	// line is the source line of the first line of the text.
	line int
	// text has one line for each line of the source.
	text string
}

type extractor func(path, source string) ([]piece, error)

// unread are files whose text is generated, quoted from elsewhere, or history.
//
// The last line has files that are not rewritten yet: the comments of tests, and one page.
var unread = regexp.MustCompile(`(^|/)(zz_generated[^/]*|testdata/.*|node_modules/.*|CHANGELOG\.md|LICENSE)$` +
	`|^docs/api\.md$|^docs/performance/|^internal/applyconfiguration/|^config/crd/bases/|/files/|^\.github/|^\.golangci\.yml$|^hack/vale/|^CODE_OF_CONDUCT\.md$` +
	`|_test\.go$|^test/(sim|bench|chaos|demo|integration|infra/cluster)/|^docs/reliability\.md$`)

// extractorOf returns what extracts the text of a file. It is nil if the file has no text to lint.
func extractorOf(file string) extractor {
	if unread.MatchString(file) {
		return nil
	}
	switch {
	case strings.HasSuffix(file, ".go"):
		return fromGo
	case strings.HasSuffix(file, ".md"):
		return fromMarkdown
	case strings.Contains(file, "/templates/"):
		return fromTemplate
	case path.Base(file) == "rules.yaml":
		return fromAlerts
	case strings.HasSuffix(file, ".yaml"), strings.HasSuffix(file, ".yml"):
		return fromYAML
	}
	return nil
}

// join writes the pieces below each other, with an empty line between two. It returns the text, and the source line of each of its lines.
func join(pieces []piece) (string, []int) {
	var text strings.Builder
	var lines []int
	for _, piece := range pieces {
		for i, line := range strings.Split(piece.text, "\n") {
			text.WriteString(line + "\n")
			lines = append(lines, piece.line+i)
		}
		text.WriteString("\n")
		lines = append(lines, piece.line)
	}
	return text.String(), lines
}

// generatedTable is the generated part of a README.
var generatedTable = regexp.MustCompile(`(?s)<!-- Generated from .*?<!-- End of the generated part\. -->`)

// fromMarkdown returns all of the file, with the generated part left empty.
func fromMarkdown(_, source string) ([]piece, error) {
	text := generatedTable.ReplaceAllStringFunc(source, func(part string) string { return strings.Repeat("\n", strings.Count(part, "\n")) })
	return []piece{{line: 1, text: text}}, nil
}

var yamlComment = regexp.MustCompile(`^\s*#+ ?(.*)$|\s# (.*)$`)

// fromYAML returns the comments of the file. Comments on adjacent lines are one piece.
func fromYAML(_, source string) ([]piece, error) {
	var pieces []piece
	open := false // The next line continues the last piece.
	for i, line := range strings.Split(source, "\n") {
		match := yamlComment.FindStringSubmatch(line)
		if match == nil || match[1]+match[2] == "" {
			open = false
			continue
		}
		whole := match[2] == "" // The comment has the line for itself.
		if whole && open {
			pieces[len(pieces)-1].text += "\n" + match[1]
		} else {
			pieces = append(pieces, piece{line: i + 1, text: match[1] + match[2]})
		}
		open = whole
	}
	return pieces, nil
}

var (
	templateComment = regexp.MustCompile(`(?s)\{\{-? ?/\*(.*?)\*/`)
	templateString  = regexp.MustCompile(`"(?:[^"\\\n]|\\.)*"`)
	templateAction  = regexp.MustCompile(`\{\{.*?\}\}`)
)

// fromTemplate returns the comments and the messages of a template of the chart, or the text of NOTES.txt.
func fromTemplate(file, source string) ([]piece, error) {
	var pieces []piece
	if path.Base(file) == "NOTES.txt" {
		for i, line := range strings.Split(source, "\n") {
			if text := templateAction.ReplaceAllString(line, "X"); !strings.HasPrefix(text, "  ") && !strings.HasPrefix(line, "{{-") {
				pieces = append(pieces, piece{line: i + 1, text: text})
			}
		}
		return pieces, nil
	}
	pieces, err := fromYAML(file, source)
	for _, at := range templateComment.FindAllStringSubmatchIndex(source, -1) {
		pieces = append(pieces, piece{line: 1 + strings.Count(source[:at[2]], "\n"), text: source[at[2]:at[3]]})
	}
	for _, at := range templateString.FindAllStringIndex(source, -1) {
		if text := source[at[0]+1 : at[1]-1]; isSentence(text) {
			pieces = append(pieces, piece{line: 1 + strings.Count(source[:at[0]], "\n"), text: text})
		}
	}
	return pieces, err
}

var alertText = regexp.MustCompile(`(?m)^( +)(?:summary|description): (?:>-\n)?((?:.+)(?:\n +[^ ].*)*?)\n +(?:description|runbook_url):`)

// fromAlerts returns the comments, and what the alerts say.
func fromAlerts(file, source string) ([]piece, error) {
	pieces, err := fromYAML(file, source)
	for offset := 0; ; {
		at := alertText.FindStringSubmatchIndex(source[offset:])
		if at == nil {
			return pieces, err
		}
		first, end := offset+at[4], offset+at[5]
		var lines []string
		for line := range strings.SplitSeq(source[first:end], "\n") {
			lines = append(lines, templateAction.ReplaceAllString(strings.TrimSpace(line), "X"))
		}
		pieces = append(pieces, piece{line: 1 + strings.Count(source[:first], "\n"), text: strings.Join(lines, "\n")})
		offset = end
	}
}

// celMessage is the message of a validation rule in a marker.
var celMessage = regexp.MustCompile(`message="((?:[^"\\]|\\.)*)"`)

// fromGo returns the comments, and, except in tests, the strings that are sentences: conditions, events, errors, logs, and the help of flags.
func fromGo(file, source string) ([]piece, error) {
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, file, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var pieces []piece
	for _, group := range tree.Comments {
		pieces = append(pieces, fromComments(files, group)...)
	}
	if strings.HasSuffix(file, "_test.go") {
		return pieces, nil
	}
	ast.Inspect(tree, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.Field:
			node.Tag = nil
		case *ast.BinaryExpr:
			if text, ok := concatenation(node); ok {
				pieces = appendSentence(pieces, files.Position(node.Pos()).Line, text)
				return false
			}
		case *ast.BasicLit:
			if text, ok := concatenation(node); ok {
				pieces = appendSentence(pieces, files.Position(node.Pos()).Line, text)
			}
		}
		return true
	})
	return pieces, nil
}

func appendSentence(pieces []piece, line int, text string) []piece {
	if !isSentence(text) {
		return pieces
	}
	return append(pieces, piece{line: line, text: strings.Join(strings.Fields(text), " ")})
}

var words = regexp.MustCompile(`[a-z]+[,:;]? [a-z]+`)

// isSentence reports whether a string is text that a user reads, and not a name, a path or an expression.
func isSentence(text string) bool {
	return len(words.FindAllString(text, 2)) > 0 && strings.Count(text, " ") > 1
}

// concatenation returns the value of a string, or of a sum of strings.
func concatenation(expression ast.Expr) (string, bool) {
	switch expression := expression.(type) {
	case *ast.BasicLit:
		if expression.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(expression.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		left, leftIsText := concatenation(expression.X)
		right, rightIsText := concatenation(expression.Y)
		return left + right, expression.Op == token.ADD && leftIsText && rightIsText
	}
	return "", false
}

// fromComments returns the text of adjacent comments, without directives and code. Of a marker, it returns the message for users.
func fromComments(files *token.FileSet, group *ast.CommentGroup) []piece {
	var pieces []piece
	open := false // The next line continues the last piece.
	for _, comment := range group.List {
		for i, line := range strings.Split(strings.TrimSuffix(comment.Text, "*/"), "\n") {
			number := files.Position(comment.Pos()).Line + i
			text, isText := strings.CutPrefix(line, "// ")
			text = strings.TrimPrefix(text, "/*")
			if strings.HasPrefix(text, "+") {
				if message := celMessage.FindStringSubmatch(text); message != nil {
					pieces = append(pieces, piece{line: number, text: message[1]})
				}
				isText = false
			}
			if lineComment := strings.HasPrefix(comment.Text, "//"); lineComment && !isText || text == "" || text[0] == '\t' {
				open = false
				continue
			}
			if open {
				pieces[len(pieces)-1].text += "\n" + text
			} else {
				pieces = append(pieces, piece{line: number, text: text})
			}
			open = true
		}
	}
	return pieces
}
