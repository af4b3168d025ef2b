package tokenserver

import (
	"time"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// hold is a time during which nobody asks Reactor, and why.
type hold struct {
	until  time.Time
	reason string
}

// holds are the two that there may be: one whatever the key, and one for a key that was refused, which another key ends. They stand
// apart, since the refusal of an old key must not hide what Reactor says to the new one.
type holds struct {
	all, refused hold
	key          reactor.Secret // that was refused
}

// forAll holds every key back. A shorter wait does not end a longer one: two callers may have asked at once.
func (h *holds) forAll(next hold) {
	if next.until.After(h.all.until) {
		h.all = next
	}
}

// forKey holds this key back.
func (h *holds) forKey(key reactor.Secret, next hold) {
	if key != h.key || next.until.After(h.refused.until) {
		h.refused, h.key = next, key
	}
}

// on is what holds the key back at the longest.
func (h *holds) on(key reactor.Secret) hold {
	if key == h.key && h.refused.until.After(h.all.until) {
		return h.refused
	}
	return h.all
}
