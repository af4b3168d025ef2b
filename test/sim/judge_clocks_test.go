package sim

import "time"

// measurement is what a run of the operator knows of Reactor's clock: the skew that it measured with its newest token.
type measurement struct {
	first       time.Time     // when the run measured for the first time
	skew, ahead time.Duration // of Reactor's clock and of the host's, at the newest measurement
	took        time.Duration // the call: the skew is exact to half of it
}

// measured records that a run of the operator measured the skew of Reactor's clock.
func (j *judge) measured(m *mint) {
	known, ok := j.accounts.measured[m.run.number]
	if !ok {
		known.first = time.Now()
	}
	known.skew, known.ahead, known.took = j.world.skewNow(), j.world.clocks.aheadOf(m.run.host), m.answered.Sub(m.asked)
	j.accounts.measured[m.run.number] = known
}

// clockErrors returns how far the time that a run of the operator takes for Reactor's is ahead of Reactor's clock, for a token that was
// minted in such circumstances: at least and at most. Each skew is exact to half of the call that it was measured with.
//
// A token that the run itself received has two clocks: the wall clock, corrected by the skew at its receipt, and the monotonic clock, which
// stands still while the host is suspended. The operator acts on the later one. For a token of another run it has the newest skew that it
// measured itself. Before its first measurement it has the wall clock, and the skew that the other run stored, and acts on the later one.
// A sleep that was computed before the first measurement may last until the longest timer ends.
func (j *judge) clockErrors(minted circumstances, r *run) (least, most time.Duration) {
	ahead, skew := j.world.clocks.aheadOf(r.host), j.world.skewNow()
	stored := ahead - minted.ahead - (skew - minted.skew)
	if r.number == minted.run {
		own := max(stored, minted.skew-skew-(j.world.clocks.suspendedFor()-minted.slept))
		return own, own + minted.took/2
	}
	unmeasured := max(stored, ahead-skew)
	known, ok := j.accounts.measured[r.number]
	if !ok {
		return unmeasured, unmeasured
	}
	newest := ahead - known.ahead - (skew - known.skew)
	if time.Since(known.first) < longestTimer {
		return min(unmeasured, newest-known.took/2), max(unmeasured, newest+known.took/2)
	}
	return newest - known.took/2, newest + known.took/2
}

// isBlind reports whether the operator cannot know that a token has expired: each clock that it has is behind Reactor's.
func (j *judge) isBlind(minted circumstances) bool {
	if minted.run == 0 {
		return false
	}
	leader := j.world.leader.Load()
	if leader == nil {
		return true
	}
	least, _ := j.clockErrors(minted, leader)
	return least < -2*time.Second
}

// isAhead reports whether the operator may take a valid token for an expired one, and renew it early: one of the clocks that it has is
// ahead of Reactor's.
func (j *judge) isAhead(minted circumstances) bool {
	leader := j.world.leader.Load()
	if leader == nil {
		return true
	}
	_, most := j.clockErrors(minted, leader)
	return most > time.Second
}
