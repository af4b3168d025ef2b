package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestEachGoalThatIsMissedFails(t *testing.T) {
	one := []session{{ID: "a"}}
	for name, missed := range map[string]findings{
		"expired":    {total: lookResult{expired: 1}},
		"flawed":     {total: lookResult{flawed: 1}},
		"gone":       {total: lookResult{missing: 1}},
		"a mint":     {mints: mintTally{bad: make([]call, 1)}},
		"a double":   {sessions: sessionTally{doubles: make([][2]session, 1)}},
		"left open":  {sessions: sessionTally{open: one}},
		"ended late": {sessions: sessionTally{late: one}},
		"a stray":    {sessions: sessionTally{strays: one}},
		"not gone":   {left: 1},
		"a leak":     {leaks: []string{"operator-001.log"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := report(&out, settings{}, "no node", nil, missed)
			if !errors.Is(err, errMissed) || strings.Count(out.String(), "MISSED") != 1 {
				t.Errorf("%v:\n%s", err, out.String())
			}
		})
	}
}

func TestARoundThatDoesNotEndWellMissesAGoal(t *testing.T) {
	var out strings.Builder
	err := report(&out, settings{}, "no node", []row{{}, {stuck: "3 tokens are not Ready"}}, findings{})
	if !errors.Is(err, errMissed) || errors.Is(err, errBusy) || strings.Count(out.String(), "MISSED") != 1 {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

func TestABusyMachineProvesNothing(t *testing.T) {
	for slowest, busy := range map[time.Duration]bool{tooSlow: false, tooSlow + 1: true} {
		var out strings.Builder
		err := report(&out, settings{}, "no node", []row{{pulse: pulse{3, slowest}}, {pulse: pulse{4, time.Millisecond}}}, findings{})
		if errors.Is(err, errBusy) != busy || errors.Is(err, errMissed) || !strings.Contains(out.String(), "within 2000 ms (the slowest of 7)") {
			t.Errorf("%s: %v\n%s", slowest, err, out.String())
		}
	}
}

func TestWhatIsAllowedIsToldAndMissesNoGoal(t *testing.T) {
	lost := call{Time: after(3), Status: 200, Granted: 240, Models: []string{"m"}, JTI: "lost"}
	f := findings{
		total:    lookResult{reads: 7, least: time.Minute},
		ledger:   ledger{Calls: []call{lost}},
		why:      circumstances{crashes: []time.Time{after(4)}},
		ended:    map[string]int{"killed": 1},
		sessions: sessionTally{orphans: 1, orphansOpen: 1},
	}
	f.mints = judgeMints(f.ledger.Calls, nil, nil, f.why)
	var out strings.Builder
	rows := []row{{number: 1, what: "the operator is killed", notes: []string{"1 kill"}, lasted: window{after(0), after(60)}, again: 1500 * time.Millisecond, reads: f.total}}
	if err := report(&out, settings{tokens: 1, seed: 42}, "no node", rows, f); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		"seed 42; no node.", "| 1 | the operator is killed (1 kill) | 0 s | 1.5 s | 7, 0 | 60 s | 1, 1 | 0, 0 |",
		"1  beyond need, allowed: an operator was killed between mint and write", "1  killed", "1 are open until max_session_duration", "met     0 reads of an expired token",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}
