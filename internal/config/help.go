package config

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

const managerHelp = `Reactor Operator keeps valid Reactor tokens in Kubernetes Secrets, and runs Reactor sessions.

Usage:
  manager [flags]        runs the operator
  manager drain [flags]  ends what runs, before the operator is uninstalled

A flag that is true by default is turned off by --name=false.
`

// clusterHelp describes how the cluster is found.
const clusterHelp = `
It works with the cluster that the environment variable KUBECONFIG names; without it, with the
cluster that it runs in; outside of a cluster, with that of ~/.kube/config.
`

const (
	// helpWidth is where lines of the help end, in columns.
	helpWidth = 96
	// helpIndent precedes a flag's description.
	helpIndent = "      "
)

// writeHelp writes each flag on a line of its own, with its description below.
func writeHelp(out io.Writer, head string, groups []flagGroup) {
	text := strings.Builder{}
	text.WriteString(head)
	for _, group := range groups {
		fmt.Fprintf(&text, "\n%s:\n", group.title)
		group.flags.VisitAll(func(flag *pflag.Flag) { writeFlag(&text, flag) })
	}
	_, _ = io.WriteString(out, text.String()) // there is no other output to report this to
}

func writeFlag(text *strings.Builder, flag *pflag.Flag) {
	placeholder, description := pflag.UnquoteUsage(flag)
	text.WriteString(strings.TrimRight("  --"+flag.Name+" "+placeholder, " "))
	if value := strings.Trim(flag.DefValue, "[]"); value != "" && value != "false" {
		text.WriteString(" (default " + value + ")")
	}
	for _, line := range wrapped(description, helpWidth-len(helpIndent)) {
		text.WriteString("\n" + helpIndent + line)
	}
	text.WriteString("\n")
}

// wrapped breaks a text into lines of at most the given number of bytes, as far as its words allow.
func wrapped(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// flagGroup is a part of the help.
type flagGroup struct {
	title string
	flags *pflag.FlagSet
}
