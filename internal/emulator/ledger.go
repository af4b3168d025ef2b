package emulator

import (
	"encoding/json"
	"slices"
	"time"
)

// The states of a session, as in responses. Only a closed session is over, and is not billed any more.
const (
	StateCreated  = "CREATED"  // in the response to POST /sessions
	StatePending  = "PENDING"  // it is not ready yet
	StateActive   = "ACTIVE"   // a client can connect to it
	StateInactive = "INACTIVE" // its last connection dropped, and a client can reconnect for a while
	StateClosed   = "CLOSED"   // it is over
)

// The reasons why a session ended.
const (
	EndDeleted    = "deleted"              // by DELETE
	EndDuration   = "max_session_duration" // the limit of the token that started it
	EndNotTakenUp = "not_taken_up"         // its connection dropped, and no client reconnected in time
	EndByReactor  = "ended_by_reactor"     // EndSession
)

// Call is a request to /tokens in the ledger.
type Call struct {
	// Time is when it arrived, on the emulator's clock.
	Time time.Time

	// Key is the fingerprint of the API key, known or not; empty if there was none.
	Key string

	// Status is the status of the response; 0 before it, and if the client gave up.
	Status int

	// Requested is the requested lifetime; 0 if the request had none.
	Requested time.Duration

	// Granted is the lifetime of the minted token; 0 if none was minted.
	Granted time.Duration

	// Models are the models of the requested scope; empty for a token without limits.
	Models []string

	// JTI is the id of the minted token; empty if none was minted.
	JTI string

	// Faulted reports whether a fault applied to it.
	Faulted bool
}

// Session is a session in the ledger. Its times are those of the emulator's Clock, without its skew.
type Session struct {
	// ID is its id, JTI that of the token that started it, and Key the fingerprint of the API key of that token.
	ID, JTI, Key string

	// Model is its model.
	Model string

	// State is one of the State constants.
	State string

	// Created is when it was started, and Ended when it ended; zero before.
	Created, Ended time.Time

	// EndReason is why it ended: one of the End constants; empty before.
	EndReason string

	// Billed is how long it was ready, idle or not, which is the time that Reactor bills.
	Billed time.Duration

	// Connections is the number of connections that were made to it.
	Connections int
}

// SessionCall is a request to the session API in the ledger.
type SessionCall struct {
	// Time is when it arrived, on the emulator's clock.
	Time time.Time

	// Route is the pattern that it matched, such as "GET /sessions/{id}".
	Route string

	// Status is the status of the response; 0 before it, and if the client gave up.
	Status int

	// Session is the session's id, also that of a new one; Model is its model, or the requested one.
	Session, Model string

	// JTI is the id of the token of the request, and Key the fingerprint of that token's API key; empty without a valid token.
	JTI, Key string

	// Faulted reports whether a fault applied to it.
	Faulted bool
}

// Ledger is a copy of the records of all calls and sessions.
type Ledger struct {
	// Calls are all requests to /tokens, in the order in which they arrived.
	Calls []Call

	// Sessions are all sessions, in the order in which they were started.
	Sessions []Session

	// SessionCalls are all requests to the session API, in the order in which they arrived.
	SessionCalls []SessionCall
}

// Open returns the sessions that have not ended.
func (l Ledger) Open() []Session {
	return slices.DeleteFunc(slices.Clone(l.Sessions), func(s Session) bool { return s.State == StateClosed })
}

// MostOpen is the maximum number of sessions that were open at the same time: of a model, or of all if it is empty.
func (l Ledger) MostOpen(model string) int {
	maximum := 0
	for _, at := range l.Sessions { // the number only grows when a session starts
		open := 0
		for _, s := range l.Sessions {
			started := !s.Created.After(at.Created)
			over := !s.Ended.IsZero() && !s.Ended.After(at.Created)
			if started && !over && (model == "" || s.Model == model) {
				open++
			}
		}
		maximum = max(maximum, open)
	}
	return maximum
}

// Billed is the billed time of all sessions.
func (l Ledger) Billed() time.Duration {
	var sum time.Duration
	for _, s := range l.Sessions {
		sum += s.Billed
	}
	return sum
}

// Mints is the number of minted tokens, including those whose response was cut.
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

// MarshalJSON writes the session with the billed time in seconds.
func (s Session) MarshalJSON() ([]byte, error) {
	return json.Marshal(sessionJSON{
		ID: s.ID, Key: s.Key, JTI: s.JTI, Model: s.Model, State: s.State, Created: s.Created, Ended: s.Ended, EndReason: s.EndReason,
		BilledSeconds: s.Billed.Seconds(), Connections: s.Connections,
	})
}

// sessionCallJSON is a session call on the control endpoint.
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

// MarshalJSON writes the records, and their counts.
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
