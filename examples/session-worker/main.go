// Command session-worker is a minimal program of a ReactorSession. It starts a Reactor session, reports its id in the termination message,
// keeps the session open until it gets a signal or its time is over, and ends it.
//
// It reads REACTOR_MODEL, REACTOR_API_URL (unless --api is set), and either REACTOR_JWT_FILE or REACTOR_API_KEY, as the operator sets them. Flags make it fail
// in the ways that docs/reactorsession.md distinguishes.
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

// signalError is the cause of a context that a signal canceled.
type signalError syscall.Signal

func (s signalError) Error() string { return syscall.Signal(s).String() + " signal received" }

// interrupted is the exit code after a signal, as shells report it. It means that the work is not complete.
func interrupted(why error) int {
	if by, ok := errors.AsType[signalError](why); ok {
		return 128 + int(by)
	}
	return 128 + int(syscall.SIGTERM)
}

// startTimeout is how long Reactor may take to start the session.
const startTimeout = 5 * time.Second

// endTimeout is how long the end of the session may take. The pod's grace period must be longer.
const endTimeout = 20 * time.Second

// settings are the values of the flags.
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
	flag.StringVar(&s.api, "api", "", "the URL of Reactor; defaults to REACTOR_API_URL")
	flag.DurationVar(&s.hold, "hold", time.Hour, "how long to keep the session open before exit code 0")
	flag.DurationVar(&s.poll, "poll", 5*time.Second, "how often to check the session and the file of the token")
	flag.IntVar(&s.exit, "exit", 0, "exit with this code instead of 0")
	flag.StringVar(&s.fail, "fail", "", "start no session, report this error code, such as RATE_LIMITED, and exit 1")
	flag.BoolVar(&s.abandon, "abandon", false, "leave the session open")
	flag.BoolVar(&s.deaf, "deaf", false, "do not react to signals")
	flag.BoolVar(&s.oom, "oom", false, "when the session runs, allocate memory until the kernel kills the program")
	flag.StringVar(&s.fill, "fill", "", "when the session runs, write into this folder until the kubelet evicts the pod")
	flag.StringVar(&s.signal, "signal", "", "send this signal, INT or TERM, to process 1 and exit; for a preStop hook, because the image has no shell")
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
		return fmt.Errorf("-signal %s is not valid. Write INT or TERM", name)
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
	// A signal does not cancel this call. Otherwise the session might start, and its id would be unknown.
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
		slog.Warn("the folder is full", "error", err)
	}
	code, err = w.hold(ctx, s, id)
	if s.abandon {
		return code, err
	}
	// A signal has canceled ctx. The call that ends the session needs its own context.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if ended := w.end(ending, id); ended != nil {
		return code, errors.Join(err, ended)
	}
	slog.Info("the session has ended", "session", id)
	return code, err
}

// hold keeps the session open until its time is over, the program gets a signal, or Reactor ends the session. It returns the exit code.
func (w *worker) hold(ctx context.Context, s settings, id string) (code int, err error) {
	stopped := ctx.Done()
	if s.deaf {
		stopped = nil
	}
	timer, ticker := time.NewTimer(s.hold), time.NewTicker(s.poll)
	defer timer.Stop()
	defer ticker.Stop()
	for {
		select {
		case <-stopped:
			slog.Info("stopping", "cause", context.Cause(ctx))
			return interrupted(context.Cause(ctx)), nil
		case <-timer.C:
			return s.exit, nil
		case <-ticker.C:
			w.readToken()
			if err := w.keepAlive(ctx, id); err != nil {
				return 1, err
			}
		}
	}
}
