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

	mu         sync.Mutex
	bucket     *rate.Limiter
	gates      map[string]*gate // by key fingerprint; as many as keys were used since the start
	waitingFor map[types.NamespacedName]waiter
	line       line
	turns      map[types.NamespacedName]turn
	arrived    chan struct{} // somebody joined the line
	ended      chan struct{} // a turn is over
}

// turn is what an object has from the moment that its turn has come until the end of the pass in which it takes it.
type turn struct {
	came  time.Time
	taken bool
}

// waiter is an object that waits for the answer to its key.
type waiter struct {
	gate    *gate
	urgency urgency
}

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
		clock:      now,
		wake:       wake,
		mostTurns:  1,
		bucket:     rate.NewLimiter(rate.Limit(qps), burst),
		gates:      map[string]*gate{},
		waitingFor: map[types.NamespacedName]waiter{},
		turns:      map[types.NamespacedName]turn{},
		arrived:    make(chan struct{}, 1),
		ended:      make(chan struct{}, 1),
	}
}

// verdict is the answer to who asks for admission.
type verdict int

const (
	admitted    verdict = iota
	waitForTurn         // the rate lets no more through just now
	waitForKey          // the gate of the key is closed, or another object is trying it
)

// admit asks for one call to Reactor. Who is not admitted is woken later, and then asks again; who is, must report the
// outcome to answered.
func (a *admission) admit(t ticket, now time.Time) (verdict, gateView) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopWaiting(t.object)
	g := a.gate(t.fingerprint)
	if !g.lets(t.object, now) {
		a.leaveLocked(t.object)
		g.waiting[t.object] = struct{}{}
		a.waitingFor[t.object] = waiter{g, t.urgency}
		return waitForKey, g.view(now)
	}
	if !a.takeTurn(t, now) {
		return waitForTurn, g.view(now)
	}
	g.calls(t.object, now)
	return admitted, g.view(now)
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
	renewal := t.urgency == urgencyRenewal || t.urgency == urgencyExpiring
	if a.line.empty() && (!renewal || len(a.turns) < a.mostTurns) && a.bucket.AllowN(now, 1) {
		if renewal {
			a.turns[t.object] = turn{now, true}
		}
		return true
	}
	a.line.join(t)
	signal(a.arrived)
	return false
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

// answered reports what Reactor said to an admitted object, and wakes those that waited for it. It returns the gate as it is
// now.
func (a *admission) answered(t ticket, what answer, retryAfter time.Duration, now time.Time) gateView {
	a.mu.Lock()
	g := a.gate(t.fingerprint)
	var urgent, others []types.NamespacedName
	for _, object := range g.answered(t.object, what, retryAfter, now) {
		if a.waitingFor[object].urgency == urgencyExpiring {
			urgent = append(urgent, object)
		} else {
			others = append(others, object)
		}
		delete(a.waitingFor, object)
	}
	if g.closed(now) { // nobody stands in line for a call that would not be let through
		others = append(others, a.line.leaveAll(t.fingerprint)...)
	}
	view := g.view(now)
	a.mu.Unlock()
	a.wake(priorityUrgent, urgent...)
	a.wake(priorityRegular, others...)
	return view
}

// leave forgets an object that wants no token now.
func (a *admission) leave(object types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leaveLocked(object)
}

func (a *admission) leaveLocked(object types.NamespacedName) {
	a.line.leave(object)
	a.endTurn(object)
	a.stopWaiting(object)
}

func (a *admission) stopWaiting(object types.NamespacedName) {
	if w, ok := a.waitingFor[object]; ok {
		delete(w.gate.waiting, object)
		delete(a.waitingFor, object)
	}
}

func (a *admission) gate(fingerprint string) *gate {
	g, ok := a.gates[fingerprint]
	if !ok {
		g = &gate{waiting: map[types.NamespacedName]struct{}{}}
		a.gates[fingerprint] = g
	}
	return g
}

// Start hands out turns until the context ends. It implements the manager's Runnable.
func (a *admission) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.arrived:
		}
		for a.awaitRoom(ctx) && a.handOutTurn(ctx) {
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

// handOutTurn waits for the bucket and gives the next turn to whoever is the most urgent by then. It reports whether
// anybody was waiting.
func (a *admission) handOutTurn(ctx context.Context) bool {
	a.mu.Lock()
	if a.line.empty() {
		a.mu.Unlock()
		return false
	}
	now := a.clock.Now()
	wait := a.bucket.ReserveN(now, 1).DelayFrom(now)
	a.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}

	a.mu.Lock()
	next, ok := a.line.next()
	if ok {
		a.turns[next.object] = turn{came: a.clock.Now()}
	}
	a.mu.Unlock()
	if ok {
		a.wake(priorityTurn, next.object)
	}
	return ok
}
