package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/test/sim/apimodel"
)

const namespace = "studio"

// world is a cluster with the operator and a node in it, and Reactor beside it, inside a synctest bubble.
type world struct {
	plan      schedule
	clocks    clocks
	scheme    *runtime.Scheme
	api       *apimodel.Server
	people    client.WithWatch // the access of everybody but the operator
	reactor   *emulator.Emulator
	transport http.RoundTripper
	node      *node
	queue     *queue
	faults    *faults
	between   between
	judge     *judge
	told      told
	power     context.Context // ends with the world
	peace     atomic.Bool     // nobody fights any more
	wild      atomic.Bool     // an operator loops without an end
	wrote     atomic.Uint64   // whoever looks at everything every few seconds need not look again when nothing was written

	leader atomic.Pointer[run] // nil: no operator runs
	down   bool                // nobody starts the operator when it has ended

	mu     sync.Mutex
	runs   int
	host   *host // on which the next run of the operator starts; the leader's, while one runs
	byUser map[string]*run
	skew   time.Duration            // of Reactor's clock
	lags   map[string]time.Duration // of the caches, by kind, beyond the usual
	edits  int                      // makes values that never were
	wrong  []wrongAnswers           // of Reactor
}

// newUIDs makes UIDs that a seed decides.
func newUIDs(seed uint64) func() types.UID {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	source := rand.NewChaCha8(key)
	var mu sync.Mutex
	return func() types.UID {
		mu.Lock()
		defer mu.Unlock()
		made, err := uuid.NewRandomFromReader(source)
		if err != nil {
			panic(err)
		}
		return types.UID(made.String())
	}
}

// newWorld makes a world with API keys, a node and no operator. It works until ctx ends.
func newWorld(ctx context.Context, plan schedule) *world {
	w := &world{plan: plan, power: ctx, host: &host{}, lags: map[string]time.Duration{}, byUser: map[string]*run{}}
	w.api = apimodel.New(apimodel.Options{UID: newUIDs(plan.Seed), Clock: worldClock{&w.clocks}})
	w.people = w.api.Client("people")
	w.scheme = w.people.Scheme()
	w.reactor = emulator.New(emulator.Options{Keys: goodKeys, Clock: worldClock{&w.clocks}, Quotas: &emulator.Quotas{}})
	w.transport = w.reactor.Transport()
	w.judge = newJudge(w)
	w.faults = &faults{world: w}
	w.api.SetHook(w.faults.meet)
	w.node, w.queue = newNode(w), newQueue(w)
	for _, name := range keySecrets {
		w.create(keySecretWith(name, goodKeys[0]))
	}
	w.create(newWorkload())
	go w.node.work(ctx)
	go w.queue.work(ctx)
	go w.collect(ctx)
	return w
}

// collect is the garbage collector.
func (w *world) collect(ctx context.Context) {
	for seen := uint64(0); ctx.Err() == nil; {
		if now := w.wrote.Load(); now != seen {
			seen = now
			w.api.CollectGarbage()
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
}

// restartAfter is how long a crashed operator is away at the least.
const restartAfter = 10 * time.Second

// pass lets time pass, has the judge look every now and then, and starts an operator that has crashed.
func (w *world) pass(d time.Duration) {
	const most = 20 * time.Second
	for d > 0 {
		part := min(d, most)
		time.Sleep(part)
		synctest.Wait()
		w.reap()
		if w.leader.Load() == nil && !w.down {
			time.Sleep(restartAfter)
			w.start()
		}
		w.judge.look()
		d -= part
	}
}

// start starts the operator, if none runs. One that has gone wild would do so again, and no time would pass.
func (w *world) start() {
	w.reap()
	if w.leader.Load() == nil && !w.wild.Load() {
		w.leader.Store(w.startRun())
		w.judge.calm(everything, noOperator, operatorStarts)
	}
}

const noOperator = "no operator"

// stop stops the operator the way a signal does.
func (w *world) stop() {
	w.reap()
	if leader := w.leader.Load(); leader != nil {
		leader.stop()
		w.leader.Store(nil)
		if w.faults.holdTokens() { // they go with the process
			w.judge.causeForAll("a stop while tokens wait to be written")
		}
	}
	w.judge.hinder(everything, noOperator)
}

// reap takes note of an operator that has crashed. What it had minted and not written is lost with it.
func (w *world) reap() {
	if leader := w.leader.Load(); leader != nil && leader.crashed.Load() {
		w.leader.Store(nil)
		w.judge.causeForAll("a crash")
		w.judge.hinder(everything, noOperator)
		w.judge.count(func(c *counts) { c.Crashes++ })
	}
}

// crash ends the operator at once.
func (w *world) crash() {
	if leader := w.leader.Load(); leader != nil {
		leader.crash()
	}
	w.reap()
}

// crashAll ends whatever runs, when something in it has gone wild.
func (w *world) crashAll() {
	w.wild.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.byUser {
		r.crash()
	}
}

// lagOf is how late an event of a kind comes to the operator's caches.
func (w *world) lagOf(kind string) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.plan.Lag + w.lags[kind]
}

func (w *world) setLag(kind string, lag time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lags[kind] = lag
}

// hostNow is the host of the leader, or of the next one.
func (w *world) hostNow() *host {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.host
}

func (w *world) setHost(h *host) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.host = h
}

// skewNow is how far Reactor's clock is ahead of the true time.
func (w *world) skewNow() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.skew
}

func (w *world) setSkew(skew time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skew = skew
	w.reactor.SetDateSkew(skew)
}

// next is a number that was not there before.
func (w *world) next() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.edits++
	return w.edits
}

// later does something once some time has passed, unless the world ends before.
func (w *world) later(d time.Duration, do func()) {
	go func() {
		select {
		case <-w.power.Done():
		case <-time.After(d):
			do()
		}
	}()
}

// told is all that the operator tells: events and the log.
type told struct {
	mu     sync.Mutex
	events []string
	log    bytes.Buffer
	whole  bytes.Buffer // for a person, when asked for
}

// Eventf makes told a recorder of events.
func (o *told) Eventf(regarding, _ runtime.Object, _, reason, action, note string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, fmt.Sprintf("%s %s %s %s", regarding.(client.Object).GetName(), reason, action, fmt.Sprintf(note, args...)))
}

// Write makes told the log's end.
func (o *told) Write(line []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.log.Write(line)
}

func (o *told) logger() logr.Logger {
	return logr.FromSlogHandler(slog.NewJSONHandler(o, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// takeAll returns what was told since the last time.
func (o *told) takeAll() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := fmt.Sprint(o.events) + o.log.String()
	for _, event := range o.events {
		fmt.Fprintf(&o.whole, "%s event %s\n", time.Since(bubbleBegin), event)
	}
	o.whole.Write(o.log.Bytes())
	o.events = nil
	o.log.Reset()
	return text
}
