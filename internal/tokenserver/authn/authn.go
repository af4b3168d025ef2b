// Package authn identifies the caller of the token server: the subject of an ID token (oidc.go), a service account of the cluster
// (serviceaccounts.go), a user that an authenticating proxy names (proxy.go), or an anonymous client. choose.go chooses by the flags.
//
// Credentials are checked in two steps. Inspect uses only what is in memory, so that a flood of made-up credentials costs little. Authenticate
// may call the issuer or the cluster. budget.go limits these calls.
package authn

import (
	"errors"
	"net/http"
	"strings"
)

// Authenticator identifies the caller of a request.
type Authenticator interface {
	// Inspect checks the credentials with what is in memory. It makes no call and does not wait. It reports whether the credentials are verified:
	// then a client cannot make up any number of them. Authenticate may still reject verified credentials. The error is ErrNoCredentials or a
	// *RejectedError, for credentials that Authenticate would reject too.
	Inspect(request *http.Request) (verified bool, err error)
	// Authenticate returns the name of the caller: always the same for one caller, and different for different callers. Only with Anonymous is it
	// empty. The error is ErrNoCredentials, a *RejectedError or an *UnavailableError.
	Authenticate(request *http.Request) (string, error)
}

// ErrNoCredentials is the error for a request without credentials.
var ErrNoCredentials = errors.New("the request has no credentials")

// RejectedError reports credentials that are not valid, or not allowed.
type RejectedError struct{ cause error }

// Error returns the cause.
func (r *RejectedError) Error() string { return "the credentials are rejected: " + r.cause.Error() }

// Unwrap returns the cause.
func (r *RejectedError) Unwrap() error { return r.cause }

// UnavailableError reports credentials that could not be checked, because the issuer or the cluster did not answer.
type UnavailableError struct{ cause error }

// Error returns the cause.
func (u *UnavailableError) Error() string {
	return "the credentials cannot be checked: " + u.cause.Error()
}

// Unwrap returns the cause.
func (u *UnavailableError) Unwrap() error { return u.cause }

// maxBearerBytes limits the length of a bearer token.
const maxBearerBytes = 8 << 10

// bearerToken returns the token of the header Authorization. It rejects a request with two such headers, because either could be the valid one.
func bearerToken(request *http.Request) (string, error) {
	values := request.Header.Values("Authorization")
	if len(values) == 0 {
		return "", ErrNoCredentials
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	switch {
	case len(values) > 1:
		return "", &RejectedError{errors.New("there are several Authorization headers")}
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return "", &RejectedError{errors.New("the Authorization header is not a bearer token")}
	case len(token) > maxBearerBytes:
		return "", &RejectedError{errors.New("the bearer token is too long")}
	}
	return token, nil
}

// Anonymous accepts every request, and names no caller.
type Anonymous struct{}

// Inspect implements Authenticator.
func (Anonymous) Inspect(*http.Request) (bool, error) { return false, nil }

// Authenticate implements Authenticator.
func (Anonymous) Authenticate(*http.Request) (string, error) { return "", nil }
