// Command chaos hits the operator, and all that it stands on, with real faults, and judges what came of it: make chaos.
//
// It starts a control plane, a node where the machine can run one, the emulator of Reactor, and two operators with their default
// settings; thousands of ReactorTokens of a short lifetime, and ReactorSessions whose pods come and go. Then it kills, freezes and fills
// up one thing after the other, as a schedule says that is drawn from a seed, and waits each time until all is well again.
//
// It ends with 0 only if every goal was met. What the goals are, and what is allowed, stands in docs/reliability.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// settings are what the flags say.
type settings struct {
	tokens, sessions, rounds int

	seed     uint64
	lifetime time.Duration
	logs     string // folder
	noNode   bool
}

func main() {
	s := settings{}
	pflag.IntVar(&s.tokens, "tokens", 2000, "how many ReactorTokens there are")
	pflag.IntVar(&s.sessions, "sessions", 50, "how many ReactorSessions are in flight")
	pflag.IntVar(&s.rounds, "rounds", 14, "how many times something goes wrong")
	pflag.Uint64Var(&s.seed, "seed", 0, "what the schedule and the sessions are drawn from; 0 draws one")
	pflag.DurationVar(&s.lifetime, "lifetime", 6*time.Minute, "how long tokens live; with less there is less time for faults")
	pflag.StringVar(&s.logs, "logs", "bin/chaos-logs", "folder where the logs and the ledger stay, in one of their own for each seed")
	pflag.BoolVar(&s.noNode, "no-node", false, "run the programs of sessions without a node, also where the machine could run one")
	pflag.Parse()
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard()) // client-go complains of each fault
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, s, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

var (
	// errMissed says that the report has a goal that was not met.
	errMissed = errors.New("a goal was missed")
	// errBusy says that nothing is proven, whether goals were met or not.
	errBusy = errors.New("the machine was too busy")
)

func (s *settings) complete() error {
	for s.seed == 0 {
		s.seed = rand.Uint64N(1_000_000) //nolint:gosec // a seed is no secret
	}
	if s.tokens < 1 || s.sessions < 0 || s.rounds < 1 {
		return errors.New("--tokens and --rounds must be at least 1, and --sessions not negative")
	}
	if s.lifetime < leastLifetime {
		return fmt.Errorf("--lifetime=%s leaves no time for faults: a third of it is the operator's to renew in; take %s or more", s.lifetime, leastLifetime)
	}
	return nil
}

// run plays one schedule and prints the report.
func run(ctx context.Context, s settings, out io.Writer) (err error) {
	if err := s.complete(); err != nil {
		return err
	}
	w := &world{settings: s, out: out, began: time.Now(), recorder: newRecorder()}
	defer func() { err = errors.Join(err, w.strike()) }()
	if err := w.build(ctx); err != nil {
		return fmt.Errorf("before anything went wrong: %w", err)
	}
	schedule := draw(s.seed, s.rounds, longestSpan(s.lifetime), w.node != nil)
	w.say("seed %d, %d rounds:", s.seed, len(schedule))
	for i, r := range schedule {
		w.say("  %2d  %s", i+1, r)
	}
	var rows []row
	for i, r := range schedule {
		row, err := w.play(ctx, i+1, r)
		if err != nil {
			return fmt.Errorf("round %d, %s: %w", i+1, r, err)
		}
		rows = append(rows, row)
		if row.stuck != "" {
			break // what comes next would say nothing
		}
	}
	found, err := w.finish(ctx)
	if err != nil {
		return err
	}
	return report(out, s, w.kubeletName(), rows, found)
}
