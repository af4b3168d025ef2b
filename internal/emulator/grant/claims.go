package grant

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// Claims are the claims of a token: sub (the account), iat, exp, jti, and the scope, which is empty for a token without limits.
type Claims struct {
	jwt.RegisteredClaims
	AuthorizationDetails []AuthorizationDetail `json:"authorization_details,omitempty"`
}

// Signer makes ids and signatures.
type Signer struct {
	random io.Reader
	key    []byte
}

// NewSigner returns a signer with a random key. It panics if the source of random bytes fails, and so do NewTokenID and NewSessionID:
// crypto/rand never fails, and the source of a test must not.
func NewSigner(random io.Reader) Signer {
	return Signer{random: random, key: read(random, 32)}
}

func read(random io.Reader, count int) []byte {
	bytes := make([]byte, count)
	if _, err := io.ReadFull(random, bytes); err != nil {
		panic(fmt.Sprintf("emulator: read random bytes: %v", err))
	}
	return bytes
}

// NewTokenID returns the id of a new token.
func (s Signer) NewTokenID() string { return hex.EncodeToString(read(s.random, 16)) }

// NewSessionID returns the id of a new session.
func (s Signer) NewSessionID() string {
	id, err := uuid.NewRandomFromReader(s.random)
	if err != nil {
		panic(fmt.Sprintf("emulator: read random bytes: %v", err))
	}
	return id.String()
}

// Sign returns the token with these claims.
func (s Signer) Sign(claims Claims) string {
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(s.key)
	if err != nil {
		panic(fmt.Sprintf("emulator: sign a token: %v", err)) // Claims always encode
	}
	return signed
}

// Verify returns the claims of a token that the signer signed and that has not expired. Its error does not quote the token.
func (s Signer) Verify(token string, now func() time.Time) (Claims, error) {
	var claims Claims
	_, err := jwt.ParseWithClaims(token, &claims,
		func(*jwt.Token) (any, error) { return s.key, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(now))
	if err != nil {
		return Claims{}, fmt.Errorf("verify a token: %w", err)
	}
	return claims, nil
}
