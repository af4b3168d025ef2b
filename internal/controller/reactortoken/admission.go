package reactortoken

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// admission decides who may call Reactor, and when: one gate for each API key, and one token bucket for the installation,
// which is handed out in the order of urgency. Nothing here blocks a worker: who has to wait is told so, and is woken
// when its turn comes.
type admission struct {
	clock     clock.PassiveClock
	wake      func(priority int, objects ...types.NamespacedName)
	mostTurns int // at the same time; see turnsFor

	mu      sync.Mutex
	bucket  *rate.Limiter
	gates   map[string]*gate               // by key fingerprint, while an object uses the key, or Reactor limits it
	gateOf  map[types.NamespacedName]*gate // of the key with which an object asked last
	unused  map[string]*gate               // those that no object uses: Reactor limits their keys
	line    line
	turns   map[types.NamespacedName]turn
	arrived chan struct{} // an object joined the line
	ended   chan struct{} // a turn is over

	retries        line          // of the requests that Reactor refused, before they join the line
	retryBucket    *rate.Limiter // by which they do
	retriesArrived chan struct{}
}

// turn is what an object has from the moment that its turn has come until the end of the pass in which it takes it.
type turn struct {
	came  time.Time
	taken bool
}

// retryShare is the part of the rate that requests which Reactor refused may take: one in so many.
const retryShare = 10

// turnTimeout is how long a turn that came is kept for an object that does not take it, because it was deleted or no
// longer wants a token.
const turnTimeout = time.Minute

// Priorities of passes in the controller's queue. Whoever has a turn goes before the thousands that are about to be told that they have to
// wait, and who may be the most urgent of all goes before both.
const (
	priorityUrgent  = 200
	priorityTurn    = 100
	priorityRegular = 0
)

// turnsFor is how many turns there may be at the same time. More than there are workers would lie in the controller's queue, where nobody who
// joins the line meanwhile can overtake them; and a quarter of the workers is left to those who are not in the line yet.
func turnsFor(workers int) int { return max(1, workers-max(1, workers/4)) }

func newAdmission(qps float64, burst int, now clock.PassiveClock, wake func(int, ...types.NamespacedName)) *admission {
	return &admission{
		clock:     now,
		wake:      wake,
		mostTurns: 1,
		bucket:    rate.NewLimiter(rate.Limit(qps), burst),
		gates:     map[string]*gate{},
		gateOf:    map[types.NamespacedName]*gate{},
		unused:    map[string]*gate{},
		turns:     map[types.NamespacedName]turn{},
		arrived:   make(chan struct{}, 1),
		ended:     make(chan struct{}, 1),

		retryBucket:    rate.NewLimiter(rate.Limit(qps/retryShare), 1),
		retriesArrived: make(chan struct{}, 1),
	}
}

// verdict is the answer to who asks for admission.
type verdict int

const (
	admitted    verdict = iota
	waitForTurn         // the rate lets no more through just now
	waitForKey          // the gate of the key is closed, or another object is trying it
)

// admit asks for one call to Reactor. An object that is not admitted is reconciled again later, and then asks again; one that
// is admitted must report the outcome to answered.
func (a *admission) admit(t ticket, now time.Time) (verdict, gateView) {
	a.mu.Lock()
	g, next := a.use(t)
	said := a.admitLocked(g, t, now)
	view := g.view(t.object, now)
	a.mu.Unlock()
	a.wakeAll(next)
	return said, view
}

func (a *admission) admitLocked(g *gate, t ticket, now time.Time) verdict {
	if !g.allows(t.object, now) {
		a.leaveLine(t.object)
		g.wait(t, now)
		return waitForKey
	}
	delete(g.waiting, t.object)
	if !a.takeTurn(t, now) {
		return waitForTurn
	}
	g.recordCall(t.object, now)
	return admitted
}

// takeTurn takes a token from the bucket: the one that the line handed to the object, or a free one while nobody waits.
func (a *admission) takeTurn(t ticket, now time.Time) bool {
	if given, ok := a.turns[t.object]; ok && now.Sub(given.came) < turnTimeout {
		a.turns[t.object] = turn{given.came, true}
		return true
	}
	a.endTurn(t.object)
	// A renewal takes no turn of its own accord while the workers have enough: those behind it in the controller's queue may expire sooner, and
	// must get as far as the line. Everything else would have to tell of its wait in its status, which costs more than the order is worth.
	renewal := t.urgency == urgencyRenewal || t.urgency == urgencyExpiring || t.urgency == urgencyRefused
	if t.urgency != urgencyRefused {
		a.retries.leave(t.object) // its request, or its key, was corrected
	} else if !a.mayRetry(t, now) {
		return false
	}
	if a.line.empty() && (!renewal || len(a.turns) < a.mostTurns) && a.bucket.AllowN(now, 1) {
		if renewal {
			a.turns[t.object] = turn{now, true}
		}
		return true
	}
	a.join(t)
	return false
}

// mayRetry reports whether a request that Reactor refused may take a turn, or join the line for one. Such requests do so at a
// rate of their own: an account of which Reactor refuses 10,000 requests must not use up the rate of those that it grants.
func (a *admission) mayRetry(t ticket, now time.Time) bool {
	if a.line.has(t.object) || a.retries.empty() && a.retryBucket.AllowN(now, 1) {
		return true
	}
	t.expires = time.Time{} // in the order of arrival: the ones that expire first would come back first, each time, and leave no turn to others
	a.retries.join(t)
	signal(a.retriesArrived)
	return false
}

func (a *admission) join(t ticket) {
	a.line.join(t)
	signal(a.arrived)
}

func (a *admission) endTurn(object types.NamespacedName) {
	if _, ok := a.turns[object]; ok {
		delete(a.turns, object)
		signal(a.ended)
	}
}

// passed tells that the object's pass is over, and with it the turn that it took. One that came meanwhile stays.
func (a *admission) passed(object types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.turns[object].taken {
		a.endTurn(object)
	}
}

// signal tells who waits for it that there is something to see. One signal stands for many.
func signal(there chan<- struct{}) {
	select {
	case there <- struct{}{}:
	default:
	}
}

// answered reports what Reactor answered to an admitted object, and wakes those that waited for it. It returns the gate as it
// is now.
func (a *admission) answered(t ticket, what answer, retryAfter time.Duration, now time.Time) gateView {
	a.mu.Lock()
	g, next := a.use(t)
	next = append(next, g.recordAnswer(t, what, retryAfter, now)...)
	if g.closed(now) { // a call that is not allowed needs no place in the line
		next = append(next, a.line.leaveAll(t.fingerprint)...)
		next = append(next, a.retries.leaveAll(t.fingerprint)...)
	}
	view := g.view(t.object, now)
	a.mu.Unlock()
	a.wakeAll(next)
	return view
}

// wakeAll has objects reconciled, those whose tokens are about to expire before all others.
func (a *admission) wakeAll(objects []ticket) {
	for _, t := range objects {
		priority := priorityRegular
		if t.urgency == urgencyExpiring {
			priority = priorityUrgent
		}
		a.wake(priority, t.object)
	}
}

// leave notes that an object wants no token now.
func (a *admission) leave(object types.NamespacedName) {
	a.mu.Lock()
	next := a.leaveLocked(object)
	a.mu.Unlock()
	a.wakeAll(next)
}

// leaveLocked returns the object that has the duty to try the key now, if this one had it.
func (a *admission) leaveLocked(object types.NamespacedName) (next []ticket) {
	a.leaveLine(object)
	if g, ok := a.gateOf[object]; ok {
		next = g.abandon(object)
	}
	return next
}

func (a *admission) leaveLine(object types.NamespacedName) {
	a.line.leave(object)
	a.retries.leave(object)
	a.endTurn(object)
}

// forget drops all that is known of an object that was deleted, and the state of its key when no other object uses it.
func (a *admission) forget(object types.NamespacedName) {
	a.mu.Lock()
	next := a.leaveLocked(object)
	a.disuse(object)
	a.mu.Unlock()
	a.wakeAll(next)
}

// use returns the gate of the key that an object asks with. When it asked with another key before, it waits for that one no
// more; the object that has the duty to try that key now is returned, too.
func (a *admission) use(t ticket) (g *gate, next []ticket) {
	former, ok := a.gateOf[t.object]
	if ok && former.fingerprint == t.fingerprint {
		return former, nil
	}
	if ok {
		next = former.abandon(t.object)
		a.disuse(t.object)
	}
	g, ok = a.gates[t.fingerprint]
	if !ok {
		g = newGate(t.fingerprint)
		a.gates[t.fingerprint] = g
	}
	g.users++
	delete(a.unused, t.fingerprint)
	a.gateOf[t.object] = g
	return g, next
}

// disuse notes that an object does not use its key any more. A key that no object uses is forgotten when it may be tried again, and not before:
//
//  1. Reactor answers the only call with a key with 429 and a Retry-After of five minutes.
//  2. The object is deleted, or gets another key.
//  3. A minute later another object uses the first key. It must not call before the five minutes are over.
//
// A refused key may be tried again after minProbeWait at the latest, however long it has been refused: whoever deletes a ReactorToken and creates
// it again expects another try. Without any wait, a session whose tokens are refused and replaced tries its key once a second.
func (a *admission) disuse(object types.NamespacedName) {
	g, ok := a.gateOf[object]
	if !ok {
		return
	}
	delete(a.gateOf, object)
	now := a.clock.Now()
	if g.users--; g.users == 0 {
		a.unused[g.fingerprint] = g
		if soon := now.Add(minProbeWait); g.state == gateRefused && soon.Before(g.until) {
			g.until = soon
		}
	}
	for fingerprint, g := range a.unused {
		if !g.closed(now) {
			delete(a.unused, fingerprint)
			delete(a.gates, fingerprint)
		}
	}
}

// Start hands out turns until the context ends. It implements the manager's Runnable.
func (a *admission) Start(ctx context.Context) error {
	work := sync.WaitGroup{}
	defer work.Wait()
	work.Go(func() {
		serve(ctx, a.retriesArrived, func() bool { return a.pop(ctx, &a.retries, a.retryBucket, a.join) })
	})
	serve(ctx, a.arrived, func() bool { return a.awaitRoom(ctx) && a.handOutTurn(ctx) })
	return nil
}

// serve calls next after each arrival, until it reports that there is nothing left to do, or the context ends.
func serve(ctx context.Context, arrived <-chan struct{}, next func() bool) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-arrived:
		}
		for next() {
		}
	}
}

// awaitRoom waits until one more turn may be handed out. It returns false when the context has ended.
func (a *admission) awaitRoom(ctx context.Context) bool {
	for {
		lapse := a.untilRoom()
		if lapse <= 0 {
			return true
		}
		timer := time.NewTimer(lapse)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-a.ended:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// untilRoom forgets the turns that nobody took in time, and returns how long it is until that happens to the next one, unless there is room
// for another now.
func (a *admission) untilRoom() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, next := a.clock.Now(), turnTimeout
	for object, given := range a.turns {
		if left := given.came.Add(turnTimeout).Sub(now); left > 0 {
			next = min(next, left)
		} else {
			delete(a.turns, object)
		}
	}
	if len(a.turns) < a.mostTurns {
		return 0
	}
	return next
}

// handOutTurn waits for the bucket and gives the next turn to the most urgent object in the line. It reports whether there was
// one.
func (a *admission) handOutTurn(ctx context.Context) bool {
	var given ticket
	handedOut := a.pop(ctx, &a.line, a.bucket, func(next ticket) {
		given = next
		a.turns[next.object] = turn{came: a.clock.Now()}
	})
	if handedOut {
		a.wake(priorityTurn, given.object)
	}
	return handedOut
}

// pop waits for a bucket and takes the most urgent ticket out of a line. It reports whether there was one.
func (a *admission) pop(ctx context.Context, from *line, bucket *rate.Limiter, take func(ticket)) bool {
	a.mu.Lock()
	if from.empty() {
		a.mu.Unlock()
		return false
	}
	now := a.clock.Now()
	wait := bucket.ReserveN(now, 1).DelayFrom(now)
	a.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	next, ok := from.next()
	if ok {
		take(next)
	}
	return ok
}
