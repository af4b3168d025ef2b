package emulator

import (
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

// Ledger is a copy of what happened until it was taken.
type Ledger struct {
	// Calls are all requests to /tokens, in the order in which they came.
	Calls []Call
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

// MarshalJSON writes the calls and the counts.
func (l Ledger) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Mints      int            `json:"mints"`
		MintsByKey map[string]int `json:"mints_by_key"`
		Calls      []Call         `json:"calls"`
	}{l.Mints(), l.MintsByKey(), append([]Call{}, l.Calls...)})
}

// Ledger returns a copy of the ledger.
func (e *Emulator) Ledger() Ledger {
	e.mu.Lock()
	defer e.mu.Unlock()
	calls := slices.Clone(e.calls)
	for i := range calls {
		calls[i].Models = slices.Clone(calls[i].Models)
	}
	return Ledger{Calls: calls}
}

// arrive writes a call down and returns its place, for the status that is not known yet.
func (e *Emulator) arrive(call Call) int {
	e.calls = append(e.calls, call)
	return len(e.calls) - 1
}
