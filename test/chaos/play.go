package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// settleTimeout is how long the operator may take until all is well again after a fault.
const settleTimeout = 5 * time.Minute

// row is what a round did.
type row struct {
	number int
	what   string
	lasted window        // from the first fault to the end of the quiet
	hit    window        // from the first fault until the cause of the last was gone
	again  time.Duration // from then until every token was Ready and none was due
	reads  lookResult
	notes  []string // what shows that the fault was there
	stuck  string   // what was not well again after settleTimeout
	pulse  pulse    // of Kubernetes, in the quiet
}

// pulse says how soon Kubernetes takes a write when nothing is wrong. It tells a slow operator from a machine that is too busy.
type pulse struct {
	writes  int
	slowest time.Duration
}

// tooSlow is a pulse with which leases get lost by themselves: their requests are given up after five seconds, and there are two in a row.
const tooSlow = 2 * time.Second

func (p *pulse) add(other pulse) {
	p.writes += other.writes
	p.slowest = max(p.slowest, other.slowest)
}

// play has things go wrong, and waits until all is well again.
func (w *world) play(ctx context.Context, number int, r round) (row, error) {
	w.say("round %d: %s", number, r)
	before := w.recorder.take()
	result := row{number: number, what: r.String(), lasted: window{from: time.Now()}}
	var all sync.WaitGroup
	errs, notes := make([]error, len(r.faults)), make([]string, len(r.faults))
	for i, f := range r.faults {
		all.Go(func() {
			if errs[i] = stage.Pause(ctx, f.after); errs[i] == nil {
				notes[i], errs[i] = w.inflict(ctx, f)
			}
		})
	}
	all.Wait()
	result.hit = window{result.lasted.from, time.Now()}
	result.notes = notes
	if err := errors.Join(errs...); err != nil {
		return result, err
	}
	var err error
	if result.again, err = w.awaitRecovery(ctx); err != nil {
		result.stuck = err.Error()
		w.say("   NOT WELL AGAIN: %s", result.stuck)
	} else {
		w.say("   all tokens are Ready %.1f s after the fault", result.again.Seconds())
	}
	if result.pulse, err = w.beQuiet(ctx, r.quiet); err != nil {
		return result, err
	}
	result.lasted.to = time.Now()
	result.reads = w.recorder.take().since(before)
	if result.reads.bad() > 0 {
		w.say("   BAD READS: %+v", result.reads)
	}
	return result, w.healthy(ctx)
}

// beQuiet lets some time pass, and takes the pulse of Kubernetes meanwhile.
func (w *world) beQuiet(ctx context.Context, lasts time.Duration) (pulse, error) {
	taken := pulse{}
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		began := time.Now()
		if err := w.tryWrite(ctx); err != nil && ctx.Err() == nil {
			w.say("   a write in the quiet failed: %v", err)
		}
		taken.add(pulse{1, time.Since(began)})
		if err := stage.Pause(ctx, 500*time.Millisecond); err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// healthy tells of what has died that nobody has killed.
func (w *world) healthy(ctx context.Context) error {
	if err := w.emulator.Failure(); err != nil {
		return err
	}
	if w.node != nil {
		return w.node.Healthy(ctx)
	}
	return w.plane.Healthy(ctx)
}

// awaitRecovery waits until no reader's Secret should have been renewed by now, and every ReactorToken says that it is Ready.
func (w *world) awaitRecovery(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	behind, count := 0, 0
	reserve := w.settings.lifetime/3 - rounding
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, settleTimeout, true, func(context.Context) (bool, error) {
		behind, count = w.recorder.behind(reserve)
		return behind == 0 && count == w.settings.tokens, nil
	})
	if err != nil {
		return time.Since(began), fmt.Errorf("%d of %d tokens are not renewed after %s: %w", behind, count, settleTimeout, err)
	}
	unready := 0
	err = wait.PollUntilContextTimeout(ctx, time.Second, settleTimeout, true, func(ctx context.Context) (bool, error) {
		var err error
		unready, err = w.unready(ctx)
		return err == nil && unready == 0, nil
	})
	if err != nil {
		return time.Since(began), fmt.Errorf("%d tokens are not Ready: %w", unready, err)
	}
	return time.Since(began), nil
}

func (w *world) unready(ctx context.Context) (int, error) {
	tokens := v1alpha1.ReactorTokenList{}
	if err := w.kube.List(ctx, &tokens, client.InNamespace(namespace)); err != nil {
		return 0, err
	}
	count := 0
	for i := range tokens.Items {
		token := &tokens.Items[i]
		if strings.HasPrefix(token.Name, tokenPrefix) && !meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady) {
			count++
		}
	}
	return count, nil
}

// findings are what is judged at the end.
type findings struct {
	mints    mintTally
	sessions sessionTally
	total    lookResult
	spells   []spell
	ledger   ledger
	written  map[string]string // see judgeMints
	why      circumstances
	ended    map[string]int // operators, by how
	leaks    []string       // logs of the operator that hold a credential
	left     int            // ReactorSessions that do not go
}

// finish ends the sessions, and judges.
func (w *world) finish(ctx context.Context) (findings, error) {
	left, err := w.fleet.end(ctx)
	if err != nil {
		return findings{}, err
	}
	read, err := w.reactor.ledger(ctx)
	if err != nil {
		return findings{}, err
	}
	written, over, died, spells := w.recorder.noted()
	why := w.circumstances.with(w.crew.crashed(), died)
	leaks, err := w.leaks()
	if err != nil {
		return findings{}, err
	}
	return findings{
		mints: judgeMints(read.Calls, written, read.used(), why), sessions: judgeSessions(read, over, why),
		total: w.recorder.take(), spells: spells, ledger: read, written: written, why: why, ended: w.crew.ends(), leaks: leaks, left: left,
	}, w.reactor.keepLedger(ctx, filepath.Join(w.plane.Dir, "ledger.json"))
}

// leaks names the logs of operators in which a key or a token stands.
func (w *world) leaks() ([]string, error) {
	logs, err := filepath.Glob(filepath.Join(w.plane.Dir, "operator-*.log"))
	var found []string
	for _, log := range logs {
		content, err := os.ReadFile(log)
		if err != nil {
			return nil, err
		}
		if text := string(content); strings.Contains(text, "rk_chaos") || strings.Contains(text, "eyJ") {
			found = append(found, filepath.Base(log))
		}
	}
	return found, err
}
