package grant

import (
	"errors"
	"slices"
	"strings"
)

// AuthorizationDetail is a part of a token's scope, in the form of the request and of the token's claims.
type AuthorizationDetail struct {
	Type        string      `json:"type"`
	Resources   Resources   `json:"resources"`
	Constraints Constraints `json:"constraints,omitzero"`
}

// Resources are what a token can be used for.
type Resources struct {
	Models   Models    `json:"models"`
	Sessions *Sessions `json:"sessions,omitempty"`
}

// Models names models exactly; there are no wildcards.
type Models struct {
	Match []string `json:"match"`
}

// Sessions names existing sessions that the token can be used for too.
type Sessions struct {
	Bind []string `json:"bind"`
}

// Constraints limit the sessions that a token starts. Nil is a limit that was not requested.
type Constraints struct {
	MaxSessions               *int64 `json:"max_sessions,omitempty"`
	MaxSessionDurationSeconds *int64 `json:"max_session_duration_seconds,omitempty"`
}

// Allows reports whether the part of the scope is for the model.
func (d AuthorizationDetail) Allows(model string) bool {
	return slices.Contains(d.Resources.Models.Match, model)
}

// Bound returns the ids of the sessions that the part of the scope is bound to.
func (d AuthorizationDetail) Bound() []string {
	if d.Resources.Sessions == nil {
		return nil
	}
	return d.Resources.Sessions.Bind
}

// defaultMaxSessions is the maximum number of sessions for a scope without max_sessions that is not bound to a session.
const defaultMaxSessions = 5

// maxSessions is the maximum number of sessions that this part of a scope can ever start, including those that it is bound to.
func (d AuthorizationDetail) maxSessions() int64 {
	switch bound := len(d.Bound()); {
	case d.Constraints.MaxSessions != nil:
		return *d.Constraints.MaxSessions
	case bound > 0:
		return int64(bound)
	default:
		return defaultMaxSessions
	}
}

// validate checks a requested scope. Whether the sessions exist that it is bound to is a question of the caller.
func validate(details []AuthorizationDetail) error {
	for _, detail := range details {
		if err := detail.validate(); err != nil {
			return err
		}
	}
	for _, detail := range details {
		if sessions := detail.Resources.Sessions; sessions != nil && len(sessions.Bind) == 0 {
			return errors.New("authorization_details: resources.sessions.bind must not be empty")
		}
	}
	return nil
}

func (d AuthorizationDetail) validate() error {
	match := d.Resources.Models.Match
	switch {
	case d.Type != "session":
		return errors.New("authorization_details: type must be session")
	case len(match) == 0:
		return errors.New("authorization_details: resources.models.match must name at least one model")
	case slices.ContainsFunc(match, func(name string) bool { return name == "" || strings.Contains(name, "*") }):
		return errors.New("authorization_details: resources.models.match must hold exact names, without wildcards")
	case !inRange(d.Constraints.MaxSessions, 1, 500):
		return errors.New("authorization_details: constraints.max_sessions must be between 1 and 500")
	case !inRange(d.Constraints.MaxSessionDurationSeconds, 1, 86400):
		return errors.New("authorization_details: constraints.max_session_duration_seconds must be between 1 and 86400")
	}
	return nil
}

// inRange reports whether a limit is nil or inside its range.
func inRange(limit *int64, lowest, highest int64) bool {
	return limit == nil || lowest <= *limit && *limit <= highest
}
