// Package capacity answers one question: may a session start now, or must it wait for other sessions of the same API key?
//
// It keeps the sessions of each API key within the limits of the installation and of Reactor, so that no pod is wasted on a 429. It takes
// values and the current time, and calls nothing but the function that requeues a session. The state is in memory. After a restart, the
// caller reports the slots that are in use again.
package capacity

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Session is what the limits depend on.
type Session struct {
	UID     types.UID
	Name    types.NamespacedName
	Model   string
	Created time.Time // older sessions get a slot first
}

// KeyUse is the API key of a session.
type KeyUse struct {
	Fingerprint string // of the key that the program of the session has or gets
	Current     string // of the key that the Secret of the session contains now; empty if unknown
}

func (u KeyUse) isRotated() bool { return u.Current != "" && u.Current != u.Fingerprint }

// Holder is a session that has a pod, as the cache shows it.
type Holder struct {
	Session Session
	Key     KeyUse
}

// Limiter assigns slots to sessions. A session has a slot from its admission until it is released.
//
// Sessions share the limits if their API keys are in the same pool. Two keys are in one pool while a program runs with one of them and the
// Secret of its session contains the other one. So a rotated key shares the slots of its predecessor until the last session with the old
// key ends. Secrets with the same key share a pool.
type Limiter struct {
	sessions  int // 0: no limit
	perMinute int // 0: no limit
	requeue   func(...types.NamespacedName)

	mu      sync.Mutex
	keys    map[string]*keyState // by fingerprint
	keyOf   map[types.UID]string // the fingerprint of each session that has a slot or waits for one
	rotated map[types.UID]KeyUse // the sessions with a slot whose Secret contains another key now

	// reconciled are the sessions that this process has reconciled. For them, its state is newer than the cache.
	reconciled map[types.UID]bool
	// admitted is since when sessions have a slot and no pod that may run.
	admitted map[types.UID]time.Time
}

type keyState struct {
	slots    map[types.UID]share // the sessions that have a slot
	waiting  map[types.UID]Session
	starts   *starts                   // nil without a limit
	reserved map[types.UID]reservation // the starts that can still be returned
	lowered  map[share]lowering
}

// useStart marks the start of a session, if it has one, as used: it can no longer be returned.
func (k *keyState) useStart(session types.UID) {
	k.reserved[session].use()
	delete(k.reserved, session)
}

// New returns a Limiter. With one API key, at most sessions may run at the same time, and at most perMinute may start in a minute. 0 means
// no limit. requeue is called with the lock held: it must not call the Limiter.
func New(sessions, perMinute int, requeue func(...types.NamespacedName)) *Limiter {
	return &Limiter{
		sessions: sessions, perMinute: perMinute, requeue: requeue,
		keys: map[string]*keyState{}, keyOf: map[types.UID]string{}, rotated: map[types.UID]KeyUse{},
		reconciled: map[types.UID]bool{}, admitted: map[types.UID]time.Time{},
	}
}

// NeedsHolders reports whether Admit needs the sessions that have a pod. Without a limit, nothing counts them, and there may be thousands.
func (l *Limiter) NeedsHolders() bool { return l.sessions > 0 }

// Acquire records that a session has a pod: it has a slot, even if an earlier process admitted it.
func (l *Limiter) Acquire(session Session, key KeyUse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keyOf[session.UID] != key.Fingerprint {
		l.releaseLocked(session.UID)
	}
	k := l.key(key.Fingerprint)
	delete(k.waiting, session.UID)
	k.useStart(session.UID)
	delete(l.admitted, session.UID)
	l.reconciled[session.UID] = true
	l.acquireLocked(Holder{session, key})
}

func (l *Limiter) acquireLocked(holder Holder) {
	uid, key := holder.Session.UID, holder.Key
	l.key(key.Fingerprint).slots[uid], l.keyOf[uid] = shareOf(holder.Session), key.Fingerprint
	if key.Current == "" {
		return
	}
	before, ok := l.rotated[uid]
	delete(l.rotated, uid)
	if key.isRotated() {
		l.rotated[uid] = key
	}
	if ok && before.Current != key.Current { // the key was rotated again, or the old one is back: the pool was divided
		l.requeueNext(before.Fingerprint, before.Current)
	}
}

// Admit gives the session a slot and returns nil, or puts it into the queue and returns what it waits for. others are the sessions that
// have a pod with the same key, or with a key from the same Secret, as the cache shows them. The Limiter requeues the session when it is
// the next one and a slot is free.
func (l *Limiter) Admit(session Session, key KeyUse, others []Holder, now time.Time) *Wait {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := l.admitLocked(session, key, others, now)
	if wait != nil {
		delete(l.admitted, session.UID)
	} else if l.admitted[session.UID].IsZero() {
		l.admitted[session.UID] = now
	}
	return wait
}

// AdmittedAt is since when a session has a slot and no pod that may run; zero if it has no slot, or such a pod.
func (l *Limiter) AdmittedAt(session types.UID) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.admitted[session]
}

func (l *Limiter) admitLocked(session Session, key KeyUse, others []Holder, now time.Time) *Wait {
	if l.keyOf[session.UID] != key.Fingerprint {
		l.releaseLocked(session.UID)
	}
	if l.keys[key.Fingerprint] == nil {
		l.dropIdle(now)
	}
	k := l.key(key.Fingerprint)
	for _, other := range others {
		if other.Session.UID != session.UID {
			l.observeLocked(other)
		}
	}
	if l.hasSlot(session.UID) {
		return nil
	}
	k.waiting[session.UID], l.keyOf[session.UID] = session, key.Fingerprint
	p := l.pool(key.Fingerprint)
	p.raise(now, l.sessions)
	wait := p.fullShare(shareOf(session))
	switch {
	case l.sessions > 0 && p.countSlots(share{}) >= l.sessions:
	case wait != nil || p.next() != session.UID: // another session is next. It was not requeued for that yet if a limit was lowered or raised
		l.requeueNext(key.Fingerprint)
	default:
		return l.startLocked(session, key.Fingerprint, now)
	}
	if wait == nil {
		wait = &Wait{Until: p.nextRaise(shareOf(session))}
	}
	return wait
}

// startLocked gives a slot to the next session, if the limit of starts allows one.
func (l *Limiter) startLocked(session Session, key string, now time.Time) *Wait {
	k := l.key(key)
	reserved, wait := l.pool(key).reserve(now)
	if wait > 0 {
		return &Wait{Until: now.Add(wait).Add(time.Second)}
	}
	k.reserved[session.UID] = reserved
	delete(k.waiting, session.UID)
	k.slots[session.UID] = shareOf(session)
	l.requeueNext(key)
	return nil
}

// observeLocked records a session with a pod from the cache, unless the state of this process is newer.
func (l *Limiter) observeLocked(other Holder) {
	uid := other.Session.UID
	switch {
	case l.keyOf[uid] == "" && !l.reconciled[uid]:
		l.acquireLocked(other)
	case l.keyOf[uid] == other.Key.Fingerprint && l.hasSlot(uid) && other.Key.isRotated():
		l.acquireLocked(other) // the Secret changed, and that session was not reconciled since
	}
}

func (l *Limiter) hasSlot(session types.UID) bool {
	k, ok := l.keys[l.keyOf[session]]
	if ok {
		_, ok = k.slots[session]
	}
	return ok
}

// Release releases the session's slot, or removes the session from the queue, and requeues the next session. A start that a pod has used
// stays used.
func (l *Limiter) Release(session types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reconciled[session] = true
	delete(l.admitted, session)
	l.releaseLocked(session)
}

func (l *Limiter) releaseLocked(session types.UID) {
	key, known := l.keyOf[session]
	if !known {
		return
	}
	k, rotated := l.key(key), l.rotated[session]
	delete(k.slots, session)
	delete(k.waiting, session)
	k.useStart(session)
	delete(l.keyOf, session)
	delete(l.rotated, session)
	l.requeueNext(key, rotated.Current)
}

// Cancel releases the session's slot and returns its start: no pod was created for it, or its pod never ran.
func (l *Limiter) Cancel(session types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancelLocked(session)
}

func (l *Limiter) cancelLocked(session types.UID) {
	if k, ok := l.keys[l.keyOf[session]]; ok {
		k.reserved[session].undo()
		delete(k.reserved, session)
	}
	delete(l.admitted, session)
	l.reconciled[session] = true
	l.releaseLocked(session)
}

// Yield is for a session that cannot be reconciled now: the others must not wait for it. It leaves the queue, or gives its slot back. The
// session keeps the slot of a pod that may run.
func (l *Limiter) Yield(session types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.admitted[session].IsZero():
		l.cancelLocked(session)
	case !l.hasSlot(session):
		l.releaseLocked(session)
	}
}

// Forget is for a session that was deleted.
func (l *Limiter) Forget(session types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.releaseLocked(session)
	delete(l.reconciled, session)
	delete(l.admitted, session)
}

// Lower is for a session that Reactor refused because of a quota, after its slot was released. It limits the session's namespace, or with
// perModel the namespace and the model, to the number of sessions that run now with the API key, and to at least one.
func (l *Limiter) Lower(session Session, key KeyUse, perModel bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limited := share{namespace: session.Name.Namespace}
	if perModel {
		limited = shareOf(session)
	}
	k := l.key(key.Fingerprint)
	limit := max(l.pool(key.Fingerprint).countSlots(limited), 1)
	if before, ok := k.lowered[limited]; ok {
		limit = min(limit, before.limit)
	}
	if limit < l.sessions { // otherwise the limit of the pool is lower
		k.lowered[limited] = lowering{limit, now.Add(RaiseInterval)}
		l.requeueNext(key.Fingerprint) // now a session of another share may be next
	}
}

// requeueNext requeues the next session of the pools of these keys.
func (l *Limiter) requeueNext(keys ...string) {
	for _, key := range keys {
		p := l.pool(key)
		if next := p.next(); next != "" {
			l.requeue(p.waiting(next).Name)
		}
	}
}

func (l *Limiter) key(fingerprint string) *keyState {
	k, ok := l.keys[fingerprint]
	if !ok {
		k = &keyState{
			slots: map[types.UID]share{}, waiting: map[types.UID]Session{}, reserved: map[types.UID]reservation{}, lowered: map[share]lowering{},
		}
		if l.perMinute > 0 {
			k.starts = newStarts(l.perMinute)
		}
		l.keys[fingerprint] = k
	}
	return k
}

// dropIdle drops the keys without state that matters later.
func (l *Limiter) dropIdle(now time.Time) {
	maps.DeleteFunc(l.keys, func(_ string, k *keyState) bool {
		pool{k}.raise(now, l.sessions)
		full := k.starts == nil || k.starts.leftAt(now) >= float64(k.starts.burst)
		return full && len(k.slots)+len(k.waiting)+len(k.lowered) == 0
	})
}
