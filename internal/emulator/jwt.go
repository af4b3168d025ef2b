package emulator

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// Claims are what a token of the emulator says: sub (the account), iat, exp, jti, and its scope, which is empty for a
// token without limits.
type Claims struct {
	jwt.RegisteredClaims
	AuthorizationDetails []AuthorizationDetail `json:"authorization_details,omitempty"`
}

// signer makes token ids and signatures. Its key lives as long as the emulator.
type signer struct {
	random io.Reader
	key    []byte
}

func newSigner(random io.Reader) signer {
	s := signer{random: random}
	s.key = s.bytes(32)
	return s
}

// bytes reads from the source. It panics if that fails: crypto/rand never does, and a test's source must not.
func (s signer) bytes(count int) []byte {
	read := make([]byte, count)
	if _, err := io.ReadFull(s.random, read); err != nil {
		panic(fmt.Sprintf("emulator: read random bytes: %v", err))
	}
	return read
}

// newID returns a token id.
func (s signer) newID() string { return hex.EncodeToString(s.bytes(16)) }

// newUUID returns a session's id.
func (s signer) newUUID() string {
	id, err := uuid.NewRandomFromReader(s.random)
	if err != nil {
		panic(fmt.Sprintf("emulator: read random bytes: %v", err))
	}
	return id.String()
}

// sign returns the token with these claims.
func (s signer) sign(claims Claims) string {
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(s.key)
	if err != nil {
		panic(fmt.Sprintf("emulator: sign a token: %v", err)) // the claims are ours, and encode
	}
	return signed
}

// Verify returns the claims of a token that this emulator signed and that has not expired on the emulator's clock. Its
// error does not quote the token.
func (e *Emulator) Verify(token string) (Claims, error) {
	var claims Claims
	_, err := jwt.ParseWithClaims(token, &claims,
		func(*jwt.Token) (any, error) { return e.signer.key, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return e.Now() }))
	if err != nil {
		return Claims{}, fmt.Errorf("verify a token: %w", err)
	}
	return claims, nil
}

// IssuedJWTs returns every token that was ever minted, so that a test can search for leaks. It is not served over HTTP.
func (e *Emulator) IssuedJWTs() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.issued...)
}
