package reactortoken

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// The keys that every target Secret has: the names that Reactor's own API uses.
const (
	jwtKey       = "jwt"
	expiresAtKey = "expires_at"
)

// renderKeys is the Secret's data: the two keys that are always there and the additional ones, each in one of a fixed
// list of forms. There is no template language on purpose: template functions are a hole that peers keep closing
// (GHSA-77v3 and others).
func renderKeys(jwt reactor.Secret, expiresAt time.Time, additional []v1alpha1.AdditionalKey) map[string][]byte {
	data := map[string][]byte{
		jwtKey:       render(v1alpha1.FormatJWT, jwt, expiresAt),
		expiresAtKey: render(v1alpha1.FormatExpiresAt, jwt, expiresAt),
	}
	for _, key := range additional {
		data[key.Name] = render(key.Format, jwt, expiresAt)
	}
	return data
}

func render(format v1alpha1.KeyFormat, jwt reactor.Secret, expiresAt time.Time) []byte {
	expires := strconv.FormatInt(expiresAt.Unix(), 10)
	switch format {
	case v1alpha1.FormatJSON:
		return renderJSON(jwt, expiresAt)
	case v1alpha1.FormatEnv:
		return []byte("REACTOR_JWT=" + jwt.Reveal() + "\nREACTOR_JWT_EXPIRES_AT=" + expires + "\n")
	case v1alpha1.FormatAuthorizationHeader:
		return []byte("Bearer " + jwt.Reveal())
	case v1alpha1.FormatExpiresAt:
		return []byte(expires)
	case v1alpha1.FormatJWT:
		return []byte(jwt.Reveal())
	default: // the API server admits no other; a newer one's object must not lose its token
		return []byte(jwt.Reveal())
	}
}

// renderJSON is Reactor's own answer to POST /tokens.
func renderJSON(jwt reactor.Secret, expiresAt time.Time) []byte {
	text, err := json.Marshal(struct {
		JWT       string `json:"jwt"`
		ExpiresAt int64  `json:"expires_at"`
	}{jwt.Reveal(), expiresAt.Unix()})
	if err != nil {
		panic("a string and an integer always marshal: " + err.Error())
	}
	return text
}
