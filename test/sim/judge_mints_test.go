package sim

import (
	"slices"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"

	"github.com/reactor-operator/reactor-operator/internal/emulator/grant"
)

// accounts are what the judge knows of the mints.
type accounts struct {
	tokens map[string]*account
	minted map[string]circumstances // by the id of the token
	holds  map[hold]time.Time

	refused  map[hold]*refusedKey
	accepted map[hold]time.Time    // when Reactor last accepted a key that it has not refused since
	silent   map[hold]time.Time    // since when tokens wait for a key and none reports until when
	slow     map[int]*rate.Limiter // of retries of what Reactor refused, by the run of the operator
	measured map[int]measurement   // by the run of the operator
}

// hold is a key, as one run of the operator knows it.
type hold struct {
	run int
	key string
}

// circumstances are those in which a token was minted, and what became of it.
type circumstances struct {
	key         string        // its fingerprint
	run         int           // of the operator; 0 for a token that was not minted
	skew, ahead time.Duration // of Reactor's clock, and of the operator's
	slept       time.Duration // how long hosts had been suspended by then
	took        time.Duration // the call
	edited      bool          // somebody edited the token, or what is recorded of it
}

// account is that of one ReactorToken.
type account struct {
	causes         int                   // for mints that are no renewals, not used yet
	circumstances                        // of the last token
	issued, expiry time.Time             // of that
	ownRenewBefore bool                  // its renewals are due by spec.renewBefore
	failed         bool                  // its last attempt
	refusal        refusal               // of the same request by Reactor itself
	page           time.Time             // when something else answered its last attempt; zero: Reactor did, or nothing
	tried          time.Time             // its last attempt
	reported       time.Time             // when its status was written after an attempt, while its key was refused
	due            []time.Time           // its renewals
	budgets        map[int]*rate.Limiter // of its other mints, by the run of the operator
	asked          []time.Time           // when it was given causes, in the last hour
}

func newAccounts() accounts {
	return accounts{tokens: map[string]*account{}, minted: map[string]circumstances{}, holds: map[hold]time.Time{},
		refused: map[hold]*refusedKey{}, accepted: map[hold]time.Time{}, silent: map[hold]time.Time{}, slow: map[int]*rate.Limiter{}, measured: map[int]measurement{},
	}
}

func (a *accounts) of(name string) *account {
	if a.tokens[name] == nil {
		a.tokens[name] = &account{}
	}
	return a.tokens[name]
}

// begin opens the account of a ReactorToken that was created.
func (j *judge) begin(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.accounts.tokens[name] = &account{causes: j.accounts.of(name).causes} // what may cost all tokens one counts for a new one too
}

// cause notes that these tokens may be minted once more, beyond their renewals.
func (j *judge) cause(why string, names ...string) { j.causeFor(why, true, names) }

// causeWithout notes causes that change nothing of what is asked for.
func (j *judge) causeWithout(why string, names ...string) { j.causeFor(why, false, names) }

// causeFor notes causes. changes tells that something else is asked for than before, which ends the time of what Reactor refused.
func (j *judge) causeFor(why string, changes bool, names []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	for _, name := range names {
		a := j.accounts.of(name)
		a.causes++
		if changes {
			a.refusal, a.page = refusal{}, time.Time{}
		}
		grace := afterChange
		if a.asked = append(since(a.asked, now.Add(-40*time.Minute)), now); len(a.asked) > mintBudget-2 { // it may be spent
			grace += 40 * time.Minute
		}
		j.weather.strike(now, ofToken(name), why, grace)
	}
}

// since are the times that are not before another.
func since(times []time.Time, begin time.Time) []time.Time {
	for len(times) > 0 && times[0].Before(begin) {
		times = times[1:]
	}
	return times
}

// causeForAll notes something that may cost every token one mint.
func (j *judge) causeForAll(why string) {
	j.causeFor(why, false, slices.Concat(tokenNames, crowdNames))
}

// asks judges a request for a token.
func (j *judge) asks(m *mint) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if until := j.accounts.holds[hold{m.run.number, m.key}]; m.asked.Before(until) && !m.unscoped() {
		j.broken(ruleLimits, "the key %s is used %s before Reactor allows it again", m.key, until.Sub(m.asked))
	}
	j.checkAttempt(m)
	name, ours := nameOfMint(m)
	if !ours {
		return
	}
	if a := j.accounts.of(name); a.run > 0 {
		least, most := j.clockErrors(a.circumstances, m.run)
		m.early, m.late = max(most, 0), max(-least, 0)
	}
	if j.world.isSuspended(name) && j.weather.isFine(time.Now(), everything, ofToken(name)) {
		j.broken(ruleMints, "a token of %s is asked for, which is suspended", name)
	}
}

// nameOfMint is the ReactorToken that a token was asked for, among those that people made.
func nameOfMint(m *mint) (string, bool) {
	if len(m.models) != 1 {
		return "", false
	}
	name, ok := nameOf(m.models[0])
	return name, ok && isToken(name)
}

// unscoped reports whether the request is for the clean-up after a session: those are no ReactorToken's, and few.
func (m *mint) unscoped() bool { return len(m.models) == 0 }

// answered judges an answer.
func (j *judge) answered(m *mint) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if m.status == 429 && m.retryAfter > 0 && !m.unscoped() {
		j.accounts.holds[hold{m.run.number, m.key}] = m.answered.Add(m.retryAfter - time.Second)
	}
	claims, err := j.world.reactor.Verify(m.jwt)
	usable := m.usable && err == nil && claims.ExpiresAt.Sub(j.world.reactor.Now()) >= leastLife
	if !m.unscoped() {
		j.learn(m, usable)
	}
	name, ours := nameOfMint(m)
	if !ours {
		return
	}
	j.accounts.of(name).answered(m, j.world.reactor.Now())
	if !usable {
		j.accounts.of(name).failed = true
		return
	}
	j.counts.Mints++
	j.accounts.minted[claims.ID] = circumstances{
		key: m.key, run: m.run.number, skew: j.world.skewNow(), ahead: j.world.clocks.aheadOf(m.run.host), slept: j.world.clocks.suspendedFor(),
		took: m.answered.Sub(m.asked),
	}
	j.minted(name, claims, m.early)
}

// learn records what an answer says of a key, and of Reactor's clock.
func (j *judge) learn(m *mint, usable bool) {
	switch {
	case m.status == 401:
		j.keyRefused(m)
	case m.isRefusal():
		j.keyAccepted(m)
	case usable:
		j.keyAccepted(m)
		j.measured(m)
	default:
		j.keyUndecided(m)
	}
}

// answered records what an answer says of the request. now is the time by Reactor's clock.
func (a *account) answered(m *mint, now time.Time) {
	a.page = time.Time{}
	if m.isPage() {
		a.page = time.Now()
	}
	if !m.isRefusal() {
		a.refusal = refusal{}
		return
	}
	if a.refusal.key != m.key {
		a.refusal = refusal{first: time.Now(), key: m.key}
	}
	left := a.expiry.Sub(now)
	a.refusal.last, a.refusal.shortest, a.refusal.longest = time.Now(), left-m.early, left+m.late
}

// leastLife is what a token must have left on arrival, or it is none.
const leastLife = 12 * time.Second

// minted judges a mint: it is a renewal that is due, or it has a cause. Where a clock of the operator is ahead of Reactor's, a renewal is due
// early by that.
func (j *judge) minted(name string, claims grant.Claims, early time.Duration) {
	a := j.accounts.of(name)
	before := *a
	a.issued, a.expiry, a.failed = claims.IssuedAt.Time, claims.ExpiresAt.Time, false
	a.circumstances = j.accounts.minted[claims.ID]
	if before.isDue(a.issued.Add(early + before.took/2)) { // when the token was issued is known to half of its call
		a.due = append(a.due, time.Now())
		j.checkSpread(name)
		return
	}
	if a.causes--; a.causes < 0 {
		a.causes = 0
		j.broken(ruleMints, "a token of %s was minted %s after the one before, which has %s to live", name, a.issued.Sub(before.issued), before.expiry.Sub(a.issued))
	}
	j.checkBudget(name, a, before)
}

// isDue reports whether the time of a renewal has come: the last third of the token's life, and a tenth of it before for the jitter; with
// a renewBefore of its own any time from a quarter of its life on.
func (a *account) isDue(now time.Time) bool {
	if a.expiry.IsZero() {
		return false
	}
	granted := a.expiry.Sub(a.issued)
	earliest := a.issued.Add(max(granted/4, 5*time.Second) - 2*time.Second)
	if !a.ownRenewBefore {
		earliest = a.expiry.Add(-granted/3 - granted/10 - 2*time.Second)
	}
	return !now.Before(earliest)
}

// Beyond renewals, an object may be minted so often at once, and once more every mintRefill, in each run of the operator. A pass pays as it
// begins, and the API server may be slow then: the answer comes up to slowPass later.
const (
	mintBudget = 10
	mintRefill = 3 * time.Minute
	slowPass   = 20 * time.Second
)

// checkBudget judges a mint that is no renewal. before is the account as it was. Once more what has just failed has been paid for, and a
// clock that jumps may fill the budget.
func (j *judge) checkBudget(name string, a *account, before account) {
	if a.budgets == nil || a.ahead != before.ahead {
		a.budgets = map[int]*rate.Limiter{}
	}
	if a.budgets[a.run] == nil {
		a.budgets[a.run] = rate.NewLimiter(rate.Every(mintRefill), mintBudget)
	}
	if before.failed {
		return
	}
	if budget, now := a.budgets[a.run], time.Now(); budget.TokensAt(now.Add(slowPass)) < 1 {
		j.broken(ruleMints, "a token of %s was minted beyond its budget", name)
	} else {
		budget.ReserveN(now, 1)
	}
}

// checkSpread judges a crowd that was created together: its renewals do not stay together.
func (j *judge) checkSpread(name string) {
	const cycles = 2
	mine := j.accounts.of(name).due
	if !isCrowd(name) || len(mine) != cycles {
		return
	}
	together := 0
	for _, other := range crowdNames {
		if due := j.accounts.of(other).due; len(due) >= cycles && mine[cycles-1].Sub(due[cycles-1]).Abs() < 2*time.Second {
			together++
		}
	}
	// What was out of order before the first of the two renewals does not matter: it is between them that a crowd has to part.
	if together > len(crowdNames)/2 && j.weather.wasFine(mine[0], time.Now(), everything, atReactor, probes, ofKey(keySecrets[0])) {
		j.broken(ruleSpread, "%d of %d tokens are renewed at the same time", together, len(crowdNames))
	}
}

// settle takes the causes away that turned out to need no mint.
func (a *account) settle() { a.causes = 0 }

// circumstancesOf are those of the token that the Secret of a ReactorToken holds, or else of the one that was minted last.
func (j *judge) circumstancesOf(name string, secret *corev1.Secret) circumstances {
	if claims, ok := claimsIn(secret); ok {
		if written, ok := j.accounts.minted[claims.ID]; ok {
			return written
		}
	}
	return j.accounts.of(name).circumstances
}

// ownRenewal notes that the renewals of a ReactorToken are due by its own renewBefore from now on.
func (j *judge) ownRenewal(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.accounts.of(name).ownRenewBefore = true
}

// edited notes that somebody edits the token of a ReactorToken in its Secret, or what is recorded of it there: it counts as none.
func (j *judge) edited(name string, secret *corev1.Secret) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.accounts.of(name).edited = true
	if claims, ok := claimsIn(secret); ok {
		written := j.accounts.minted[claims.ID]
		written.edited = true
		j.accounts.minted[claims.ID] = written
	}
}
