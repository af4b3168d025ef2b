package tokenserver

import (
	"time"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// backoff is a time until which the server sends no request to Reactor, and the reason.
type backoff struct {
	until  time.Time
	reason string
}

// backoffs has two backoffs: one for every key, and one for a key that Reactor rejected, which ends when the key changes. They are separate,
// so that the rejection of a previous key does not hide Reactor's answers to the current one.
type backoffs struct {
	allKeys, rejected backoff
	rejectedKey       reactor.Secret
}

// addForAllKeys adds a backoff for every key. A longer one stays: two requests to Reactor may have run at the same time.
func (b *backoffs) addForAllKeys(next backoff) {
	if next.until.After(b.allKeys.until) {
		b.allKeys = next
	}
}

// addForKey adds a backoff for this key.
func (b *backoffs) addForKey(key reactor.Secret, next backoff) {
	if key != b.rejectedKey || next.until.After(b.rejected.until) {
		b.rejected, b.rejectedKey = next, key
	}
}

// of returns the longest backoff that applies to the key.
func (b *backoffs) of(key reactor.Secret) backoff {
	if key == b.rejectedKey && b.rejected.until.After(b.allKeys.until) {
		return b.rejected
	}
	return b.allKeys
}
