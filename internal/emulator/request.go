package emulator

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AuthorizationDetail is a part of a token's scope, as it stands in the request and in the token's claims.
type AuthorizationDetail struct {
	Type        string      `json:"type"`
	Resources   Resources   `json:"resources"`
	Constraints Constraints `json:"constraints,omitzero"`
}

// Resources are what a token may act on.
type Resources struct {
	Models   Models    `json:"models"`
	Sessions *Sessions `json:"sessions,omitempty"`
}

// Models names models exactly; there are no wildcards.
type Models struct {
	Match []string `json:"match"`
}

// Sessions names existing sessions that the token is to act on too.
type Sessions struct {
	Bind []string `json:"bind"`
}

// Constraints bound what a token may start. Nil is a bound that was not asked for.
type Constraints struct {
	MaxSessions               *int64 `json:"max_sessions,omitempty"`
	MaxSessionDurationSeconds *int64 `json:"max_session_duration_seconds,omitempty"`
}

// tokenRequest is a body of POST /tokens that was understood.
type tokenRequest struct {
	lifetime time.Duration // 0 when it was left out
	details  []AuthorizationDetail
}

// models returns all models of the request's scope.
func (r tokenRequest) models() []string {
	var names []string
	for _, detail := range r.details {
		names = append(names, detail.Resources.Models.Match...)
	}
	return names
}

// problem is a refusal. The zero value is none.
type problem struct {
	status  int
	code    string
	message string
}

func badRequest(message string) problem {
	return problem{http.StatusBadRequest, "invalid_request", message}
}

func notFound(message string) problem {
	return problem{http.StatusNotFound, "not_found", message}
}

// parseTokenRequest reads a body. On a problem it still returns what it understood, for the ledger and for faults.
func parseTokenRequest(body []byte) (tokenRequest, problem) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || isNull(body) {
		return tokenRequest{}, problem{}
	}
	var raw struct {
		ExpiresAfter         json.RawMessage       `json:"expires_after"`
		AuthorizationDetails []AuthorizationDetail `json:"authorization_details"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return tokenRequest{}, badRequest("the body is not a JSON object of the known form")
	}
	request := tokenRequest{details: raw.AuthorizationDetails}
	var ok bool
	if request.lifetime, ok = parseExpiresAfter(raw.ExpiresAfter); !ok {
		return request, badRequest("expires_after must be a positive integer of seconds")
	}
	if raw.AuthorizationDetails != nil && len(raw.AuthorizationDetails) == 0 {
		return request, badRequest("authorization_details must not be empty")
	}
	for _, check := range []func(AuthorizationDetail) problem{checkDetail, checkBind} {
		for _, detail := range request.details {
			if found := check(detail); found != (problem{}) {
				return request, found
			}
		}
	}
	return request, problem{}
}

func isNull(raw []byte) bool { return bytes.Equal(raw, []byte("null")) }

// longestWish keeps a lifetime inside time.Duration; every ceiling is below it.
const longestWish = int64(100 * 365 * 24 * time.Hour / time.Second)

// parseExpiresAfter reads a JSON integer above 0, however large. Absent and null are 0.
func parseExpiresAfter(raw json.RawMessage) (time.Duration, bool) {
	if len(raw) == 0 || isNull(raw) {
		return 0, true
	}
	digits := string(raw)
	if strings.Trim(digits, "0123456789") != "" { // a sign, a fraction, an exponent, or not a number
		return 0, false
	}
	seconds, err := strconv.ParseInt(digits, 10, 64)
	if err != nil { // too large for int64
		seconds = longestWish
	}
	return time.Duration(min(seconds, longestWish)) * time.Second, seconds > 0
}

// checkDetail applies the rules for a scope.
func checkDetail(detail AuthorizationDetail) problem {
	match := detail.Resources.Models.Match
	switch {
	case detail.Type != "session":
		return badRequest("authorization_details: type must be session")
	case len(match) == 0:
		return badRequest("authorization_details: resources.models.match must name at least one model")
	case slices.ContainsFunc(match, func(name string) bool { return name == "" || strings.Contains(name, "*") }):
		return badRequest("authorization_details: resources.models.match must hold exact names, without wildcards")
	case !within(detail.Constraints.MaxSessions, 1, 500):
		return badRequest("authorization_details: constraints.max_sessions must be between 1 and 500")
	case !within(detail.Constraints.MaxSessionDurationSeconds, 1, 86400):
		return badRequest("authorization_details: constraints.max_session_duration_seconds must be between 1 and 86400")
	}
	return problem{}
}

// within tells whether a bound is absent or inside its range.
func within(bound *int64, least, most int64) bool {
	return bound == nil || least <= *bound && *bound <= most
}

// checkBind refuses an empty list. Whether the sessions that it names exist is another question: see mayBind.
func checkBind(detail AuthorizationDetail) problem {
	if sessions := detail.Resources.Sessions; sessions != nil && len(sessions.Bind) == 0 {
		return badRequest("authorization_details: resources.sessions.bind must not be empty")
	}
	return problem{}
}
