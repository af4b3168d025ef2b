package emulator

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// MaxRevocationDelay is the longest time that Reactor takes to make a revocation effective.
const MaxRevocationDelay = time.Minute

// Revocation is how Reactor revokes keys. The zero value is a revocation that takes effect immediately and leaves tokens alone.
type Revocation struct {
	// Delay is the time, from 0 to MaxRevocationDelay, for which a revoked key still gets tokens.
	Delay time.Duration

	// RefuseTokens makes session calls answer 401 for tokens that were minted with a revoked key, once its revocation has taken
	// effect. Sessions that run are not ended. Reactor does not document which of the two it does.
	RefuseTokens bool
}

// Validate returns an error if Reactor does not behave this way.
func (r Revocation) Validate() error {
	if r.Delay < 0 || r.Delay > MaxRevocationDelay {
		return fmt.Errorf("delay %s is not between 0s and %s", r.Delay, MaxRevocationDelay)
	}
	return nil
}

// SetRevocation sets how keys are revoked. The delay is that of later revocations; RefuseTokens also applies to keys that are
// revoked already. It panics if Validate returns an error, because that is a mistake in a test.
func (e *Emulator) SetRevocation(revocation Revocation) {
	if err := revocation.Validate(); err != nil {
		panic("emulator: revocation: " + err.Error())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.revocation = revocation
}

// Fingerprint returns the first 16 hexadecimal digits of the key's SHA-256, which is how keys appear in the ledger, in
// faults and in the log. The fingerprint of an absent key is empty.
func Fingerprint(key string) string {
	if key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:8])
}

// AddKey makes a key valid, in addition to all others, and returns its fingerprint. It also undoes a revocation. An empty key
// is not added, because it does not differ from an absent one.
func (e *Emulator) AddKey(key string) string {
	fingerprint := Fingerprint(key)
	if fingerprint != "" {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.keys[fingerprint] = time.Time{}
	}
	return fingerprint
}

// RevokeKey revokes a key, as SetRevocation says. It returns false if the key is not known, or is revoked already.
func (e *Emulator) RevokeKey(key string) bool { return e.revoke(Fingerprint(key)) }

func (e *Emulator) revoke(fingerprint string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	revoked, known := e.keys[fingerprint]
	if !known || !revoked.IsZero() {
		return false
	}
	e.keys[fingerprint] = e.clock.Now().Add(e.revocation.Delay)
	return true
}

// accepts reports whether a key is known and no revocation of it has taken effect.
func (e *Emulator) accepts(fingerprint string) bool {
	revoked, known := e.keys[fingerprint]
	return known && (revoked.IsZero() || e.clock.Now().Before(revoked))
}
