package main

import (
	"slices"
	"time"
)

// call is a request for a token, as the emulator's ledger has it.
type call struct {
	Time    time.Time `json:"time"`
	Status  int       `json:"status"`
	Granted int64     `json:"granted_seconds"`
	Models  []string  `json:"models"`
	JTI     string    `json:"jti"`
	Faulted bool      `json:"faulted"`
}

// window is a time in which something was so.
type window struct{ from, to time.Time }

// holds tells whether an instant lies in the window, or so much after it.
func (w window) holds(at time.Time, late time.Duration) bool {
	return !at.Before(w.from) && !at.After(w.to.Add(late))
}

func inAny(all []window, at time.Time, late time.Duration) bool {
	return slices.ContainsFunc(all, func(w window) bool { return w.holds(at, late) })
}

// cause is why a mint was beyond need. The empty one is none, and a failure of the operator's.
type cause string

// What a mint beyond need is allowed for.
const (
	byCrash  cause = "an operator was killed between mint and write"
	byRefuse cause = "an operator was killed, or lost its lease, that held it for a write which Kubernetes refused"
	byAnswer cause = "Reactor answered when nobody listened any more, or the answer was cut"
	bySilent cause = "Reactor answered on a connection that was blackholed meanwhile"
)

const (
	// writing is how long after a mint the write of it may be under way when the operator dies.
	writing = 5 * time.Second
	// answering is how long after it can answer again Reactor works through what was asked before; and what a client waits for an answer.
	answering = 15 * time.Second
	// inFlight bounds how long before or after its connection is blackholed a call may have reached Reactor whose answer is lost. Here such
	// a call takes milliseconds; this is for a busy machine.
	inFlight = 2 * time.Second
	// workers is how many tokens one operator mints at a time, by default.
	workers = 8
	// rounding is for times in whole seconds.
	rounding = 2 * time.Second
)

// earliestRenewal is the share of the lifetime after which a token may be renewed at the earliest: all but a third, and a tenth of jitter
// before that. See renewalTime in internal/controller/reactortoken.
func earliestRenewal(granted time.Duration) time.Duration { return granted * 17 / 30 }

// circumstances are what a mint or a session can be excused with. Error pages of the proxy are none: such a call mints nothing.
type circumstances struct {
	crashes    []time.Time // operators that ended otherwise than in order
	refused    []window    // Kubernetes took no writes
	mute       []window    // Reactor did not answer, or not whom it should
	blackholed []time.Time // the operators' connections to Reactor became silent
	died       ends        // programs that told of no session
}

// mintTally says what became of the tokens that were minted.
type mintTally struct {
	made     int
	needed   int // first tokens, and renewals that were due
	cleanUps int // tokens that ended a session
	beyond   map[cause]int
	bad      []call // beyond need, and not allowed
}

// allowed are the mints beyond need that have a cause.
func (t *mintTally) allowed() int {
	count := 0
	for _, some := range t.beyond {
		count += some
	}
	return count
}

// judgeMints goes through the ledger. Written says which Secret, by its UID, has held a token, by its id; used are the tokens that came
// with a call about a session.
func judgeMints(calls []call, written map[string]string, used map[string]bool, why circumstances) mintTally {
	tally := mintTally{beyond: map[cause]int{}}
	last := map[string]call{}   // by Secret
	lost := map[time.Time]int{} // by the crash, or the blackhole
	for _, c := range calls {
		if c.JTI == "" {
			continue
		}
		tally.made++
		secret, found := written[c.JTI]
		before, again := last[secret]
		switch {
		case !found && len(c.Models) == 0 && used[c.JTI]:
			tally.cleanUps++
		case !found:
			cause, at := why.ofLoss(c)
			if lost[at]++; !at.IsZero() && lost[at] > workers {
				cause = "" // no operator has so many in its hands
			}
			tally.add(c, cause)
		case again && c.Time.Before(before.Time.Add(earliestRenewal(time.Duration(before.Granted)*time.Second)-rounding)):
			tally.add(c, "")
		default:
			tally.needed++
		}
		if found {
			last[secret] = c
		}
	}
	return tally
}

func (t *mintTally) add(c call, why cause) {
	if why == "" {
		t.bad = append(t.bad, c)
		return
	}
	t.beyond[why]++
}

// ofLoss is why a token was never written to a Secret, and when the crash or the blackhole was that lost it, if one did.
//
// A blackhole excuses little, since it lasts: 1. A call reaches Reactor, which mints. 2. The connection becomes silent, and the answer is
// lost. 3. The operator calls again and again on that connection until it notices; these calls do not reach Reactor, which mints nothing.
// 4. It dials another connection, and the next token is one that was due. So only calls that were in flight are excused, as with a crash.
func (w circumstances) ofLoss(c call) (cause, time.Time) {
	if c.Faulted || inAny(w.mute, c.Time, answering) {
		return byAnswer, time.Time{}
	}
	for _, refused := range w.refused {
		held := window{refused.from.Add(-writing), refused.to.Add(writing)}
		died := func(crash time.Time) bool { return !crash.Before(c.Time) && held.holds(crash, writing) }
		if held.holds(c.Time, 0) && slices.ContainsFunc(w.crashes, died) {
			return byRefuse, time.Time{}
		}
	}
	for _, at := range w.blackholed {
		if c.Time.Sub(at).Abs() <= inFlight {
			return bySilent, at
		}
	}
	for _, crash := range w.crashes {
		if !crash.Before(c.Time) && !crash.After(c.Time.Add(writing)) {
			return byCrash, crash
		}
	}
	return "", time.Time{}
}
