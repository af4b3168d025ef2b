// Package mintqueue answers two questions: may an object call POST /tokens now, and which object calls next when more tokens are due than the
// rate allows? Of Kubernetes, it uses only the names of objects.
//
// An object that wants a token calls Admit. If it is admitted, it calls Reactor and then Done. Otherwise it is reconciled again later: Queue
// requeues it when a slot is free for it, or when the answer to its key has come. An object that wants no token calls Cancel. Each reconcile ends
// with Release. Nothing here blocks a worker.
//
// Three things limit the calls:
//   - the state of the API key, which all objects with this key share (key.go)
//   - the rate of the installation, which goes to requests by priority, then round robin over namespaces, then by expiry (requests.go)
//   - the number of slots (slots.go)
package mintqueue

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// Priorities in the queue of the controller, with which a Queue requeues objects. An object that has a slot goes before the thousands that are
// about to learn that they have to wait. An object whose token is about to expire goes before both.
const (
	RequeueUrgent  = 200
	RequeueSlot    = 100
	RequeueRegular = 0
)

// Options are the settings of a Queue.
type Options struct {
	Limits

	Clock   clock.Clock
	Requeue func(priority int, objects ...types.NamespacedName) // called without a lock held
}

// Limits are the settings of an installation.
type Limits struct {
	QPS       float64       // calls to Reactor per second
	Burst     int           // calls to Reactor at the same time, after a time with fewer calls
	ProbeWait time.Duration // how long after a 401 a rejected key is tried again; 0: MinProbeWait
}

// Queue decides which objects may call Reactor. It is safe for concurrent use.
type Queue struct {
	clock   clock.Clock
	requeue func(priority int, objects ...types.NamespacedName)
	limits  Limits

	mu      sync.Mutex
	keys    map[string]*key               // by fingerprint, while an object uses the key, or Reactor limits it
	keyOf   map[types.NamespacedName]*key // the key of the last request of an object
	unused  map[string]*key               // those that no object uses: Reactor limits them
	slots   slots
	waiting requests      // that may use their key, and wait for a slot
	changed chan struct{} // a request was added, or a slot was released
}

// New returns a Queue that Start makes work.
func New(o Options) *Queue {
	if o.ProbeWait == 0 {
		o.ProbeWait = MinProbeWait
	}
	return &Queue{
		clock:   o.Clock,
		limits:  o.Limits,
		requeue: o.Requeue,
		keys:    map[string]*key{},
		keyOf:   map[types.NamespacedName]*key{},
		unused:  map[string]*key{},
		slots: slots{
			max: 1, inUse: map[types.NamespacedName]bool{},
			rate:      rate.NewLimiter(rate.Limit(o.QPS), o.Burst),
			retryRate: rate.NewLimiter(rate.Limit(o.QPS/retryShare), 1),
		},
		changed: make(chan struct{}, 1),
	}
}

// SetWorkers sets how many workers reconcile at the same time. Without it, there is one slot.
func (q *Queue) SetWorkers(workers int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.slots.max = SlotsFor(workers)
}

// Decision is the answer to a request.
type Decision int

// The decisions.
const (
	Admitted    Decision = iota // call Reactor now, and call Done afterwards
	WaitForSlot                 // the rate allows no more calls now: the request is queued
	WaitForKey                  // Reactor limits or rejects the key, or another object is trying it
)

// Admit requests a slot for one call to Reactor, and returns the state of the key. An object that is not admitted must call Admit again when
// it is reconciled again. An object that is admitted must report the outcome to Done.
func (q *Queue) Admit(r Request, now time.Time) (Decision, KeyStatus) {
	q.mu.Lock()
	k, next := q.useKey(r)
	decision := q.decide(k, r, now)
	status := k.status(r.Object, now)
	q.mu.Unlock()
	q.requeueAll(next)
	return decision, status
}

func (q *Queue) decide(k *key, r Request, now time.Time) Decision {
	if !k.allows(r.Object, now) {
		q.remove(r.Object)
		k.wait(r, now)
		return WaitForKey
	}
	delete(k.waiting, r.Object)
	if !q.takeSlot(r, now) {
		return WaitForSlot
	}
	k.recordCall(r.Object, now)
	return Admitted
}

// takeSlot reports whether the object has a slot, or gets one because no other request waits. Otherwise its request is queued.
//
// Requests of objects that have, or had, a token are bounded by the number of slots: those behind them in the queue of the controller may
// expire sooner, and have to get as far as this queue. Other requests take no slot while the rate allows them: an object without a token has to
// report in status that it waits, which costs more than the order is worth.
func (q *Queue) takeSlot(r Request, now time.Time) bool {
	if _, ok := q.slots.inUse[r.Object]; ok {
		q.slots.inUse[r.Object] = true
		return true
	}
	bounded := r.Priority != PriorityNew && r.Priority != PriorityChanged
	before, waits := q.waiting.peek()
	first := !waits || before.Priority == PriorityRefused && r.Priority != PriorityRefused // refused requests wait for a rate of their own
	if first && (!bounded || len(q.slots.inUse) < q.slots.max) && q.slots.reserve(r, now) == 0 {
		q.waiting.remove(r.Object) // of an earlier reconcile: its request was refused, and it was corrected
		if bounded {
			q.slots.inUse[r.Object] = true
		}
		return true
	}
	q.waiting.push(r)
	q.signal()
	return false
}

// Done records the outcome of an admitted call, requeues the objects that waited for it, and returns what is known of the key now.
func (q *Queue) Done(r Request, outcome Outcome, now time.Time) KeyStatus {
	q.mu.Lock()
	k, next := q.useKey(r)
	next = append(next, k.recordAnswer(r, outcome, now)...)
	if k.closed(now) { // a call that is not allowed needs no place in the queue
		next = append(next, q.waiting.removeKey(r.Fingerprint)...)
	}
	status := k.status(r.Object, now)
	q.mu.Unlock()
	q.requeueAll(next)
	return status
}

// Release releases the slot of an object whose reconcile is over, if the object was admitted in this reconcile. A slot that the object got since
// then stays.
func (q *Queue) Release(object types.NamespacedName) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.slots.inUse[object] {
		q.release(object)
	}
}

// Cancel removes the request of an object that wants no token now.
func (q *Queue) Cancel(object types.NamespacedName) {
	q.mu.Lock()
	next := q.cancel(object)
	q.mu.Unlock()
	q.requeueAll(next)
}

// Forget drops all that is known of an object that was deleted, and the state of its key if no other object uses it.
func (q *Queue) Forget(object types.NamespacedName) {
	q.mu.Lock()
	next := q.cancel(object)
	q.releaseKey(object)
	q.mu.Unlock()
	q.requeueAll(next)
}

// cancel returns the object that has the duty to try the key now, if this object had it.
func (q *Queue) cancel(object types.NamespacedName) []Request {
	q.remove(object)
	if k, ok := q.keyOf[object]; ok {
		return k.abandon(object)
	}
	return nil
}

// remove removes the object from the queue, and releases its slot.
func (q *Queue) remove(object types.NamespacedName) {
	q.waiting.remove(object)
	q.release(object)
}

// requeueAll has objects reconciled, those whose tokens are about to expire before all others.
func (q *Queue) requeueAll(requests []Request) {
	for _, r := range requests {
		priority := RequeueRegular
		if r.Priority == PriorityExpiring {
			priority = RequeueUrgent
		}
		q.requeue(priority, r.Object)
	}
}

// useKey returns the key of a request. If the object's last request had another key, the object no longer waits for that key. In this case,
// useKey also returns the object that is now the prober of that key.
func (q *Queue) useKey(r Request) (k *key, next []Request) {
	former, ok := q.keyOf[r.Object]
	if ok && former.fingerprint == r.Fingerprint {
		return former, nil
	}
	if ok {
		next = former.abandon(r.Object)
		q.releaseKey(r.Object)
	}
	k, ok = q.keys[r.Fingerprint]
	if !ok {
		k = newKey(r.Fingerprint, q.limits.ProbeWait)
		q.keys[r.Fingerprint] = k
	}
	k.users++
	delete(q.unused, r.Fingerprint)
	q.keyOf[r.Object] = k
	return k, next
}

// releaseKey records that an object does not use its key any more. A key that no object uses is forgotten when it may be tried again, and not
// before:
//
//  1. Reactor answers the only call with a key with 429 and a Retry-After of five minutes.
//  2. The object is deleted, or gets another key.
//  3. A minute later another object uses the first key. It must not call before the five minutes are over.
//
// A rejected key that no object uses may be tried again after MinProbeWait or earlier, however long it has been rejected: a user who deletes a
// ReactorToken and creates it again expects another try. Without any wait, a session whose tokens are rejected and replaced tries its key
// once a second.
func (q *Queue) releaseKey(object types.NamespacedName) {
	k, ok := q.keyOf[object]
	if !ok {
		return
	}
	delete(q.keyOf, object)
	now := q.clock.Now()
	if k.users--; k.users == 0 {
		q.unused[k.fingerprint] = k
		if soon := now.Add(q.limits.ProbeWait); k.state == KeyRejected && soon.Before(k.until) {
			k.until = soon
		}
	}
	for fingerprint, k := range q.unused {
		if !k.closed(now) {
			delete(q.unused, fingerprint)
			delete(q.keys, fingerprint)
		}
	}
}

// release releases the slot of an object, if it has one.
func (q *Queue) release(object types.NamespacedName) {
	if _, ok := q.slots.inUse[object]; ok {
		delete(q.slots.inUse, object)
		q.signal()
	}
}

// signal reports that the queue changed. Several changes can have one signal.
func (q *Queue) signal() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// Start gives slots to the requests that wait, until the context ends. It implements the Runnable of a manager.
func (q *Queue) Start(ctx context.Context) error {
	for {
		wait := q.giveSlots()
		timer := q.clock.NewTimer(wait)
		elapsed := timer.C()
		if wait == 0 {
			elapsed = nil // only a change can help
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-q.changed:
		case <-elapsed:
		}
		timer.Stop()
	}
}

// giveSlots gives slots to the first requests, and requeues their objects. It returns how long it is until the rate allows the next one; zero
// if no request waits, or no slot is free.
func (q *Queue) giveSlots() (wait time.Duration) {
	var admitted []types.NamespacedName
	q.mu.Lock()
	now := q.clock.Now()
	for len(q.slots.inUse) < q.slots.max {
		next, ok := q.waiting.peek()
		if !ok {
			break
		}
		if wait = q.slots.reserve(next, now); wait > 0 {
			break
		}
		q.waiting.pop()
		q.slots.inUse[next.Object] = false
		admitted = append(admitted, next.Object)
	}
	q.mu.Unlock()
	if len(admitted) > 0 {
		q.requeue(RequeueSlot, admitted...)
	}
	return wait
}
