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
}

type keyCapacity struct {
	holding map[types.UID]bool
	waiting map[types.UID]waiter
	starts  *rate.Limiter // nil without a limit
}

// waiter is a session that waits for a slot.
type waiter struct {
	name    types.NamespacedName
	created time.Time
}

func newCapacity(sessions, perMinute int, wake func(...types.NamespacedName)) *capacity {
	return &capacity{sessions: sessions, perMinute: perMinute, wake: wake, keys: map[string]*keyCapacity{}, of: map[types.UID]string{}}
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
	k.holding[session.UID], c.of[session.UID] = true, key
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
		if other != session.UID && c.of[other] == "" { // not passed over yet since the operator started
			k.holding[other], c.of[other] = true, key
		}
	}
	if k.holding[session.UID] {
		return true, time.Time{}
	}
	me := waiter{types.NamespacedName{Namespace: session.Namespace, Name: session.Name}, session.CreationTimestamp.Time}
	k.waiting[session.UID], c.of[session.UID] = me, key
	if c.sessions > 0 && len(k.holding) >= c.sessions || k.isBehind(session.UID) {
		return false, time.Time{}
	}
	if k.starts != nil && !k.starts.AllowN(now, 1) {
		missing := 1 - k.starts.TokensAt(now)
		return false, now.Add(time.Duration(missing / float64(k.starts.Limit()) * float64(time.Second))).Add(time.Second)
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
	delete(c.of, session)
	c.wakeNext(k)
}

// wakeNext wakes the oldest one that waits.
func (c *capacity) wakeNext(k *keyCapacity) {
	for uid, next := range k.waiting {
		if !k.isBehind(uid) {
			c.wake(next.name)
		}
	}
}

// isBehind reports whether an older one waits.
func (k *keyCapacity) isBehind(session types.UID) bool {
	me := k.waiting[session]
	for uid, other := range k.waiting {
		if uid != session && (other.created.Before(me.created) || other.created.Equal(me.created) && uid < session) {
			return true
		}
	}
	return false
}

func (c *capacity) key(fingerprint string) *keyCapacity {
	k, ok := c.keys[fingerprint]
	if !ok {
		k = &keyCapacity{holding: map[types.UID]bool{}, waiting: map[types.UID]waiter{}}
		if c.perMinute > 0 {
			k.starts = rate.NewLimiter(rate.Limit(float64(c.perMinute)/60), min(startBurst, c.perMinute))
		}
		c.keys[fingerprint] = k
	}
	return k
}
