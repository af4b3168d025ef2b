package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// settings are what the flags say.
type settings struct {
	n              int
	only           []string
	rounds         int           // how often operator and floor take turns
	sizes          []int         // of the part growth
	sessions       int           // of the part sessions
	cycles         int           // of the part steady
	promptCycles   int           // of it, with prompt delivery
	lifetime       time.Duration // of tokens in the part steady
	granted        time.Duration // the longest that the emulator grants there
	pods           int           // that get tokens promptly
	rest           time.Duration // before memory is read
	secrets        int           // of others, 1 MB each
	latencyTime    time.Duration // for each block of the part latency
	mintRates      []int         // of the part rotation, a second
	operatorFlags  []string      // more flags of each operator, and so of each floor
	results, docs  string
	profile        string
	render         bool
	profileSeconds int
}

// enough are what a run must have to fill the table in docs/performance.md.
const (
	enoughTokens       = 10_000
	enoughSessions     = 5_000
	enoughCycles       = 10
	enoughPods         = 1_000
	enoughPromptCycles = 2
	enoughSecrets      = 300
	enoughMintQPS      = 200
	enoughRounds       = 2 // of operator and floor in turns, where a run is short enough for that
	enoughRest         = 2 * time.Minute
	enoughLatency      = time.Minute
	steadyLifetime     = 6 * time.Minute
)

func parse(args []string) (settings, error) {
	s := settings{}
	flags := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	flags.IntVar(&s.n, "n", enoughTokens, "how many ReactorTokens there are")
	flags.StringSliceVar(&s.only, "only", defaultParts(), "which `parts` to measure: "+strings.Join(partNames(), ", "))
	flags.IntVar(&s.rounds, "rounds", enoughRounds, "how often operator and floor are measured, in turns")
	flags.IntSliceVar(&s.sizes, "sizes", []int{1000, 10_000, 50_000}, "the numbers of ReactorTokens of the part growth")
	flags.IntVar(&s.sessions, "sessions", enoughSessions, "how many ReactorSessions the part sessions runs")
	flags.IntVar(&s.cycles, "cycles", enoughCycles, "for how many renewals of each token the part steady waits")
	flags.IntVar(&s.promptCycles, "prompt-cycles", enoughPromptCycles, "for how many more it measures with prompt delivery")
	flags.DurationVar(&s.lifetime, "lifetime", steadyLifetime, "how long tokens live in the part steady")
	flags.DurationVar(&s.granted, "granted", 0, "the longest life that the emulator grants in the part steady; 0: what is asked for")
	flags.IntVar(&s.pods, "pods", enoughPods, "how many pods get their tokens promptly in the part steady")
	flags.DurationVar(&s.rest, "rest", enoughRest, "how long nothing happens before memory is read")
	flags.IntVar(&s.secrets, "secrets", enoughSecrets, "how many Secrets of others, of 1 MB each, the part memory has")
	flags.DurationVar(&s.latencyTime, "latency-time", enoughLatency, "how long each block of the part latency takes")
	flags.IntSliceVar(&s.mintRates, "mint-qps", []int{enoughMintQPS, enoughMintQPS / 5}, "the rates of the part rotation")
	flags.StringArrayVar(&s.operatorFlags, "operator-flag", nil, "one more `flag` of each operator, such as --concurrency=16; its floor obeys it too")
	flags.StringVar(&s.results, "out", "docs/performance", "the `folder` of the results; a run that is too small writes to bin/bench")
	flags.StringVar(&s.docs, "docs", "docs/performance.md", "the `file` whose table shows the results")
	flags.StringVar(&s.profile, "profile", "", "a `folder` for profiles and metrics of the operators")
	flags.IntVar(&s.profileSeconds, "profile-seconds", 20, "how long a CPU profile is taken")
	flags.BoolVar(&s.render, "render", false, "only write the table and the plot from the results that are there")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	return s, s.check()
}

func (s *settings) check() error {
	for _, name := range s.only {
		if !slices.Contains(partNames(), name) {
			return fmt.Errorf("--only=%s: write some of %s", name, strings.Join(partNames(), ", "))
		}
	}
	if len(s.mintRates) == 0 {
		return errors.New("--mint-qps: write a rate")
	}
	for name, value := range map[string]int{
		"n": s.n, "rounds": s.rounds, "sessions": s.sessions, "cycles": s.cycles, "prompt-cycles": s.promptCycles, "pods": s.pods,
		"mint-qps": slices.Min(s.mintRates), "secrets": s.secrets,
	} {
		if value < 1 {
			return fmt.Errorf("--%s=%d: write a number of at least 1", name, value)
		}
	}
	if s.granted == 0 {
		s.granted = s.lifetime
	}
	return nil
}

// tooSmall says why a run of this part may not fill the table; empty when it may.
func (s *settings) tooSmall(part string) string {
	var lacks []string
	lack := func(name string, has, wants int) {
		if has < wants {
			lacks = append(lacks, fmt.Sprintf("%s is %d and must be at least %d", name, has, wants))
		}
	}
	lackTime := func(name string, has, wants time.Duration) {
		if has < wants {
			lacks = append(lacks, fmt.Sprintf("%s is %s and must be at least %s", name, has, wants))
		}
	}
	switch part {
	case partSessions:
		lack("--sessions", s.sessions, enoughSessions)
	case partGrowth:
		for _, size := range []int{1000, 10_000, 50_000} {
			if !slices.Contains(s.sizes, size) {
				lacks = append(lacks, fmt.Sprintf("--sizes lacks %d", size))
			}
		}
	default:
		lack("--n", s.n, enoughTokens)
	}
	switch part {
	case partSteady:
		lack("--cycles", s.cycles, enoughCycles)
		lack("--prompt-cycles", s.promptCycles, enoughPromptCycles)
		lack("--pods", s.pods, enoughPods)
		if s.lifetime != steadyLifetime || s.granted != s.lifetime {
			lacks = append(lacks, fmt.Sprintf("tokens do not live for %s", steadyLifetime))
		}
	case partMemory:
		lack("--secrets", s.secrets, enoughSecrets)
		lackTime("--rest", s.rest, enoughRest)
	case partFresh:
		lack("--rounds", s.rounds, enoughRounds)
	case partLatency:
		lack("--rounds", s.rounds, enoughRounds)
		lackTime("--latency-time", s.latencyTime, enoughLatency)
	case partRotation:
		lack("--mint-qps", slices.Max(s.mintRates), enoughMintQPS)
	}
	return strings.Join(lacks, ", ")
}
