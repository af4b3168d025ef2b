// Command chart-docs writes the table of a Helm chart's values into its README.md. The comment above a value in values.yaml is its
// description. A value without a comment is an error.
//
// Usage: chart-docs CHART
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The table is between these two lines of the README.
const (
	start = "<!-- Generated from values.yaml by make chart-docs. -->\n"
	end   = "<!-- End of the generated part. -->\n"
)

// headingMark starts a heading in values.yaml.
const headingMark = "---"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chart-docs:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: chart-docs CHART, where CHART is the folder of a chart")
	}
	values, err := os.ReadFile(filepath.Join(args[0], "values.yaml"))
	if err != nil {
		return err
	}
	path := filepath.Join(args[0], "README.md")
	readme, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	table, err := tableOf(values)
	if err != nil {
		return err
	}
	written, err := replaced(string(readme), table)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(written), 0o644)
}

// replaced puts the table between the two lines.
func replaced(readme, table string) (string, error) {
	before, rest, starts := strings.Cut(readme, start)
	_, after, ends := strings.Cut(rest, end)
	if !starts || !ends {
		return "", fmt.Errorf("there must be a line %q and after it a line %q", strings.TrimSpace(start), strings.TrimSpace(end))
	}
	return before + start + "\n" + table + "\n" + end + after, nil
}

// tableOf returns the table in Markdown.
func tableOf(values []byte) (string, error) {
	document := yaml.Node{}
	if err := yaml.Unmarshal(values, &document); err != nil {
		return "", err
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return "", errors.New("values.yaml is not one mapping")
	}
	text := strings.Builder{}
	text.WriteString("| value | default | what it does |\n|---|---|---|\n")
	if err := writeRows(&text, "", document.Content[0]); err != nil {
		return "", err
	}
	return text.String(), nil
}

// writeRows writes a row for each value of a mapping, and for those of the groups in it.
func writeRows(text *strings.Builder, group string, mapping *yaml.Node) error {
	for i := 0; i < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		path := group + key.Value
		if isGroup(value) {
			if err := writeRows(text, path+".", value); err != nil {
				return err
			}
			continue
		}
		description := descriptionOf(key)
		if description == "" {
			return fmt.Errorf("values.yaml:%d: %s has no comment above it that describes it", key.Line, path)
		}
		standard, err := inline(value)
		if err != nil {
			return fmt.Errorf("values.yaml:%d: %s: %w", key.Line, path, err)
		}
		fmt.Fprintf(text, "| `%s` | `%s` | %s |\n", path, standard, description)
	}
	return nil
}

// isGroup reports whether the values inside have descriptions, and not only the whole mapping.
func isGroup(value *yaml.Node) bool {
	if value.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i < len(value.Content); i += 2 {
		if descriptionOf(value.Content[i]) != "" || isGroup(value.Content[i+1]) {
			return true
		}
	}
	return false
}

// descriptionOf returns the last paragraph of the comment above a key, unless that is a heading of the file.
func descriptionOf(key *yaml.Node) string {
	paragraphs := strings.Split(key.HeadComment, "\n\n")
	var words []string
	for line := range strings.SplitSeq(paragraphs[len(paragraphs)-1], "\n") {
		words = append(words, strings.Fields(strings.TrimPrefix(line, "#"))...)
	}
	if len(words) > 0 && words[0] == headingMark {
		return ""
	}
	return strings.ReplaceAll(strings.Join(words, " "), "|", `\|`)
}

// inline returns a value on one line.
func inline(value *yaml.Node) (string, error) {
	if value.Kind == yaml.ScalarNode && value.Value == "" && value.Tag == "!!str" {
		return `""`, nil
	}
	flow := *value
	flow.Style |= yaml.FlowStyle
	flow.LineComment = ""
	for _, inside := range flow.Content {
		inside.Style |= yaml.FlowStyle
	}
	written, err := yaml.Marshal(&flow)
	return strings.TrimSpace(string(written)), err
}
