package emulator

import (
	"context"
	"encoding/json"
	"slices"
	"time"
)

// Call is a request to /tokens, as the ledger keeps it.
type Call struct {
	// Time is when it came, on the emulator's clock.
	Time time.Time

	// Key is the fingerprint of the API key, known or not; empty when there was none.
	Key string

	// Status is the status that was answered; 0 while there is none, which it stays if the client gave up.
	Status int

	// Requested is the lifetime that was asked for; 0 when it was left out.
	Requested time.Duration

	// Granted is the lifetime of the token that was minted; 0 when none was.
	Granted time.Duration

	// Models are those of the requested scope; empty for a token without limits.
	Models []string

	// JTI is the id of the token that was minted; empty when none was.
	JTI string

	// Faulted tells that a fault had its hand in it.
	Faulted bool
}

// Session is a session, as the ledger keeps it. Its times are those of the emulator's Clock, without its skew.
type Session struct {
	// ID is its id, JTI that of the token that started it, and Key the fingerprint of the API key of that token.
	ID, JTI, Key string

	// Model is the model that it runs.
	Model string

	// State is how it stands: one of the State constants.
	State string

	// Created is when it was started, and Ended when it was over; zero while it is not.
	Created, Ended time.Time

	// EndReason is why it ended: one of the End constants; empty while it has not.
	EndReason string

	// Billed is how long it was ready, idle or not: what it costs. Until it is ready, it costs nothing.
	Billed time.Duration

	// Connections is how many connections were made to it.
	Connections int
}

// SessionCall is a request about sessions, as the ledger keeps it.
type SessionCall struct {
	// Time is when it came, on the emulator's clock.
	Time time.Time

	// Route is the pattern that it matched, such as "GET /sessions/{id}".
	Route string

	// Status is the status that was answered; 0 while there is none, which it stays if the client gave up.
	Status int

	// Session is the session's id, that of a new one too; Model its model, or the one that was asked for.
	Session, Model string

	// JTI is the id of the token that it came with, and Key the fingerprint of that token's API key; empty without a valid token.
	JTI, Key string

	// Faulted tells that a fault had its hand in it.
	Faulted bool
}

// Ledger is a copy of what happened until it was taken.
type Ledger struct {
	// Calls are all requests to /tokens, in the order in which they came.
	Calls []Call

	// Sessions are all sessions, in the order in which they were started.
	Sessions []Session

	// SessionCalls are all requests about sessions, in the order in which they came.
	SessionCalls []SessionCall
}

// Open lists the sessions that live, and are billed.
func (l Ledger) Open() []Session {
	return slices.DeleteFunc(slices.Clone(l.Sessions), func(s Session) bool { return s.State == StateClosed })
}

// MostOpen is how many sessions of a model, or of all when it is empty, were open at one time at the most.
func (l Ledger) MostOpen(model string) int {
	most := 0
	for _, at := range l.Sessions { // it is reached when one begins
		open := 0
		for _, s := range l.Sessions {
			begun := !s.Created.After(at.Created)
			over := !s.Ended.IsZero() && !s.Ended.After(at.Created)
			if begun && !over && (model == "" || s.Model == model) {
				open++
			}
		}
		most = max(most, open)
	}
	return most
}

// Billed is what all sessions have cost in time.
func (l Ledger) Billed() time.Duration {
	var sum time.Duration
	for _, s := range l.Sessions {
		sum += s.Billed
	}
	return sum
}

// Mints is how many tokens were minted, also those whose answer was cut.
func (l Ledger) Mints() int {
	count := 0
	for _, mints := range l.MintsByKey() {
		count += mints
	}
	return count
}

// MintsByKey counts the tokens by the fingerprint of their key.
func (l Ledger) MintsByKey() map[string]int {
	counts := map[string]int{}
	for _, call := range l.Calls {
		if call.JTI != "" {
			counts[call.Key]++
		}
	}
	return counts
}

// CallsByKey counts the requests by the fingerprint of their key.
func (l Ledger) CallsByKey() map[string]int {
	counts := map[string]int{}
	for _, call := range l.Calls {
		counts[call.Key]++
	}
	return counts
}

// callJSON is a call on the control endpoint.
type callJSON struct {
	Time             time.Time `json:"time"`
	Key              string    `json:"key,omitempty"`
	Status           int       `json:"status,omitempty"`
	RequestedSeconds int64     `json:"requested_seconds,omitempty"`
	GrantedSeconds   int64     `json:"granted_seconds,omitempty"`
	Models           []string  `json:"models,omitempty"`
	JTI              string    `json:"jti,omitempty"`
	Faulted          bool      `json:"faulted,omitempty"`
}

// MarshalJSON writes the call with durations in whole seconds.
func (c Call) MarshalJSON() ([]byte, error) {
	return json.Marshal(callJSON{
		Time: c.Time, Key: c.Key, Status: c.Status, Models: c.Models, JTI: c.JTI, Faulted: c.Faulted,
		RequestedSeconds: int64(c.Requested / time.Second),
		GrantedSeconds:   int64(c.Granted / time.Second),
	})
}

// sessionJSON is a session on the control endpoint.
type sessionJSON struct {
	ID            string    `json:"id"`
	Key           string    `json:"key"`
	JTI           string    `json:"jti"`
	Model         string    `json:"model"`
	State         string    `json:"state"`
	Created       time.Time `json:"created"`
	Ended         time.Time `json:"ended,omitzero"`
	EndReason     string    `json:"end_reason,omitempty"`
	BilledSeconds float64   `json:"billed_seconds"`
	Connections   int       `json:"connections,omitempty"`
}

// MarshalJSON writes the session with what was billed in seconds.
func (s Session) MarshalJSON() ([]byte, error) {
	return json.Marshal(sessionJSON{
		ID: s.ID, Key: s.Key, JTI: s.JTI, Model: s.Model, State: s.State, Created: s.Created, Ended: s.Ended, EndReason: s.EndReason,
		BilledSeconds: s.Billed.Seconds(), Connections: s.Connections,
	})
}

// sessionCallJSON is a request about sessions on the control endpoint.
type sessionCallJSON struct {
	Time    time.Time `json:"time"`
	Route   string    `json:"route"`
	Status  int       `json:"status,omitempty"`
	Session string    `json:"session,omitempty"`
	Model   string    `json:"model,omitempty"`
	JTI     string    `json:"jti,omitempty"`
	Key     string    `json:"key,omitempty"`
	Faulted bool      `json:"faulted,omitempty"`
}

// MarshalJSON writes the call.
func (c SessionCall) MarshalJSON() ([]byte, error) { return json.Marshal(sessionCallJSON(c)) }

// MarshalJSON writes all that happened, and the counts.
func (l Ledger) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Mints        int            `json:"mints"`
		MintsByKey   map[string]int `json:"mints_by_key"`
		Calls        []Call         `json:"calls"`
		OpenSessions int            `json:"open_sessions"`
		MostOpen     int            `json:"most_open_sessions"`
		Billed       float64        `json:"billed_seconds"`
		Sessions     []Session      `json:"sessions"`
		SessionCalls []SessionCall  `json:"session_calls"`
	}{
		l.Mints(), l.MintsByKey(), append([]Call{}, l.Calls...),
		len(l.Open()), l.MostOpen(""), l.Billed().Seconds(), append([]Session{}, l.Sessions...), append([]SessionCall{}, l.SessionCalls...),
	})
}

// Ledger returns a copy of the ledger.
func (e *Emulator) Ledger() Ledger {
	e.mu.Lock()
	defer e.mu.Unlock()
	calls := slices.Clone(e.calls)
	for i := range calls {
		calls[i].Models = slices.Clone(calls[i].Models)
	}
	taken := Ledger{Calls: calls}
	now := e.clock.Now()
	for _, s := range e.sessions {
		s.settle(now)
		taken.Sessions = append(taken.Sessions, s.record(now))
	}
	slices.SortFunc(taken.Sessions, func(a, b Session) int { return a.Created.Compare(b.Created) })
	for _, made := range e.sessionCalls {
		taken.SessionCalls = append(taken.SessionCalls, *made)
	}
	return taken
}

// logSessionCall writes a line about a call.
func (e *Emulator) logSessionCall(ctx context.Context, made *SessionCall) {
	e.mu.Lock()
	call := *made
	e.mu.Unlock()
	e.log.InfoContext(ctx, "session call", "route", call.Route, "session", call.Session, "status", call.Status, "jti", call.JTI,
		"key", call.Key, "faulted", call.Faulted)
}

// arrive writes a call down and returns its place, for the status that is not known yet.
func (e *Emulator) arrive(call Call) int {
	e.calls = append(e.calls, call)
	return len(e.calls) - 1
}
