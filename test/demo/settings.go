package main

import (
	"cmp"
	"os"
)

// settings are what the environment says.
type settings struct {
	binaries string // KUBEBUILDER_ASSETS: the folder of the control plane's programs
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
		once:     isSet(getenv("DEMO_ONCE")) || broken,
		broken:   broken,
		apiKey:   getenv("REACTOR_API_KEY"),
		apiURL:   cmp.Or(getenv("REACTOR_API_URL"), "https://api.reactor.inc"),
		colour:   getenv("NO_COLOR") == "" && getenv("TERM") != "dumb" && isTerminal(out),
	}
}

// real tells whether tokens come from the real API.
func (s settings) real() bool { return s.apiKey != "" }

func isSet(value string) bool { return value != "" && value != "0" && value != "false" }

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
