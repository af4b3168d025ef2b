package reactorsession

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// startBurst is how many sessions may be started at the same time after a quiet time: Reactor allows that many by default.
const startBurst = 3

// capacity keeps the sessions of each API key within Reactor's limits, so that no pod is spent on a 429. It lives in memory; after a
// restart, the taken slots are read back from the sessions' status.
//
// The sessions that share the limits are those of a pool. A pool is a set of API keys, and follows from the sessions that hold a slot:
// two keys are in one pool while a program runs with one of them, and the Secret of its session holds the other one now. So a rotated
// key shares the slots of its predecessor until the last session with the old key ends, and Secrets with the same key share a pool.
type capacity struct {
	sessions  int
	perMinute int
	wake      func(...types.NamespacedName)

	mu      sync.Mutex
	keys    map[string]*keyCapacity // by the key's fingerprint
	of      map[types.UID]string    // the key of each session that holds a slot or waits for one
	rotated map[types.UID]keyUse    // the holders whose Secret holds another key now

	// passed are the sessions that this process has passed over: of them it knows better than the cache who holds a slot.
	passed map[types.UID]bool
}

// keyUse is the API key of a session.
type keyUse struct {
	fingerprint string // of the key that its program has or gets
	current     string // of the key that its Secret holds now; empty if that is not known
}

func (u keyUse) isRotated() bool { return u.current != "" && u.current != u.fingerprint }

// useOf is the use of a key whose fingerprint may not be known. Such a key is the one of its Secret.
func useOf(session *v1alpha1.ReactorSession, fingerprint, current string) keyUse {
	if fingerprint == "" {
		fingerprint = session.Namespace + "/" + keyLocation(session)
	}
	return keyUse{fingerprint, current}
}

type keyCapacity struct {
	holding map[types.UID]share
	waiting map[types.UID]waiter
	starts  *starts // nil without a limit
	started map[types.UID]start
	lowered map[share]lowering
}

// startUsed is for a session whose start, if it has taken one, cannot be returned any more.
func (k *keyCapacity) startUsed(session types.UID) {
	k.started[session].use()
	delete(k.started, session)
}

// waiter is a session that waits for a slot.
type waiter struct {
	name    types.NamespacedName
	share   share
	created time.Time
}

// holder is a session that has a pod, as the cache shows it.
type holder struct {
	uid   types.UID
	share share
	key   keyUse
}

func newCapacity(sessions, perMinute int, wake func(...types.NamespacedName)) *capacity {
	return &capacity{
		sessions: sessions, perMinute: perMinute, wake: wake,
		keys: map[string]*keyCapacity{}, of: map[types.UID]string{}, rotated: map[types.UID]keyUse{}, passed: map[types.UID]bool{},
	}
}

// hold takes note that a session has a pod: it holds a slot, whether it was admitted by this process or by an earlier one.
func (c *capacity) hold(session *v1alpha1.ReactorSession, key keyUse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[session.UID] != key.fingerprint {
		c.leaveLocked(session.UID)
	}
	k := c.key(key.fingerprint)
	delete(k.waiting, session.UID)
	k.startUsed(session.UID)
	c.passed[session.UID] = true
	c.holdLocked(holder{session.UID, shareOf(session), key})
}

func (c *capacity) holdLocked(by holder) {
	c.key(by.key.fingerprint).holding[by.uid], c.of[by.uid] = by.share, by.key.fingerprint
	if by.key.current == "" {
		return
	}
	was, ok := c.rotated[by.uid]
	delete(c.rotated, by.uid)
	if by.key.isRotated() {
		c.rotated[by.uid] = by.key
	}
	if ok && was.current != by.key.current { // the key was rotated again, or the old one is back: the pool was divided
		c.wakeNext(was.fingerprint, was.current)
	}
}

// admit gives the session a slot, or puts it into the queue. others are the sessions that have a pod with the same key, or with a key from the
// same Secret, as the cache shows them. It returns nil if the session has a slot. A session that waits for a slot is woken.
func (c *capacity) admit(session *v1alpha1.ReactorSession, key keyUse, others []holder, now time.Time) *capacityWait {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[session.UID] != key.fingerprint {
		c.leaveLocked(session.UID)
	}
	if c.keys[key.fingerprint] == nil {
		c.dropIdle(now)
	}
	k := c.key(key.fingerprint)
	for _, other := range others {
		if other.uid != session.UID {
			c.learnLocked(other)
		}
	}
	if c.isHolding(session.UID) {
		return nil
	}
	me := waiter{types.NamespacedName{Namespace: session.Namespace, Name: session.Name}, shareOf(session), session.CreationTimestamp.Time}
	k.waiting[session.UID], c.of[session.UID] = me, key.fingerprint
	p := c.pool(key.fingerprint)
	p.raise(now, c.sessions)
	full := p.lowered(me.share)
	switch {
	case c.sessions > 0 && p.holders(share{}) >= c.sessions:
	case full != nil || p.oldest() != session.UID: // the turn of another one, which may not know: its turn came when a limit was lowered or raised
		c.wakeNext(key.fingerprint)
	default:
		return c.startLocked(session, key.fingerprint, now)
	}
	if full == nil {
		full = &capacityWait{until: p.nextRaise(me.share)}
	}
	return full
}

// startLocked gives a slot to the session whose turn it is, if there is a start.
func (c *capacity) startLocked(session *v1alpha1.ReactorSession, key string, now time.Time) *capacityWait {
	k := c.key(key)
	taken, wait := c.pool(key).reserve(now)
	if wait > 0 {
		return &capacityWait{until: now.Add(wait).Add(time.Second)}
	}
	k.started[session.UID] = taken
	delete(k.waiting, session.UID)
	k.holding[session.UID] = shareOf(session)
	c.wakeNext(key)
	return nil
}

// learnLocked takes from the cache what this process does not know better.
func (c *capacity) learnLocked(other holder) {
	switch {
	case c.of[other.uid] == "" && !c.passed[other.uid]:
		c.holdLocked(other)
	case c.of[other.uid] == other.key.fingerprint && c.isHolding(other.uid) && other.key.isRotated():
		c.holdLocked(other) // the Secret changed, and that session was not reconciled since
	}
}

func (c *capacity) isHolding(session types.UID) bool {
	k, ok := c.keys[c.of[session]]
	if ok {
		_, ok = k.holding[session]
	}
	return ok
}

// leave gives the session's slot back, or takes it out of the queue, and wakes the session that is next.
func (c *capacity) leave(session types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed[session] = true
	c.leaveLocked(session)
}

func (c *capacity) leaveLocked(session types.UID) {
	key, known := c.of[session]
	if !known {
		return
	}
	k, was := c.key(key), c.rotated[session]
	delete(k.holding, session)
	delete(k.waiting, session)
	k.startUsed(session)
	delete(c.of, session)
	delete(c.rotated, session)
	c.wakeNext(key, was.current)
}

// refused gives back all that an admitted session took: no pod was created for it.
func (c *capacity) refused(session types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.keys[c.of[session]]; ok {
		k.started[session].giveBack()
		delete(k.started, session)
	}
	c.passed[session] = true
	c.leaveLocked(session)
}

// giveWay takes a session out of the queue that cannot be reconciled: the others must not wait for it. It keeps a slot that it holds.
func (c *capacity) giveWay(session types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isHolding(session) {
		c.leaveLocked(session)
	}
}

// forget is for a session that is gone.
func (c *capacity) forget(session types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaveLocked(session)
	delete(c.passed, session)
}

// lower limits what the session's namespace may run with its key to what it runs now, and to at least one session: Reactor refused one more,
// and that one has left.
func (c *capacity) lower(session *v1alpha1.ReactorSession, key keyUse, perModel bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := share{namespace: session.Namespace}
	if perModel {
		of = shareOf(session)
	}
	k := c.key(key.fingerprint)
	limit := max(c.pool(key.fingerprint).holders(of), 1)
	if before, ok := k.lowered[of]; ok {
		limit = min(limit, before.limit)
	}
	if limit < c.sessions { // else it would be no limit
		k.lowered[of] = lowering{limit, now.Add(raiseEvery)}
		c.wakeNext(key.fingerprint) // it may be the turn of a session of another share now
	}
}

// wakeNext wakes the next session of the pools of these keys.
func (c *capacity) wakeNext(keys ...string) {
	for _, key := range keys {
		p := c.pool(key)
		if next := p.oldest(); next != "" {
			c.wake(p.waiter(next).name)
		}
	}
}

func (c *capacity) key(fingerprint string) *keyCapacity {
	k, ok := c.keys[fingerprint]
	if !ok {
		k = &keyCapacity{holding: map[types.UID]share{}, waiting: map[types.UID]waiter{}, started: map[types.UID]start{}, lowered: map[share]lowering{}}
		if c.perMinute > 0 {
			k.starts = newStarts(c.perMinute)
		}
		c.keys[fingerprint] = k
	}
	return k
}

// dropIdle drops the keys that hold nothing that counts later.
func (c *capacity) dropIdle(now time.Time) {
	maps.DeleteFunc(c.keys, func(_ string, k *keyCapacity) bool {
		pool{k}.raise(now, c.sessions)
		rested := k.starts == nil || k.starts.leftAt(now) >= float64(k.starts.burst)
		return rested && len(k.holding)+len(k.waiting)+len(k.lowered) == 0
	})
}
