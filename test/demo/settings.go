package main

import (
	"cmp"
	"os"
)

// settings are what the environment says.
type settings struct {
	binaries string // KUBEBUILDER_ASSETS: the folder of the control plane's programs
	node     string // NODE_ASSETS: the folder of a node's programs; empty without pods
	once     bool   // DEMO_ONCE=1: end after the table
	broken   bool   // DEMO_BROKEN=1: without an operator, and once
	apiKey   string // REACTOR_API_KEY: use the real API
	apiURL   string // REACTOR_API_URL
	colour   bool
}

// settingsFrom reads the environment.
func settingsFrom(getenv func(string) string, out *os.File) settings {
	broken := isSet(getenv("DEMO_BROKEN"))
	return settings{
		binaries: getenv("KUBEBUILDER_ASSETS"),
		node:     getenv("NODE_ASSETS"),
		once:     isSet(getenv("DEMO_ONCE")) || broken,
		broken:   broken,
		apiKey:   getenv("REACTOR_API_KEY"),
		apiURL:   cmp.Or(getenv("REACTOR_API_URL"), "https://api.reactor.inc"),
		colour:   getenv("NO_COLOR") == "" && getenv("TERM") != "dumb" && isTerminal(out),
	}
}

// real tells whether tokens come from the real API.
func (s settings) real() bool { return s.apiKey != "" }

// pods tells whether there is a node for pods. The real API is not asked for sessions, which are billed.
func (s settings) pods() bool { return s.node != "" && !s.real() }

func isSet(value string) bool { return value != "" && value != "0" && value != "false" }

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
