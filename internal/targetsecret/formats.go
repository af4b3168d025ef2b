package targetsecret

import (
	"encoding/json"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// The keys that every target Secret has. Their names are those of Reactor's API.
const (
	JWTKey       = "jwt"
	ExpiresAtKey = "expires_at"
)

// renderKeys is the data of the Secret: the two keys that it always has and the additional ones, each in one of a fixed list of formats. A template
// language is missing on purpose: its functions caused vulnerabilities in similar operators (GHSA-77v3 and others).
func renderKeys(jwt reactor.Secret, expiresAt time.Time, additional []v1alpha1.AdditionalKey) map[string][]byte {
	data := map[string][]byte{
		JWTKey:       render(v1alpha1.FormatJWT, jwt, expiresAt),
		ExpiresAtKey: render(v1alpha1.FormatExpiresAt, jwt, expiresAt),
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
	default: // the API server admits no other; an object of a newer version must not lose its token
		return []byte(jwt.Reveal())
	}
}

// renderJSON is the response of Reactor to POST /tokens.
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

// JWT is the token in a Secret.
func JWT(secret *corev1.Secret) reactor.Secret { return reactor.Secret(secret.Data[JWTKey]) }
