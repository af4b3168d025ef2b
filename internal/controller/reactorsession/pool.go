package reactorsession

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// raiseEvery is how long a limit that a quota of Reactor lowered stays as it is before it is raised by one.
const raiseEvery = 5 * time.Minute

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
	for _, k := range p {
		if k.starts != nil {
			wait = max(wait, k.starts.wait(now))
		}
	}
	if wait > 0 {
		return nil, wait
	}
	taken = start{}
	for _, k := range p {
		if k.starts != nil {
			taken[k.starts] = k.starts.take(now)
		}
	}
	return taken, 0
}
