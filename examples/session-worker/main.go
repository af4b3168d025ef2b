// Command session-worker does what the program of a ReactorSession does, and nothing else: it starts a Reactor session, tells its id in
// the termination message, keeps the session until it is told to stop or its time is over, and ends it.
//
// It reads REACTOR_MODEL, REACTOR_API_URL (unless --api is set), and either REACTOR_JWT_FILE or REACTOR_API_KEY, as the operator sets them. Flags make it fail
// in the ways that docs/reactorsession.md tells apart.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// signalError is why a context is over that a signal has ended.
type signalError syscall.Signal

func (s signalError) Error() string { return syscall.Signal(s).String() + " signal received" }

// interrupted is the exit code after a signal, as a shell tells it: the work is not done.
func interrupted(why error) int {
	if by, ok := errors.AsType[signalError](why); ok {
		return 128 + int(by)
	}
	return 128 + int(syscall.SIGTERM)
}

// startTimeout is how long Reactor may take to start the session.
const startTimeout = 5 * time.Second

// endTimeout is how long the end of the session may take; keep the pod's grace period longer.
const endTimeout = 20 * time.Second

// settings are what the flags say.
type settings struct {
	api     string
	hold    time.Duration
	poll    time.Duration
	exit    int
	fail    string
	abandon bool
	deaf    bool
	oom     bool
	fill    string
	signal  string
	message string
}

func main() {
	var s settings
	flag.StringVar(&s.api, "api", "", "call Reactor at this URL; default: REACTOR_API_URL")
	flag.DurationVar(&s.hold, "hold", time.Hour, "hold the session for so long, and then exit 0")
	flag.DurationVar(&s.poll, "poll", 5*time.Second, "look at the session, and at the file of the token, so often")
	flag.IntVar(&s.exit, "exit", 0, "exit with this code instead of 0")
	flag.StringVar(&s.fail, "fail", "", "start no session: tell this error code, such as RATE_LIMITED, and exit 1")
	flag.BoolVar(&s.abandon, "abandon", false, "leave the session open")
	flag.BoolVar(&s.deaf, "deaf", false, "do not react to signals")
	flag.BoolVar(&s.oom, "oom", false, "once the session runs, take memory until it is killed for that")
	flag.StringVar(&s.fill, "fill", "", "once the session runs, write into this folder until the pod is evicted for that")
	flag.StringVar(&s.signal, "signal", "", "send this signal, INT or TERM, to process 1 and end: for a preStop hook, since the image has no shell")
	flag.StringVar(&s.message, "message", "/dev/termination-log", "the file of the termination message")
	flag.Parse()
	if s.signal != "" {
		if err := send(s.signal, 1); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code, err := run(untilSignalled(), s)
	if err != nil {
		slog.Error("the session has failed", "error", err)
	}
	os.Exit(code)
}

// untilSignalled returns a context that ends with the first SIGINT or SIGTERM, which is its cause.
func untilSignalled() context.Context {
	ctx, stop := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		if by, ok := (<-signals).(syscall.Signal); ok {
			stop(signalError(by))
		}
	}()
	return ctx
}

// send sends a signal by its name.
func send(name string, pid int) error {
	number, known := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM}[name]
	if !known {
		return fmt.Errorf("-signal %s: write INT or TERM", name)
	}
	return syscall.Kill(pid, number)
}

// run holds one session, and returns the exit code.
func run(ctx context.Context, s settings) (code int, err error) {
	w := worker{api: strings.TrimRight(cmp.Or(s.api, os.Getenv("REACTOR_API_URL")), "/"), tokenFile: os.Getenv("REACTOR_JWT_FILE"), message: s.message}
	if s.fail != "" {
		return 1, w.report("error", reportedError{Code: s.fail})
	}
	if err := w.authorize(ctx); err != nil {
		return 1, errors.Join(err, w.report("error", reportOf(err)))
	}
	// A signal does not cut this call off: the session might have started, and nobody would know its id.
	starting, started := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	id, err := w.start(starting, os.Getenv("REACTOR_MODEL"))
	started()
	if err != nil {
		return 1, errors.Join(err, w.report("error", reportOf(err)))
	}
	if err := w.report("sessionId", id); err != nil {
		return 1, err
	}
	slog.Info("the session runs", "session", id)
	switch {
	case s.oom:
		takeMemory()
	case s.fill != "":
		err = takeDisk(s.fill)
	}
	if err != nil {
		slog.Warn("no more can be written", "error", err)
	}
	code, err = w.hold(ctx, s, id)
	if s.abandon {
		return code, err
	}
	// ctx is over when a signal came. What ends the session must not be.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if ended := w.end(ending, id); ended != nil {
		return code, errors.Join(err, ended)
	}
	slog.Info("the session has ended", "session", id)
	return code, err
}

// hold keeps the session until its time is over, the program is asked to stop, or Reactor has ended it. It returns the exit code.
func (w *worker) hold(ctx context.Context, s settings, id string) (code int, err error) {
	stopped := ctx.Done()
	if s.deaf {
		stopped = nil
	}
	over, look := time.NewTimer(s.hold), time.NewTicker(s.poll)
	defer over.Stop()
	defer look.Stop()
	for {
		select {
		case <-stopped:
			slog.Info("asked to stop", "why", context.Cause(ctx))
			return interrupted(context.Cause(ctx)), nil
		case <-over.C:
			return s.exit, nil
		case <-look.C:
			w.readToken()
			if err := w.keepAlive(ctx, id); err != nil {
				return 1, err
			}
		}
	}
}
