package capacity

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// RaiseInterval is how long a lowered limit stays before it is raised by one.
const RaiseInterval = 5 * time.Minute

// share is what a quota of Reactor limits: the sessions of a namespace, or, if the quota is per model, those of a namespace and a model. A
// session counts in both.
type share struct{ namespace, model string }

func shareOf(session Session) share { return share{session.Name.Namespace, session.Model} }

// contains reports whether a limit for this share counts a session of another one.
func (s share) contains(session share) bool {
	return s.namespace == session.namespace && (s.model == "" || s.model == session.model)
}

// lowering is the limit of a share after a program reported a quota of Reactor. Any tenant may send such a report, so it limits only the
// tenant's own namespace.
type lowering struct {
	limit int
	raise time.Time // when the limit is raised by one
}

// Wait is why a session waits.
type Wait struct {
	Until time.Time // when to call Admit again; zero: the Limiter requeues the session
	Limit int       // of the share that is lowered and full; 0: the pool is full, or another session is next
	Model string    // of that share, if its limit is per model
}

// Message explains the wait to a user.
func (w Wait) Message() string {
	of := "sessions of this namespace"
	if w.Model != "" {
		of += fmt.Sprintf(" with the model %q", w.Model)
	}
	if w.Limit > 0 {
		return fmt.Sprintf("Reactor refused one of the %s because of a quota of the account (429), so that at most %d run at the same time with this API key. "+
			"The operator raises that by one every %d minutes", of, w.Limit, int(RaiseInterval.Minutes()))
	}
	return "as many sessions run with this API key, or were started in the last minute, as this installation allows (--sessions-per-key, --session-starts-per-minute)"
}

// pool are the keys that share the limits of one account.
type pool []*keyState

// pool returns the keys that share the limits of a key.
func (l *Limiter) pool(key string) pool {
	keys := map[string]bool{key: true}
	for before := 0; before < len(keys); {
		before = len(keys)
		for _, use := range l.rotated {
			if keys[use.Fingerprint] || keys[use.Current] {
				keys[use.Fingerprint], keys[use.Current] = true, true
			}
		}
	}
	var p pool
	for name := range keys {
		if k, ok := l.keys[name]; ok {
			p = append(p, k)
		}
	}
	return p
}

// countSlots counts the sessions of a share that have a slot; all sessions for the zero value.
func (p pool) countSlots(of share) int {
	count := 0
	for _, k := range p {
		if of == (share{}) {
			count += len(k.slots)
			continue
		}
		for _, session := range k.slots {
			if of.contains(session) {
				count++
			}
		}
	}
	return count
}

// waiting returns a session that waits in the pool.
func (p pool) waiting(session types.UID) Session {
	at := slices.IndexFunc(p, func(k *keyState) bool { _, ok := k.waiting[session]; return ok })
	return p[at].waiting[session]
}

// next is the session that gets the next slot: the oldest one whose share is not full. Empty if there is none.
func (p pool) next() (oldest types.UID) {
	var created time.Time
	for _, k := range p {
		for uid, other := range k.waiting {
			first := oldest == "" || other.Created.Before(created) || other.Created.Equal(created) && uid < oldest
			if first && p.fullShare(shareOf(other)) == nil {
				oldest, created = uid, other.Created
			}
		}
	}
	return oldest
}

// fullShare returns the wait of a session whose share is lowered and full; nil if it is not.
func (p pool) fullShare(session share) *Wait {
	for _, k := range p {
		for of, limited := range k.lowered {
			if of.contains(session) && p.countSlots(of) >= limited.limit {
				return &Wait{Until: limited.raise, Limit: limited.limit, Model: of.model}
			}
		}
	}
	return nil
}

// nextRaise is when the first limit of a session's share is raised; zero without one. The session calls Admit again at that time, even
// when another limit holds it back now:
//
//  1. Two sessions wait for a lowered limit. It is raised by one, and both call Admit.
//  2. The younger session calls first. The older one is next, so the younger one waits.
//  3. The older session takes the slot. The limit is reached again. The next raise requeues no session, so the younger one must call
//     Admit by itself.
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

// raise raises the lowered limits that are due, and drops those that reach the limit of the pool.
func (p pool) raise(now time.Time, sessions int) {
	for _, k := range p {
		for of, limited := range k.lowered {
			if limited.raise.Sub(now) > RaiseInterval { // the clock was set back
				limited.raise = now.Add(RaiseInterval)
			}
			for ; !now.Before(limited.raise) && limited.limit < sessions; limited.limit++ {
				limited.raise = limited.raise.Add(RaiseInterval)
			}
			k.lowered[of] = limited
			if limited.limit >= sessions {
				delete(k.lowered, of)
			}
		}
	}
}

// reserve takes one start of each key, or returns how long to wait for them.
func (p pool) reserve(now time.Time) (reserved reservation, wait time.Duration) {
	for _, k := range p {
		if k.starts != nil {
			wait = max(wait, k.starts.wait(now))
		}
	}
	if wait > 0 {
		return nil, wait
	}
	reserved = reservation{}
	for _, k := range p {
		if k.starts != nil {
			reserved[k.starts] = k.starts.take(now)
		}
	}
	return reserved, 0
}
