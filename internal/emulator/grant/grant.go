// Package grant answers what a token of the emulator allows: how a scope is requested (request.go, scope.go), how the token holds it (claims.go),
// and which sessions the token can be used for (grant.go). It knows neither sessions nor HTTP.
package grant

import (
	"slices"
	"time"
)

// Grant is what a token allows. The zero value is that of a missing token.
type Grant struct {
	JTI     string                // the id of the token
	Key     string                // the fingerprint of the API key that minted it
	Details []AuthorizationDetail // the scope; empty for a token without limits
}

// Denial is the reason why a token cannot be used to start a session. The zero value is none.
type Denial struct{ Code, Message string }

// Covers reports whether the token can be used for a session. A token without a scope can be used for every session of the account. A token with
// a scope can be used for those that it started or is bound to.
func (g Grant) Covers(session, startedBy string) bool {
	if len(g.Details) == 0 || startedBy == g.JTI {
		return true
	}
	return slices.ContainsFunc(g.Details, func(detail AuthorizationDetail) bool { return slices.Contains(detail.Bound(), session) })
}

// Start reports whether the token can be used to start a session of the model, given the models of the sessions that it has started before. It
// returns the maximum duration of the session, or 0 for no limit.
func (g Grant) Start(model string, started []string) (time.Duration, Denial) {
	if len(g.Details) == 0 {
		return 0, Denial{}
	}
	at := slices.IndexFunc(g.Details, func(detail AuthorizationDetail) bool { return detail.Allows(model) })
	if at < 0 {
		return 0, Denial{"forbidden", "the token is for other models"}
	}
	detail := g.Details[at]
	count := int64(len(detail.Bound()))
	for _, other := range started {
		if detail.Allows(other) {
			count++
		}
	}
	if count >= detail.maxSessions() {
		return 0, Denial{"max_sessions_reached", "the token has started all the sessions that it may"}
	}
	if detail.Constraints.MaxSessionDurationSeconds == nil {
		return 0, Denial{}
	}
	return time.Duration(*detail.Constraints.MaxSessionDurationSeconds) * time.Second, Denial{}
}
