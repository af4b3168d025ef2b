package authn

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// serviceAccountPrefix is the start of the subject, and of the user name, of every service account. Its namespace and its name follow.
const serviceAccountPrefix = "system:serviceaccount:"

// clockLeeway is the maximum difference between the clocks of this server and of the API server. Only a token that has certainly expired is
// rejected here.
const clockLeeway = 5 * time.Minute

// unverifiedClaims are the claims of a service account's token, before its signature is checked. A client can have made them up.
type unverifiedClaims struct {
	Subject  string    `json:"sub"`
	Audience audiences `json:"aud"`
	Expiry   float64   `json:"exp"` // Unix seconds
}

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

// parseUnverified reads the claims of a JWT and does not check its signature. Its errors do not repeat the token.
func parseUnverified(raw string) (unverifiedClaims, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return unverifiedClaims{}, errors.New("the token is not a JWT")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return unverifiedClaims{}, errors.New("the claims of the token cannot be decoded")
	}
	var claims unverifiedClaims
	if json.Unmarshal(text, &claims) != nil {
		return unverifiedClaims{}, errors.New("the claims of the token cannot be read")
	}
	return claims, nil
}

// check rejects claims that no accepted token of a service account has. It does not compare the issuer: while a cluster changes its issuer, it
// accepts tokens of the previous one. The cluster checks everything again.
func (c unverifiedClaims) check(audience string, now time.Time) error {
	switch {
	case !strings.HasPrefix(c.Subject, serviceAccountPrefix):
		return errors.New("the token does not belong to a service account")
	case len(c.Audience) > 0 && !slices.Contains(c.Audience, audience): // a legacy token has no audience
		return errors.New("the token is for another audience")
	case c.Expiry > 0 && now.Add(-clockLeeway).After(time.Unix(int64(c.Expiry), 0)):
		return errors.New("the token has expired")
	}
	return nil
}
