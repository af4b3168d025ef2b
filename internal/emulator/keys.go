package emulator

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// MaxRevocationDelay is the longest time that Reactor takes to make a revocation effective.
const MaxRevocationDelay = time.Minute

// Revocation is how Reactor revokes keys. The zero value is a revocation that takes effect immediately and does not affect tokens.
type Revocation struct {
	// Delay is the time, from 0 to MaxRevocationDelay, for which a revoked key still mints tokens.
	Delay time.Duration

	// RefuseTokens makes session calls answer 401 for tokens that were minted with a revoked key, once its revocation has taken
	// effect. Running sessions do not end. Reactor does not document which of the two it does.
	RefuseTokens bool
}

// Validate returns an error if Reactor does not behave this way.
func (r Revocation) Validate() error {
	if r.Delay < 0 || r.Delay > MaxRevocationDelay {
		return fmt.Errorf("delay %s is not between 0s and %s", r.Delay, MaxRevocationDelay)
	}
	return nil
}

// Fingerprint returns the first 16 hexadecimal digits of the key's SHA-256, which is the form of keys in the ledger, in
// faults and in the log. The fingerprint of a missing key is empty.
func Fingerprint(key string) string {
	if key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:8])
}

// apiKeys holds the known keys by fingerprint, each with the time when its revocation takes effect: zero if it is not revoked.
type apiKeys map[string]time.Time

// revoke revokes a key from that time on. It returns false if the key is not known, or is revoked already.
func (k apiKeys) revoke(fingerprint string, effective time.Time) bool {
	revoked, known := k[fingerprint]
	if !known || !revoked.IsZero() {
		return false
	}
	k[fingerprint] = effective
	return true
}

// valid reports whether a key is known and no revocation of it has taken effect.
func (k apiKeys) valid(fingerprint string, now time.Time) bool {
	revoked, known := k[fingerprint]
	return known && (revoked.IsZero() || now.Before(revoked))
}
