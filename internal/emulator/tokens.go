package emulator

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/reactor-operator/reactor-operator/internal/emulator/grant"
)

const (
	apiKeyHeader = "Reactor-API-Key"

	// maxRequestBytes is the maximum size of the body of every request.
	maxRequestBytes = 1 << 20
)

// serveTokens is POST /tokens: it reads the request, records it, applies a fault, and answers.
func (e *Emulator) serveTokens(w http.ResponseWriter, r *http.Request) {
	key := Fingerprint(r.Header.Get(apiKeyHeader))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	_, large := errors.AsType[*http.MaxBytesError](err)
	if err != nil && !large {
		panic(http.ErrAbortHandler) // the client has disconnected
	}
	var request grant.Request
	var invalid *reply
	if large {
		invalid = new(tooLarge())
	} else if request, err = grant.ParseRequest(body); err != nil {
		invalid = new(badRequest(err.Error()))
	}
	index, fault := e.recordCall(key, request)
	if !fault.wait(r.Context()) {
		e.logCall(r.Context(), index)
		panic(http.ErrAbortHandler)
	}
	answer := e.answerCall(index, key, request, invalid, fault)
	e.logCall(r.Context(), index)
	now := e.Now()
	fault.change(answer, now).write(w, now)
}

// recordCall adds a call to the ledger, and returns its index there and the fault that applies to it.
func (e *Emulator) recordCall(key string, request grant.Request) (int, Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	models := request.Models()
	fault, faulted := e.nextFault(tokensRoute, key, models)
	e.calls = append(e.calls, Call{Time: e.now(), Key: key, Requested: request.Lifetime, Models: models, Faulted: faulted})
	return len(e.calls) - 1, fault
}

// answerCall returns the response to a call, and records it. invalid is the response to a body that is not valid, or nil.
func (e *Emulator) answerCall(index int, key string, request grant.Request, invalid *reply, fault Fault) reply {
	e.mu.Lock()
	defer e.mu.Unlock()
	call := &e.calls[index]
	var answer reply
	switch {
	case fault.replaces():
		answer = fault.reply()
	case !e.keys.valid(key, e.clock.Now()):
		answer = replyError(http.StatusUnauthorized, "invalid_api_key", "the API key is missing or not known")
	case invalid != nil:
		answer = *invalid
	case !e.canBind(request.Details):
		answer = replyError(http.StatusForbidden, "forbidden", "a bound session is closed, not yours, or of another model")
	default:
		claims := e.newClaims(request, e.lifetime(request, fault))
		call.JTI, call.Granted = claims.ID, claims.ExpiresAt.Sub(claims.IssuedAt.Time)
		answer = e.issue(key, claims, fault)
	}
	call.Status = answer.status
	return answer
}

// canBind reports whether the sessions of a requested scope are open, and of its models.
func (e *Emulator) canBind(details []grant.AuthorizationDetail) bool {
	now := e.clock.Now()
	for _, detail := range details {
		for _, id := range detail.Bound() {
			s, known := e.sessions[id]
			if !known {
				return false
			}
			if s.settle(now); !s.open() || !detail.Allows(s.model) {
				return false
			}
		}
	}
	return true
}

// lifetime returns the granted lifetime: the requested one or the default, but at most the ceiling. Reactor shortens a longer one without an
// error.
func (e *Emulator) lifetime(request grant.Request, fault Fault) time.Duration {
	switch {
	case fault.ExpiresIn != nil:
		return fault.ExpiresIn.Truncate(time.Second)
	case request.Lifetime > 0:
		return min(request.Lifetime, e.ceiling)
	case e.defaultLifetime > 0:
		return min(e.defaultLifetime, e.ceiling)
	case len(request.Details) > 0:
		return min(DefaultScopedLifetime, e.ceiling)
	}
	return min(DefaultCeiling, e.ceiling)
}

func (e *Emulator) newClaims(request grant.Request, lifetime time.Duration) grant.Claims {
	issued := e.now().Truncate(time.Second)
	return grant.Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   e.account,
			ID:        e.signer.NewTokenID(),
			IssuedAt:  jwt.NewNumericDate(issued),
			ExpiresAt: jwt.NewNumericDate(issued.Add(lifetime)),
		},
		AuthorizationDetails: request.Details,
	}
}

// issue signs a token, records it, and returns the response with it.
func (e *Emulator) issue(key string, claims grant.Claims, fault Fault) reply {
	token := e.signer.Sign(claims)
	e.issued = append(e.issued, token)
	e.keyOfToken[claims.ID] = key
	members := map[string]any{"jwt": token, "expires_at": claims.ExpiresAt.Unix()}
	if fault.OmitJWT {
		delete(members, "jwt")
	}
	if fault.OmitExpiresAt {
		delete(members, "expires_at")
	}
	return replyOK(members)
}

// logCall logs a call. It omits the names of models, which are arbitrary text of the client.
func (e *Emulator) logCall(ctx context.Context, index int) {
	e.mu.Lock()
	call := e.calls[index]
	e.mu.Unlock()
	e.log.InfoContext(ctx, "token exchange", "key", call.Key, "status", call.Status, "requested", call.Requested.String(),
		"granted", call.Granted.String(), "models", len(call.Models), "jti", call.JTI, "faulted", call.Faulted)
}
