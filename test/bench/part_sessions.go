package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// withoutCapacity takes off the limits of sessions, which are Reactor's and would decide the result.
var withoutCapacity = []string{"--sessions-per-key=0", "--session-starts-per-minute=0"}

// sessionRun is how all sessions of a system started and completed.
type sessionRun struct {
	took     float64   // seconds from the first creation to the last completion
	pods     []float64 // milliseconds from the creation of a session to that of its pod
	requests requestCounts
	seen     ledger
}

// sessionsPart runs sessions on simulated nodes: all are created as fast as the benchmark can, and complete. The floor makes the same
// writes. Both are counted in the API server's audit log.
func (b *bench) sessionsPart(ctx context.Context) error {
	var operators, floors []sessionRun
	var like *sessionExample
	for round := range b.rounds {
		order := []bool{true, false}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, isOperator := range order {
			run, found, err := b.runSessions(ctx, isOperator, like)
			if err != nil {
				return err
			}
			if isOperator {
				operators, like = append(operators, run), found
			} else {
				floors = append(floors, run)
			}
		}
	}
	b.rowsOfSessions(operators, floors)
	return nil
}

// sessionWorker is who runs the sessions: an operator or a floor.
type sessionWorker struct {
	failure func() error
	idle    func() error // waits until nothing more is to be done
	stop    func()
}

// runSessions has an operator, or a floor that writes what an operator wrote, run all sessions of a fresh system.
func (b *bench) runSessions(ctx context.Context, isOperator bool, like *sessionExample) (run sessionRun, found *sessionExample, err error) {
	s := &system{names: named("session", b.sessions)}
	if s.Stage, err = b.stage(ctx, stage.Options{Audit: true}); err != nil {
		return run, nil, err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	ctx, cancel := bounded(ctx, 5*b.sessions)
	defer cancel()
	see, err := observe(ctx, s.Stage, podThere, sessionCompleted)
	if err != nil {
		return run, nil, err
	}
	nodes, err := startKubelet(ctx, s.Stage)
	if err != nil {
		return run, nil, err
	}
	begin, who := b.operatorOfSessions, byOperator
	if !isOperator {
		begin, who = func(ctx context.Context, s *system) (*sessionWorker, error) { return b.floorOfSessions(ctx, s, like) }, byFloor
	}
	worker, err := begin(ctx, s)
	if err != nil {
		return run, nil, err
	}
	defer worker.stop()
	failure := worker.failure
	worker.failure = func() error { return errors.Join(nodes.failure(), failure()) }
	if run, err = b.timeSessions(ctx, s, see, worker); err != nil {
		return run, nil, err
	}
	b.say("%s: %d sessions in %.1f s", who, b.sessions, run.took)
	if isOperator {
		found, err = sessionExampleOf(ctx, s.Stage, s.names[0])
	}
	return run, found, err
}

// sessionFlags are those of whoever runs the sessions.
func (b *bench) sessionFlags() []string {
	return slices.Concat(withoutMintRate, withoutCapacity, b.operatorFlags)
}

func (b *bench) operatorOfSessions(ctx context.Context, s *system) (_ *sessionWorker, err error) {
	if s.operator, err = s.StartOperator(b.sessionFlags()...); err != nil {
		return nil, err
	}
	if err := errors.Join(s.operator.AwaitReady(ctx), s.operator.AllSeen(ctx, 0, time.Minute)); err != nil {
		return nil, err
	}
	if b.writes == nil {
		if b.writes, err = learn(ctx, s.Stage); err != nil {
			return nil, err
		}
	}
	profiled := b.profiles(ctx, s.operator, "sessions")
	return &sessionWorker{
		failure: s.operator.Failure,
		idle: func() error {
			return errors.Join(profiled(), s.operator.AllSeen(ctx, 0, forever), stage.Pause(ctx, eventsUnderWay))
		},
		stop: s.stopOperator,
	}, nil
}

// eventsUnderWay is how long events may take that are told beside the work.
const eventsUnderWay = 2 * time.Second

func (b *bench) floorOfSessions(ctx context.Context, s *system, like *sessionExample) (*sessionWorker, error) {
	f, err := newSessionFloor(ctx, s.Stage, b.writes, like, b.sessionFlags()...)
	if err != nil {
		return nil, err
	}
	return &sessionWorker{failure: f.failure, idle: func() error { return f.idle(ctx) }, stop: f.stop}, nil
}

// timeSessions creates all sessions, and waits until they are complete and nothing more is written for them.
func (b *bench) timeSessions(ctx context.Context, s *system, see *observer, worker *sessionWorker) (run sessionRun, err error) {
	mark, err := markAudit(s.Plane.AuditLogPath())
	if err != nil {
		return run, err
	}
	var mu sync.Mutex
	created := map[string]time.Time{}
	b.say("create %d ReactorSessions", b.sessions)
	begin := time.Now()
	err = forEach(ctx, creators, s.names, func(ctx context.Context, name string) error {
		mu.Lock()
		created[name] = time.Now()
		mu.Unlock()
		return s.Kube.Create(ctx, newSession(name))
	})
	if err != nil {
		return run, err
	}
	completed, err := see.await(ctx, sessionCompleted, s.names, worker.failure)
	if err != nil {
		return run, errors.Join(err, worker.failure())
	}
	run.took = last(completed).Sub(begin).Seconds()
	for name, at := range see.instants(podThere, s.names) {
		run.pods = append(run.pods, float64(at.Sub(created[name]))/float64(time.Millisecond))
	}
	if err := worker.idle(); err != nil {
		return run, err
	}
	if run.requests, err = countSince(s.Plane.AuditLogPath(), mark); err != nil {
		return run, err
	}
	run.seen, err = readLedger(ctx, s.Stage)
	return run, err
}

// twice counts the Reactor sessions beyond the first of each token: a token is of one attempt, and each session needs one here.
func (l *ledger) twice() int {
	of := map[string]int{}
	for _, session := range l.Sessions {
		of[session.JTI]++
	}
	return len(l.Sessions) - len(of)
}

// tooManyWrites for a session would be a fault of ours, whatever the machine: it takes 11 or 12, and some are tried again after a conflict. The
// twelfth is the start of a pod that was created in an earlier reconcile.
const tooManyWrites = 13

// podsOf is how long each session of some runs waited for its pod, in milliseconds.
func podsOf(runs []sessionRun) []float64 {
	var waited []float64
	for _, run := range runs {
		waited = append(waited, run.pods...)
	}
	slices.Sort(waited)
	return waited
}

func (b *bench) rowsOfSessions(operators, floors []sessionRun) {
	took := func(runs []sessionRun) (values []float64) {
		for _, run := range runs {
			values = append(values, run.took)
		}
		return values
	}
	operator, floor := mean(took(operators)), mean(took(floors))
	first, least := operators[0], floors[0]
	n := float64(b.sessions)
	b.row(Row{
		Figure:   fmt.Sprintf("%d sessions started and completed on simulated nodes", b.sessions),
		Operator: fmt.Sprintf("%.1f s (%.1f a second)", operator, n/operator), Floor: fmt.Sprintf("%.1f s (%.1f a second)", floor, n/floor),
		Ratio: fmt.Sprintf("%.2f", ratio(operator, floor)), Goal: "≤ 1.5", Verdict: goal(ratio(operator, floor) <= 1.5),
	})
	late, leastLate := podsOf(operators), podsOf(floors)
	p99, leastP99 := quantile(late, 0.99), quantile(leastLate, 0.99)
	b.row(Row{
		Figure:   "from created to pod created, p99, all of them created at the same time",
		Operator: fmt.Sprintf("%.1f s", p99/1000), Floor: fmt.Sprintf("%.1f s", leastP99/1000), Ratio: fmt.Sprintf("%.2f", ratio(p99, leastP99)),
		Goal: "≤ 1.5", Verdict: goal(ratio(p99, leastP99) <= 1.5),
	})
	writes := float64(first.requests.sum(writesWithoutEvents)) / n
	ofToken := float64(first.requests.sum(func(name string) bool { return name == "create secrets" || name == "update reactortokens/status" })) / n
	b.row(Row{
		Figure:   "writes for a session, those of its token among them; events apart",
		Operator: fmt.Sprintf("%.2f, %.2f of them for the token's Secret and status", writes, ofToken),
		Floor:    fmt.Sprintf("%.2f", float64(least.requests.sum(writesWithoutEvents))/n), Goal: "≤ 8", Verdict: goal(writes <= 8),
	})
	b.row(Row{Figure: "these requests, by verb and kind", Operator: first.requests.per(b.sessions), Floor: least.requests.per(b.sessions),
		Goal: fmt.Sprintf("fewer than %d writes in any run", tooManyWrites), Verdict: count(writes < tooManyWrites)})
	twice, open := 0, 0
	for _, run := range operators {
		twice, open = twice+run.seen.twice()+len(run.seen.Sessions)-b.sessions, open+run.seen.OpenSessions
	}
	b.row(Row{Figure: "Reactor sessions beyond one for each, and left open", Operator: fmt.Sprintf("%d, %d", twice, open), Goal: "0, 0", Verdict: count(twice == 0 && open == 0)})
	b.samples("operator, each run", "s", took(operators))
	b.samples("floor, each run", "s", took(floors))
	b.samples("operator, created to pod created", "ms", late)
	b.samples("floor, created to pod created", "ms", leastLate)
}
