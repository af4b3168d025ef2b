package reactorsession

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// startBurst is how many sessions may be started at the same time after a quiet time: Reactor allows that many by default.
const startBurst = 3

// raiseEvery is how long a limit that a quota of Reactor lowered stays as it is before it is raised by one.
const raiseEvery = 5 * time.Minute

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

type keyCapacity struct {
	holding map[types.UID]share
	waiting map[types.UID]waiter
	starts  *rate.Limiter // nil without a limit
	started map[types.UID]start
	lowered map[share]lowering
}

// share is what a quota of Reactor limits: the sessions of a namespace, or, if the quota is one for each model, those of a namespace and a
// model. A session counts in both.
type share struct{ namespace, model string }

func shareOf(session *v1alpha1.ReactorSession) share {
	return share{session.Namespace, string(session.Spec.Model)}
}

// contains reports whether a limit for this share counts a session of another one.
func (s share) contains(session share) bool {
	return s.namespace == session.namespace && (s.model == "" || s.model == session.model)
}

// lowering is the limit of a share after a program reported a quota of Reactor. Such a report may come from any tenant, so it limits only
// the namespace that it comes from.
type lowering struct {
	limit int
	raise time.Time // when the limit is raised by one
}

// start is what a session took of the starts when it was admitted: one of each key of its pool.
type start struct {
	reserved []*rate.Reservation
	at       time.Time
}

func (s start) cancel() {
	for _, reserved := range s.reserved {
		reserved.CancelAt(s.at)
	}
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

// capacityWait is why a session waits for capacity.
type capacityWait struct {
	until time.Time // when to ask again; zero: the session is woken
	limit int       // of the share that is lowered and full; 0: it is the pool that is full, or another session's turn
	model string    // of that share, if its limit is for one model
}

// message is what the condition of a session shows.
func (w capacityWait) message() string {
	of := "sessions of this namespace"
	if w.model != "" {
		of += fmt.Sprintf(" with the model %q", w.model)
	}
	if w.limit > 0 {
		return fmt.Sprintf("Reactor refused one of the %s because of a quota of the account (429), so that at most %d run at the same time with this API key. "+
			"The operator raises that by one every %d minutes", of, w.limit, int(raiseEvery.Minutes()))
	}
	return "as many sessions run with this API key, or were started in the last minute, as this installation allows (--sessions-per-key, --session-starts-per-minute)"
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
	delete(k.started, session.UID)
	c.passed[session.UID] = true
	c.holdLocked(holder{session.UID, shareOf(session), key})
}

func (c *capacity) holdLocked(by holder) {
	c.key(by.key.fingerprint).holding[by.uid], c.of[by.uid] = by.share, by.key.fingerprint
	if was, ok := c.rotated[by.uid]; ok && by.key.current == by.key.fingerprint { // somebody put the old key back
		delete(c.rotated, by.uid)
		c.wakeNext(was.fingerprint, was.current)
	} else if by.key.isRotated() {
		c.rotated[by.uid] = by.key
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
		mine := other.uid == session.UID
		switch {
		case mine:
		case c.of[other.uid] == "" && !c.passed[other.uid]:
			c.holdLocked(other)
		case c.of[other.uid] == other.key.fingerprint && c.isHolding(other.uid) && other.key.isRotated():
			c.rotated[other.uid] = other.key // the Secret changed, and that session was not reconciled since
		}
	}
	if c.isHolding(session.UID) {
		return nil
	}
	me := waiter{types.NamespacedName{Namespace: session.Namespace, Name: session.Name}, shareOf(session), session.CreationTimestamp.Time}
	k.waiting[session.UID], c.of[session.UID] = me, key.fingerprint
	p := c.pool(key.fingerprint)
	p.raise(now, c.sessions)
	if full := p.lowered(me.share); full != nil {
		return full
	}
	if c.sessions > 0 && p.holders(share{}) >= c.sessions || p.oldest() != session.UID {
		return &capacityWait{until: p.nextRaise(me.share)}
	}
	taken, wait := p.reserve(now)
	if wait > 0 {
		return &capacityWait{until: now.Add(wait).Add(time.Second)}
	}
	k.started[session.UID] = taken
	delete(k.waiting, session.UID)
	k.holding[session.UID] = me.share
	c.wakeNext(key.fingerprint)
	return nil
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
	delete(k.started, session)
	delete(c.of, session)
	delete(c.rotated, session)
	c.wakeNext(key, was.current)
}

// refused gives back all that an admitted session took: no pod was created for it.
func (c *capacity) refused(session types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.keys[c.of[session]]; ok {
		k.started[session].cancel()
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
			k.starts = rate.NewLimiter(rate.Limit(float64(c.perMinute)/60), min(startBurst, c.perMinute))
		}
		c.keys[fingerprint] = k
	}
	return k
}

// dropIdle drops the keys that hold nothing that counts later.
func (c *capacity) dropIdle(now time.Time) {
	maps.DeleteFunc(c.keys, func(_ string, k *keyCapacity) bool {
		pool{k}.raise(now, c.sessions)
		rested := k.starts == nil || k.starts.TokensAt(now) >= float64(k.starts.Burst())
		return rested && len(k.holding)+len(k.waiting)+len(k.lowered) == 0
	})
}

// pool are the keys that share the limits of one account.
type pool []*keyCapacity

// pool returns the keys that share the limits of a key.
func (c *capacity) pool(key string) pool {
	keys := map[string]bool{key: true}
	for before := 0; before < len(keys); {
		before = len(keys)
		for _, use := range c.rotated {
			if keys[use.fingerprint] || keys[use.current] {
				keys[use.fingerprint], keys[use.current] = true, true
			}
		}
	}
	var p pool
	for name := range keys {
		if k, ok := c.keys[name]; ok {
			p = append(p, k)
		}
	}
	return p
}

// holders counts the sessions of a share that hold a slot; those of all for the zero value.
func (p pool) holders(of share) int {
	count := 0
	for _, k := range p {
		if of == (share{}) {
			count += len(k.holding)
			continue
		}
		for _, holds := range k.holding {
			if of.contains(holds) {
				count++
			}
		}
	}
	return count
}

// waiter is a session that waits in the pool.
func (p pool) waiter(session types.UID) waiter {
	at := slices.IndexFunc(p, func(k *keyCapacity) bool { _, ok := k.waiting[session]; return ok })
	return p[at].waiting[session]
}

// oldest is the session whose turn it is; empty if none may have a slot. One whose namespace has what a quota left to it lets the others
// pass.
func (p pool) oldest() (oldest types.UID) {
	var since time.Time
	for _, k := range p {
		for uid, other := range k.waiting {
			first := oldest == "" || other.created.Before(since) || other.created.Equal(since) && uid < oldest
			if first && p.lowered(other.share) == nil {
				oldest, since = uid, other.created
			}
		}
	}
	return oldest
}

// lowered returns the wait of a session whose share is limited and full; nil if it is not.
func (p pool) lowered(session share) *capacityWait {
	for _, k := range p {
		for of, limited := range k.lowered {
			if of.contains(session) && p.holders(of) >= limited.limit {
				return &capacityWait{until: limited.raise, limit: limited.limit, model: of.model}
			}
		}
	}
	return nil
}

// nextRaise is when the first limit of a session's share is raised; zero if it has none. Then the session asks again, although it was not the
// limit that kept it:
//
//  1. Two sessions wait for a limit. It is raised by one, and both ask again.
//  2. The younger one asks first. It is the turn of the older one.
//  3. The older one takes the slot. Now the limit is reached again, and the next raise wakes nobody but who asks by itself.
func (p pool) nextRaise(session share) (next time.Time) {
	for _, k := range p {
		for of, limited := range k.lowered {
			if of.contains(session) && (next.IsZero() || limited.raise.Before(next)) {
				next = limited.raise
			}
		}
	}
	return next
}

// raise raises the limits whose time has come, and drops those that are no limits any more.
func (p pool) raise(now time.Time, sessions int) {
	for _, k := range p {
		for of, limited := range k.lowered {
			if limited.raise.Sub(now) > raiseEvery { // the clock was set back
				limited.raise = now.Add(raiseEvery)
			}
			for ; !now.Before(limited.raise) && limited.limit < sessions; limited.limit++ {
				limited.raise = limited.raise.Add(raiseEvery)
			}
			k.lowered[of] = limited
			if limited.limit >= sessions {
				delete(k.lowered, of)
			}
		}
	}
}

// reserve takes one of the starts of each key, or returns how long to wait for them.
func (p pool) reserve(now time.Time) (taken start, wait time.Duration) {
	taken.at = now
	for _, k := range p {
		if k.starts != nil {
			reserved := k.starts.ReserveN(now, 1)
			taken.reserved, wait = append(taken.reserved, reserved), max(wait, reserved.DelayFrom(now))
		}
	}
	if wait > 0 {
		taken.cancel()
	}
	return taken, wait
}
