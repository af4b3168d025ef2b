// Command demo shows the operator at work, on a Kubernetes control plane and a Reactor API that it starts for that: make demo.
//
// It ends with a table of what was seen. Each row is computed from a read of the Kubernetes API, or of the local Reactor API's
// ledger, after the step that it speaks of, so that the table can fail: make demo-broken runs the same without an operator.
//
// The environment can change what it does:
//
//	DEMO_ONCE=1       end after the table, with 0 only if every row of it is as expected
//	DEMO_BROKEN=1     do not start the operator, and end after the table
//	NODE_ASSETS       the programs of a node; without it, the steps that need pods are left out
//	REACTOR_API_KEY   exchange this key at the real API, and leave out what needs the local one
//	REACTOR_API_URL   where the real API is, if not at https://api.reactor.inc
//	NO_COLOR=1        no colours, also on a terminal
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/reactor-operator/reactor-operator/test/infra/node"
)

func main() {
	// SIGPIPE too: who pipes this into head wants it to end and to clean up.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	os.Exit(run(ctx, settingsFrom(os.Getenv, os.Stdout), os.Stdout))
}

// run plays the steps, shows the table, leaves everything running until the context ends, and cleans up.
func run(ctx context.Context, s settings, out io.Writer) int {
	d := &demo{settings: s, started: time.Now(), say: newPrinter(out, s.colour)}
	d.stage = &stage{settings: s, say: d.say}
	err := d.play(ctx)
	interrupted := ctx.Err() != nil
	if len(d.rows) > 0 && !interrupted {
		d.showTable()
	}
	if err != nil && !interrupted {
		d.say.blank()
		d.say.bad("the demo could not go on: %v", err)
	}
	if !interrupted && (err != nil || !allSeen(d.rows)) {
		d.stage.showOperatorLog()
	}
	if err == nil && !interrupted && !s.once {
		d.leaveRunning(ctx)
	}
	if interrupted {
		d.say.blank()
		d.say.text("Interrupted.")
		err = context.Cause(ctx)
	}
	if cleaning := d.stage.strike(); cleaning != nil {
		d.say.bad("cleaning up: %v", cleaning)
		err = errors.Join(err, cleaning)
	}
	return exitCode(d.rows, err)
}

// demo is one performance.
type demo struct {
	settings settings
	started  time.Time
	say      *printer
	stage    *stage
	rows     []row

	missed bool                           // the last wait was in vain
	keys   struct{ first, second string } // fingerprints
}

// play goes through the steps. An error ends it: something that the other steps stand on could not be had. What the operator
// does not do is no error but a row.
func (d *demo) play(ctx context.Context) error {
	d.introduce()
	number := 0
	for _, step := range steps {
		if step.local && d.settings.real() || step.pods && !d.settings.pods() {
			continue
		}
		number++
		d.say.heading(fmt.Sprintf("%d  %s", number, step.title))
		if err := step.play(d, ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

func (d *demo) introduce() {
	d.say.title("Reactor Operator: what it does, shown on this machine")
	switch {
	case d.settings.broken:
		d.say.text("DEMO_BROKEN is set: the operator is not started, and the table at the end has to tell so.")
	case d.settings.real():
		d.say.text("REACTOR_API_KEY is set: tokens come from %s. They are short, and no session is started.", d.settings.apiURL)
	default:
		d.say.text("It uses nothing outside this machine, and leaves nothing behind. What stands after a $ is run, and what stands after a → " +
			"is asked of the local Reactor API: type the like in another terminal meanwhile.")
	}
}

// showTable shows what was seen, and what was left out.
func (d *demo) showTable() {
	d.say.heading("What was seen")
	d.say.table(d.rows)
	seen := 0
	for _, r := range d.rows {
		if r.ok {
			seen++
		}
	}
	d.say.blank()
	summary := fmt.Sprintf("%d of %d seen, in %s.", seen, len(d.rows), seconds(time.Since(d.started)))
	if seen == len(d.rows) {
		d.say.good("%s", summary)
	} else {
		d.say.bad("%s", summary)
	}
	switch {
	case d.settings.real():
		d.say.text("Left out, since it needs the local Reactor API: what each step cost; %s.", titles(func(s step) bool { return s.local }))
	case !d.settings.pods():
		d.say.text("Left out, since it needs pods: %s. %s.", titles(func(s step) bool { return s.pods }), whyNoPods())
	}
}

// titles are those of some steps.
func titles(of func(step) bool) string {
	var some []string
	for _, step := range steps {
		if of(step) {
			some = append(some, strconv.Quote(step.title))
		}
	}
	return strings.Join(some, "; ")
}

// whyNoPods says why there is no node, though somebody may want one.
func whyNoPods() string {
	if reason := node.Supported(); reason != "" {
		return reason
	}
	return "NODE_ASSETS is not set to the folder that make node-binaries prints"
}

// leaveRunning shows what can be tried, until the user has seen enough.
func (d *demo) leaveRunning(ctx context.Context) {
	d.say.heading("All of it runs on until Ctrl-C")
	d.say.text("In another terminal, in this folder:")
	d.stage.showExports()
	d.say.blank()
	d.say.text("Things to try:")
	d.say.suggestions(d.stage.suggestions())
	d.stage.rest(ctx)
}
