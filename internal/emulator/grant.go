package emulator

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// grant is what a token may do.
type grant struct {
	jti     string
	key     string // fingerprint of the API key that it was minted with
	details []AuthorizationDetail
}

// defaultMaxSessions is how many sessions a scoped token may start that names no number, and no session that it is bound to.
const defaultMaxSessions = 5

// grantOf reads the token that a request brings. Missing, unknown, expired and refused tokens are one problem.
func (e *Emulator) grantOf(r *http.Request) (grant, problem) {
	unauthorized := problem{http.StatusUnauthorized, "unauthorized", "the token is missing, not known, or no longer valid"}
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return grant{}, unauthorized
	}
	claims, err := e.Verify(token)
	if err != nil {
		return grant{}, unauthorized
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	key := e.mintedWith[claims.ID]
	if e.revocation.RefuseTokens && !e.accepts(key) {
		return grant{}, unauthorized
	}
	return grant{jti: claims.ID, key: key, details: claims.AuthorizationDetails}, problem{}
}

// covers reports whether the token may act on a session: without a scope on every one of the account, else on those that it
// started or was bound to.
func (g grant) covers(s *session) bool {
	if len(g.details) == 0 || s.jti == g.jti {
		return true
	}
	return slices.ContainsFunc(g.details, func(detail AuthorizationDetail) bool { return slices.Contains(detail.bound(), s.id) })
}

// bound lists the sessions that a part of a scope is bound to.
func (d AuthorizationDetail) bound() []string {
	if d.Resources.Sessions == nil {
		return nil
	}
	return d.Resources.Sessions.Bind
}

// maxSessions is how many sessions this part of a scope may ever start, those that it is bound to included.
func (d AuthorizationDetail) maxSessions() int64 {
	switch bound := len(d.bound()); {
	case d.Constraints.MaxSessions != nil:
		return *d.Constraints.MaxSessions
	case bound > 0:
		return int64(bound)
	default:
		return defaultMaxSessions
	}
}

// mayStart says how long a session of the model may last that the token starts, 0 for ever, or why it may not start one.
func (e *Emulator) mayStart(g grant, model string) (time.Duration, problem) {
	if len(g.details) == 0 {
		return 0, problem{}
	}
	at := slices.IndexFunc(g.details, func(detail AuthorizationDetail) bool {
		return slices.Contains(detail.Resources.Models.Match, model)
	})
	if at < 0 {
		return 0, problem{http.StatusForbidden, "forbidden", "the token is for other models"}
	}
	detail := g.details[at]
	started := int64(len(detail.bound()))
	for _, s := range e.sessions {
		if s.jti == g.jti && slices.Contains(detail.Resources.Models.Match, s.model) {
			started++
		}
	}
	if started >= detail.maxSessions() {
		return 0, problem{http.StatusForbidden, "max_sessions_reached", "the token has started all the sessions that it may"}
	}
	if detail.Constraints.MaxSessionDurationSeconds == nil {
		return 0, problem{}
	}
	return time.Duration(*detail.Constraints.MaxSessionDurationSeconds) * time.Second, problem{}
}

// mayBind is why a token may not be bound to the sessions that its scope names.
func (e *Emulator) mayBind(details []AuthorizationDetail) problem {
	now := e.clock.Now()
	for _, detail := range details {
		for _, id := range detail.bound() {
			s, known := e.sessions[id]
			if known {
				s.settle(now)
			}
			if !known || !s.open() || !slices.Contains(detail.Resources.Models.Match, s.model) {
				return problem{http.StatusForbidden, "forbidden", "a bound session is closed, not yours, or of another model"}
			}
		}
	}
	return problem{}
}
