package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/reactor-operator/reactor-operator/test/infra/stage"
)

// call is a request for a token, as the emulator's ledger has it.
type call struct {
	Time   time.Time `json:"time"`
	Key    string    `json:"key"`
	Status int       `json:"status"`
	Models []string  `json:"models"`
	JTI    string    `json:"jti"`
}

// reactorSession is a session of the emulator.
type reactorSession struct {
	JTI   string `json:"jti"`
	State string `json:"state"`
}

// ledger is what the emulator has seen.
type ledger struct {
	Mints        int              `json:"mints"`
	Calls        []call           `json:"calls"`
	OpenSessions int              `json:"open_sessions"`
	Sessions     []reactorSession `json:"sessions"`
}

func readLedger(ctx context.Context, s *stage.Stage) (ledger, error) {
	text, err := stage.Get(ctx, s.Reactor+"/_emulator/ledger")
	if err != nil {
		return ledger{}, fmt.Errorf("the emulator's ledger: %w", err)
	}
	seen := ledger{}
	return seen, json.Unmarshal(text, &seen)
}

// instants are when the calls that match came, in seconds after a beginning, sorted.
func (l *ledger) instants(since time.Time, matches func(call) bool) []float64 {
	var found []time.Time
	for _, c := range l.Calls {
		if matches(c) {
			found = append(found, c.Time)
		}
	}
	return seconds(found, since)
}

// ofModel matches the calls for a model.
func ofModel(model string) func(call) bool {
	return func(c call) bool { return slices.Contains(c.Models, model) }
}

func every(call) bool { return true }
