package tokenserver

import (
	"errors"
	"net/http"
	"strings"
)

// authenticator says who asks.
type authenticator interface {
	// inspect checks the credentials with what the server has in memory: it asks nobody, does not wait, and costs little. It reports whether
	// they are genuine, so that a client cannot make up any number of them. Genuine credentials may be refused all the same. Its error is
	// errNoCredentials or a *refusedError, where authenticate would return one too.
	inspect(request *http.Request) (genuine bool, err error)
	// authenticate returns the caller's name, which is never empty unless anybody may ask: the same for the same caller, and nobody
	// else's. Its error is errNoCredentials, a *refusedError, or a *cannotTellError.
	authenticate(request *http.Request) (string, error)
}

// errNoCredentials is the answer to who says nothing about himself.
var errNoCredentials = errors.New("the request carries no credentials")

// refusedError are credentials that are not accepted.
type refusedError struct{ why error }

func (r *refusedError) Error() string { return "the credentials are refused: " + r.why.Error() }
func (r *refusedError) Unwrap() error { return r.why }

// cannotTellError is why credentials could not be checked: whoever knows about them is not there.
type cannotTellError struct{ why error }

func (c *cannotTellError) Error() string {
	return "the credentials cannot be checked: " + c.why.Error()
}
func (c *cannotTellError) Unwrap() error { return c.why }

// longestBearer bounds a bearer token, in bytes.
const longestBearer = 8 << 10

// bearerOf returns the token of the header Authorization. Two such headers are none: it is not for us to choose.
func bearerOf(request *http.Request) (string, error) {
	values := request.Header.Values("Authorization")
	if len(values) == 0 {
		return "", errNoCredentials
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	switch {
	case len(values) > 1:
		return "", &refusedError{errors.New("there are several Authorization headers")}
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return "", &refusedError{errors.New("the Authorization header is not a bearer token")}
	case len(token) > longestBearer:
		return "", &refusedError{errors.New("the bearer token is too long")}
	}
	return token, nil
}

// anybody lets everybody ask, and knows nobody.
type anybody struct{}

func (anybody) inspect(*http.Request) (bool, error) { return false, nil }

func (anybody) authenticate(*http.Request) (string, error) { return "", nil }
