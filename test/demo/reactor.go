package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// localReactor is the emulator's control endpoint.
type localReactor struct{ url string }

// ledgerPath is where the local Reactor API tells its ledger.
const ledgerPath = "/_emulator/ledger"

// ledger is what the local Reactor API was asked, and what it answered.
type ledger struct {
	Mints        int      `json:"mints"`
	Calls        []call   `json:"calls"`
	OpenSessions int      `json:"open_sessions"`
	Sessions     []billed `json:"sessions"`
}

// billed is a session, which costs money until it has ended.
type billed struct {
	ID            string  `json:"id"`
	State         string  `json:"state"`
	EndReason     string  `json:"end_reason,omitempty"`
	BilledSeconds float64 `json:"billed_seconds"`
}

// open returns the id of the session that is billed; empty when none is, or more than one.
func (l ledger) open() string {
	var ids []string
	for _, session := range l.Sessions {
		if session.EndReason == "" {
			ids = append(ids, session.ID)
		}
	}
	if len(ids) != 1 {
		return ""
	}
	return ids[0]
}

// call is a request for a token; the ledger tells more of it than the demo needs.
type call struct {
	Key    string `json:"key"` // a fingerprint
	Status int    `json:"status"`
	JTI    string `json:"jti,omitempty"`
}

// of returns the call that a token came from.
func (l ledger) of(tokenID string) (call, bool) {
	i := slices.IndexFunc(l.Calls, func(c call) bool { return tokenID != "" && c.JTI == tokenID })
	if i < 0 {
		return call{}, false
	}
	return l.Calls[i], true
}

// refused returns the calls that were answered with 401.
func (l ledger) refused() []call {
	return slices.DeleteFunc(slices.Clone(l.Calls), func(c call) bool { return c.Status != http.StatusUnauthorized })
}

func (r localReactor) ledger(ctx context.Context) (ledger, error) {
	answer, err := r.ask(ctx, http.MethodGet, ledgerPath, "")
	if err != nil {
		return ledger{}, err
	}
	var read ledger
	return read, json.Unmarshal(answer, &read)
}

// ask sends a request to the control endpoint and returns the answer's body.
func (r localReactor) ask(ctx context.Context, method, path, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, r.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s %s: %s: %s", method, path, response.Status, bytes.TrimSpace(answer))
	}
	return answer, err
}
