package reactorsession

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// startBurst is how many sessions may be started at once after a quiet time: that many Reactor lets through by default.
const startBurst = 3

// capacity keeps the sessions of each API key under what Reactor lets through, so that no pod is burnt on a 429. It lives in memory;
// after a restart the slots that are taken are read back from the sessions' status.
type capacity struct {
	sessions  int
	perMinute int
	wake      func(...types.NamespacedName)

	mu   sync.Mutex
	keys map[string]*keyCapacity // by the key's fingerprint
	of   map[types.UID]string    // the key of each session that holds a slot or waits for one

	// passed are the sessions that this process has passed over: of them it knows better than the cache who holds a slot.
	passed map[types.UID]bool
}

type keyCapacity struct {
	holding map[types.UID]bool
	waiting map[types.UID]waiter
	starts  *rate.Limiter // nil without a limit
	started map[types.UID]start
}

// start is what a session took of the starts when it was admitted.
type start struct {
	*rate.Reservation
	at time.Time
}

// waiter is a session that waits for a slot.
type waiter struct {
	name    types.NamespacedName
	created time.Time
}

func newCapacity(sessions, perMinute int, wake func(...types.NamespacedName)) *capacity {
	return &capacity{
		sessions: sessions, perMinute: perMinute, wake: wake,
		keys: map[string]*keyCapacity{}, of: map[types.UID]string{}, passed: map[types.UID]bool{},
	}
}

// hold takes note that a session has a pod: it holds a slot, whether it was admitted by this process or by an earlier one.
func (c *capacity) hold(session *v1alpha1.ReactorSession, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[session.UID] != key {
		c.leaveLocked(session.UID)
	}
	k := c.key(key)
	delete(k.waiting, session.UID)
	delete(k.started, session.UID)
	k.holding[session.UID], c.of[session.UID], c.passed[session.UID] = true, key, true
}

// admit gives the session a slot, or puts it into the line. others are the sessions with the same key that have a pod, as the cache
// knows them. It returns when to ask again, when an instant is known; who waits for a slot is woken.
func (c *capacity) admit(session *v1alpha1.ReactorSession, key string, others []types.UID, now time.Time) (admitted bool, again time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[session.UID] != key {
		c.leaveLocked(session.UID)
	}
	k := c.key(key)
	for _, other := range others {
		if other != session.UID && c.of[other] == "" && !c.passed[other] {
			k.holding[other], c.of[other] = true, key
		}
	}
	if k.holding[session.UID] {
		return true, time.Time{}
	}
	me := waiter{types.NamespacedName{Namespace: session.Namespace, Name: session.Name}, session.CreationTimestamp.Time}
	k.waiting[session.UID], c.of[session.UID] = me, key
	if c.sessions > 0 && len(k.holding) >= c.sessions || k.oldest() != session.UID {
		return false, time.Time{}
	}
	if k.starts != nil {
		reserved := k.starts.ReserveN(now, 1)
		if wait := reserved.DelayFrom(now); wait > 0 {
			reserved.CancelAt(now)
			return false, now.Add(wait).Add(time.Second)
		}
		k.started[session.UID] = start{reserved, now}
	}
	delete(k.waiting, session.UID)
	k.holding[session.UID] = true
	c.wakeNext(k)
	return true, time.Time{}
}

// leave gives the session's slot back, or takes it out of the line, and wakes the one whose turn it is.
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
	k := c.key(key)
	delete(k.holding, session)
	delete(k.waiting, session)
	delete(k.started, session)
	delete(c.of, session)
	c.wakeNext(k)
}

// refused gives back all that an admitted session took: no pod of it came to be.
func (c *capacity) refused(session types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if took, ok := c.key(c.of[session]).started[session]; ok {
		took.CancelAt(took.at)
	}
	c.passed[session] = true
	c.leaveLocked(session)
}

// giveWay takes a session out of the line that cannot be passed over: the others must not wait for it. A slot that it holds it keeps.
func (c *capacity) giveWay(session types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key, known := c.of[session]; known && !c.key(key).holding[session] {
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

// wakeNext wakes the oldest one that waits.
func (c *capacity) wakeNext(k *keyCapacity) {
	if len(k.waiting) > 0 {
		c.wake(k.waiting[k.oldest()].name)
	}
}

// oldest is the session whose turn it is; empty when none waits.
func (k *keyCapacity) oldest() (oldest types.UID) {
	var since time.Time
	for uid, other := range k.waiting {
		if oldest == "" || other.created.Before(since) || other.created.Equal(since) && uid < oldest {
			oldest, since = uid, other.created
		}
	}
	return oldest
}

func (c *capacity) key(fingerprint string) *keyCapacity {
	k, ok := c.keys[fingerprint]
	if !ok {
		k = &keyCapacity{holding: map[types.UID]bool{}, waiting: map[types.UID]waiter{}, started: map[types.UID]start{}}
		if c.perMinute > 0 {
			k.starts = rate.NewLimiter(rate.Limit(float64(c.perMinute)/60), min(startBurst, c.perMinute))
		}
		c.keys[fingerprint] = k
	}
	return k
}
