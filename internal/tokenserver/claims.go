package tokenserver

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// clockLeeway is by how much the clocks of this server and of the API server may differ. Only a token that is certainly over is refused here.
const clockLeeway = 5 * time.Minute

// tokenClaims is what a token of a service account says of itself. Whoever made the token up can have written it.
type tokenClaims struct {
	Subject  string     `json:"sub"`
	Audience audiences  `json:"aud"`
	Expiry   unixSecond `json:"exp"`
}

type unixSecond float64

// audiences is one audience, or a list of them.
type audiences []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audiences) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// unverifiedClaims reads the claims of a JWT, and does not check its signature. Its errors do not repeat the token.
func unverifiedClaims(raw string) (tokenClaims, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return tokenClaims{}, errors.New("the token is not a JWT")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return tokenClaims{}, errors.New("the claims of the token cannot be decoded")
	}
	var claims tokenClaims
	if json.Unmarshal(text, &claims) != nil {
		return tokenClaims{}, errors.New("the claims of the token cannot be read")
	}
	return claims, nil
}

// check refuses claims that no accepted token of a service account has. The issuer is not compared: while a cluster changes its issuer, it
// accepts tokens of the old one. The cluster checks everything again.
func (c *tokenClaims) check(audience string, now time.Time) error {
	switch {
	case !strings.HasPrefix(c.Subject, serviceAccountPrefix):
		return errors.New("the token is not of a service account")
	case len(c.Audience) > 0 && !slices.Contains(c.Audience, audience): // a token of an old kind names none
		return errors.New("the token is for another audience")
	case c.Expiry > 0 && now.Add(-clockLeeway).After(time.Unix(int64(c.Expiry), 0)):
		return errors.New("the token has expired")
	}
	return nil
}
