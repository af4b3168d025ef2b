package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// goal is something that was promised.
type goal struct {
	what string
	got  int
}

// goals are what has to be 0.
func goals(rows []row, f findings) []goal {
	stuck := 0
	for _, r := range rows {
		if r.stuck != "" {
			stuck++
		}
	}
	return []goal{
		{fmt.Sprintf("faults after which not all was well again within %s", settleTimeout), stuck},
		{"reads of an expired token", f.total.expired},
		{"reads of something else than the token", f.total.flawed},
		{"reads of a Secret that was gone", f.total.missing},
		{"mints beyond need that no fault explains", len(f.mints.bad)},
		{fmt.Sprintf("ReactorSessions that are not gone %s after they were deleted", settleTimeout), f.left},
		{"two sessions of one ReactorSession at one time", len(f.sessions.doubles)},
		{"sessions left open that somebody could have ended", len(f.sessions.open)},
		{fmt.Sprintf("sessions that were open more than %s after the end of their program was told", endBound), len(f.sessions.late)},
		{"sessions that nobody heard of, though Reactor answered", len(f.sessions.strays)},
		{"logs of the operator with a credential in them", len(f.leaks)},
	}
}

// report prints what was found, and returns errMissed if a goal was missed.
func report(out io.Writer, s settings, kubelet string, rows []row, f findings) error {
	fmt.Fprintf(out, "\n%d ReactorTokens of %s, %d ReactorSessions in flight, %d rounds, seed %d; %s.\n\n",
		s.tokens, s.lifetime, s.sessions, len(rows), s.seed, kubelet)
	printRows(out, rows, f)
	printMints(out, f)
	printSessions(out, f)
	return printGoals(out, rows, f)
}

// printRows has a row for each round. Mints beyond need are told by what allows them; the causes stand below.
func printRows(out io.Writer, rows []row, f findings) {
	fmt.Fprintln(out, "| | what went wrong | for | all Ready after | reads, bad of them | least life left | mints, beyond need | sessions started, ended |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		calls := f.ledger.during(r.lasted)
		made := judgeMints(calls, f.written, f.ledger.used(), f.why)
		started, ended := f.ledger.startedIn(r.lasted)
		fmt.Fprintf(out, "| %d | %s (%s) | %.0f s | %.1f s | %d, %d | %.0f s | %d, %d | %d, %d |\n", r.number, r.what, strings.Join(r.notes, "; "),
			r.hit.to.Sub(r.hit.from).Seconds(), r.again.Seconds(), r.reads.reads, r.reads.bad(), r.reads.least.Seconds(),
			made.made, made.allowed()+len(made.bad), started, ended)
	}
}

func printMints(out io.Writer, f findings) {
	fmt.Fprintf(out, "\nOperators ended %d times:\n", len(f.why.crashes))
	for _, how := range slices.Sorted(maps.Keys(f.ended)) {
		fmt.Fprintf(out, "  %5d  %s\n", f.ended[how], how)
	}
	m := f.mints
	fmt.Fprintf(out, "\nTokens minted: %d\n  %5d  needed: first ones, and renewals that were due\n  %5d  needed to end sessions\n", m.made, m.needed, m.cleanUps)
	for _, why := range slices.Sorted(maps.Keys(m.beyond)) {
		fmt.Fprintf(out, "  %5d  beyond need, allowed: %s\n", m.beyond[why], why)
	}
	fmt.Fprintf(out, "  %5d  beyond need, and nothing explains them\n", len(m.bad))
	for _, c := range first(m.bad) {
		fmt.Fprintf(out, "         %s %v %s\n", c.Time.Format(time.TimeOnly), c.Models, c.JTI)
	}
}

func printSessions(out io.Writer, f findings) {
	s := f.sessions
	fmt.Fprintf(out, "\nReactor sessions: %d started, %d ended; the longest from the news of its program's end to its own end took %.1f s\n", s.started, s.ended, s.latest.Seconds())
	fmt.Fprintf(out, "  %5d  started when nobody listened any more, of which %d are open until max_session_duration\n", s.orphans, s.orphansOpen)
	for _, double := range first(s.doubles) {
		fmt.Fprintf(out, "         two at one time: %s %s and %s\n", double[0].Model, double[0].ID, double[1].ID)
	}
	for _, some := range [][]session{s.open, s.late, s.strays} {
		for _, one := range first(some) {
			fmt.Fprintf(out, "         open, late or stray: %s %s, %s to %s\n", one.Model, one.ID, one.Created.Format(time.TimeOnly), one.Ended.Format(time.TimeOnly))
		}
	}
	for _, bad := range first(f.spells) {
		fmt.Fprintf(out, "  bad reads of %s, %s to %s: %s\n", bad.name, bad.from.Format(time.TimeOnly), bad.to.Format(time.TimeOnly), bad.why)
	}
}

// printGoals tells of each goal whether it was met.
func printGoals(out io.Writer, rows []row, f findings) error {
	fmt.Fprintf(out, "\nOf %d reads by all readers, and of all that Reactor was asked:\n", f.total.reads)
	var err error
	for _, g := range goals(rows, f) {
		verdict := "met   "
		if g.got > 0 {
			verdict, err = "MISSED", errMissed
		}
		fmt.Fprintf(out, "  %s  %d %s\n", verdict, g.got, g.what)
	}
	quiet := pulse{}
	for _, r := range rows {
		quiet.add(r.pulse)
	}
	fmt.Fprintf(out, "\nWhile nothing was wrong, Kubernetes took a write within %d ms (the slowest of %d).\n", quiet.slowest.Milliseconds(), quiet.writes)
	if quiet.slowest > tooSlow {
		fmt.Fprintln(out, "That is a machine which is too busy for this size: what is judged above is the machine as much as the operator.")
		err = errors.Join(err, errBusy)
	}
	return err
}

// first are a few of many.
func first[T any](all []T) []T { return all[:min(len(all), 10)] }
