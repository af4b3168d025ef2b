package sim

import (
	"encoding/json"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// How the operator retries what was refused. These are the documented times. How much later an attempt may come is stated with each check.
const (
	firstProbe   = 30 * time.Second // of a key that Reactor answered with 401; it doubles with the time, up to longestProbe
	longestProbe = 15 * time.Minute
	leastProbe   = 5 * time.Second // a probe comes earlier than firstProbe for tokens that expire soon, and no earlier than this

	refusalRetry     = 15 * time.Minute // of a request that Reactor itself refused
	lateRefusalRetry = time.Hour        // when it was refused for refusalsLate
	refusalsLate     = 6 * time.Hour
	refusalsShare    = 10 // of --mint-qps is for such retries
)

// refusedKey is a key that Reactor answered with 401, and that it has not accepted since, as one run of the operator knows.
type refusedKey struct {
	first, last time.Time      // of these answers
	writes      map[string]int // of the status of each token meanwhile, without an attempt of its own
}

// gap returns how long after the last 401 the key is tried again: 30 seconds, then 1, 2, 4, 8 and 15 minutes. Attempts that tokens close
// to their expiry bring forward do not make it longer.
func (k *refusedKey) gap() time.Duration { return min(k.last.Sub(k.first)+firstProbe, longestProbe) }

// refusal is what Reactor itself refused, in a row of attempts of the same request.
type refusal struct {
	first, last time.Time // zero: nothing
	key         string    // fingerprint
	// What was left of the token's life at the last one, by the clocks of the operator: at least and at most.
	shortest, longest time.Duration
}

// retry returns when the request is tried again, however long its token lives.
func (r refusal) retry() time.Time {
	if r.last.Sub(r.first) >= refusalsLate {
		return r.last.Add(lateRefusalRetry)
	}
	return r.last.Add(refusalRetry)
}

// isReactors reports whether a body is one of Reactor's for an error: a JSON object with a string error. Any other body is one of something
// between the operator and Reactor.
func isReactors(body []byte) bool {
	var shape struct{ Error *string }
	return json.Unmarshal(body, &shape) == nil && shape.Error != nil
}

// isRefusal reports whether Reactor itself refused the request.
func (m *mint) isRefusal() bool { return m.status >= 400 && m.hasRefusingStatus() && m.reactors }

// isPage reports whether something between the operator and Reactor answered with a status that would be a refusal.
func (m *mint) isPage() bool { return m.hasRefusingStatus() && !m.reactors }

func (m *mint) hasRefusingStatus() bool {
	return m.status >= 300 && m.status < 500 && m.status != 401 && m.status != 408 && m.status != 429
}

// keyRefused records a 401.
func (j *judge) keyRefused(m *mint) {
	of := hold{m.run.number, m.key}
	if j.accounts.refused[of] == nil {
		j.accounts.refused[of] = &refusedKey{first: time.Now(), writes: map[string]int{}}
	}
	key := j.accounts.refused[of]
	key.last = time.Now()
	delete(j.accounts.accepted, of)
	j.weather.strike(time.Now(), probes, "401", key.gap()+time.Minute)
}

// keyUndecided records that the key was tried, and the answer does not say whether it is refused: Reactor is away. What waits for the key reports that,
// and later that the key is refused again.
func (j *judge) keyUndecided(m *mint) {
	if refused := j.accounts.refused[hold{m.run.number, m.key}]; refused != nil {
		clear(refused.writes)
	}
}

// keyAccepted records that Reactor accepted a key: what waited for it continues.
func (j *judge) keyAccepted(m *mint) {
	of := hold{m.run.number, m.key}
	delete(j.accounts.refused, of)
	j.accounts.accepted[of] = time.Now()
}

// keyOfToken is the key of a ReactorToken as the leader knows it.
func (j *judge) keyOfToken(token *v1alpha1.ReactorToken) hold {
	of := hold{key: emulator.Fingerprint(j.world.keyIn(token.Spec.APIKeySecretRef.Name))}
	if leader := j.world.leader.Load(); leader != nil {
		of.run = leader.number
	}
	return of
}

// waitsForKey reports whether a token may still wait, because Reactor answered its key with 401 a while ago. The key is tried again when
// its gap is over, and no later than a quarter of what the token has left. A token that has expired needs no earlier attempt.
func (j *judge) waitsForKey(token *v1alpha1.ReactorToken, secret *corev1.Secret) bool {
	key := j.accounts.refused[j.keyOfToken(token)]
	if key == nil {
		return false
	}
	a, next := j.accounts.of(token.Name), key.last.Add(key.gap())
	if held := heldFor(token, secret); !held.IsZero() && !a.ownRenewBefore && !j.circumstancesOf(token.Name, secret).edited {
		expires := time.Now().Add(held.Sub(j.world.reactor.Now()))
		due := expires.Add(-a.expiry.Sub(a.issued) / 3)
		if due.Before(key.last) {
			due = key.last
		}
		if !expires.After(due) {
			return time.Now().Before(next.Add(afterChange))
		}
		if quarter := due.Add(max(expires.Sub(due)/4, leastProbe)); quarter.Before(next) {
			next = quarter
		}
	}
	return time.Now().Before(next.Add(afterChange))
}

// checkAttempt judges when a token is requested again after a refusal.
func (j *judge) checkAttempt(m *mint) {
	key := j.accounts.refused[hold{m.run.number, m.key}]
	// A call that starts at the time of the answer may have been admitted before it.
	if key != nil && m.asked.After(key.last) && m.asked.Before(key.last.Add(leastProbe)) && !m.unscoped() {
		j.broken(ruleLimits, "the key %s is tried %s after Reactor refused it", m.key, m.asked.Sub(key.last))
	}
	name, ours := nameOfMint(m)
	if !ours {
		return
	}
	a := j.accounts.of(name)
	defer func() { a.tried = m.asked }()
	if a.refusal.key != m.key || !j.weather.wasFine(a.refusal.last, m.asked, everything, ofToken(name)) {
		return
	}
	least := refusalRetry * 2 / 3
	if a.refusal.longest > 0 { // and again before the token expires
		least = min(least, max(a.refusal.shortest/8, leastProbe))
	}
	if m.asked.Sub(a.refusal.last) < least {
		j.broken(ruleLimits, "a token of %s is requested %s after Reactor refused the same request", name, m.asked.Sub(a.refusal.last))
	}
	const burst = 3
	slow := j.accounts.slow[m.run.number]
	if slow == nil {
		slow = rate.NewLimiter(rate.Limit(mintQPS)/refusalsShare, burst)
		j.accounts.slow[m.run.number] = slow
	}
	if !slow.AllowN(m.asked, 1) {
		j.broken(ruleLimits, "requests that Reactor refused take more than 1/%d of the rate", refusalsShare)
	}
}

// waitsForRetry reports whether a token may still wait, because Reactor itself refused the same request a while ago. A retry that does not
// come in time breaks the rule, even while Reactor would refuse it again.
func (j *judge) waitsForRetry(token *v1alpha1.ReactorToken, secret *corev1.Secret) bool {
	a, now := j.accounts.of(token.Name), time.Now()
	if a.refusal.last.IsZero() || a.refusal.key != j.keyOfToken(token).key {
		return false
	}
	const slack = time.Minute // the lowest priority, and a tenth of the rate
	if a.tried.After(a.refusal.last) || !j.weather.wasFine(a.refusal.last, now, everything, ofToken(token.Name), ofKey(token.Spec.APIKeySecretRef.Name), limited) {
		return now.Before(a.refusal.retry().Add(slack))
	}
	_, problem := j.validIn(secret)
	held := heldFor(token, secret)
	expired := now.Add(held.Sub(j.world.reactor.Now()))
	switch {
	case problem == "":
	case now.After(a.refusal.retry().Add(slack)):
		j.broken(ruleRetried, "Reactor refused %s %s ago, and it is not requested again: %s", token.Name, now.Sub(a.refusal.last), describe(token))
	case !held.IsZero() && expired.Before(now) && min(expired.Sub(a.refusal.last), a.refusal.shortest) > 2*slack:
		j.broken(ruleRetried, "Reactor refused %s %s before its token expired, and it was not requested again before: %s",
			token.Name, expired.Sub(a.refusal.last), describe(token))
	}
	return true
}

// checkReasons judges the reasons that the conditions of a token give, after the answers that Reactor, or something in between, gave.
func (j *judge) checkReasons(token *v1alpha1.ReactorToken) {
	if token.Spec.Suspended() || !j.weather.isFine(time.Now(), everything, ofToken(token.Name), ofKey(token.Spec.APIKeySecretRef.Name)) {
		return
	}
	const late = 10 * time.Second
	a, key := j.accounts.of(token.Name), j.keyOfToken(token)
	for _, c := range token.Status.Conditions {
		if c.Status == metav1.ConditionTrue && c.Type != v1alpha1.ConditionStalled {
			continue
		}
		accepted := j.accounts.accepted[key]
		switch {
		case c.Reason == v1alpha1.ReasonRequestRefused && !a.page.IsZero() && time.Since(a.page) > late:
			j.broken(ruleTruth, "%s reports that Reactor refused it, and something else answered: %s", token.Name, describe(token))
		case c.Reason == v1alpha1.ReasonAPIKeyRefused && !accepted.IsZero() && time.Since(accepted) > late && j.weather.isFine(time.Now(), atReactor):
			j.broken(ruleTruth, "%s reports that Reactor refused its key, and Reactor accepted it %s ago: %s", token.Name, time.Since(accepted), describe(token))
		}
	}
}

// checkRefusedWrite judges a write of the status of a token whose key is refused. Only the token that tries the key has news; each other one
// reports that the key is refused, later that its token expired, and when it is to try the key because the token that did so is suspended or deleted.
func (j *judge) checkRefusedWrite(token *v1alpha1.ReactorToken) {
	key, a := j.accounts.refused[j.keyOfToken(token)], j.accounts.of(token.Name)
	if key == nil || !isToken(token.Name) || !j.weather.isFine(time.Now(), everything, ofToken(token.Name)) {
		return
	}
	if a.tried.After(a.reported) {
		a.reported = time.Now()
		return
	}
	const most = 3
	if key.writes[token.Name]++; key.writes[token.Name] == most+1 {
		j.broken(ruleRest, "the status of %s is written more than %d times while its key is refused and another token tries it: %s", token.Name, most, describe(token))
	}
}

// checkTimes judges that for each key that is refused or limited, one of the tokens that wait for it reports the time of the next try.
func (j *judge) checkTimes(tokens []v1alpha1.ReactorToken) {
	waiting, reported := map[hold]string{}, map[hold]bool{}
	for i := range tokens {
		token := &tokens[i]
		key := j.keyOfToken(token)
		reported[key] = reported[key] || token.Status.NextAttemptTime != nil
		renewed := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionRenewed)
		if renewed != nil && !token.Spec.Suspended() && (renewed.Reason == v1alpha1.ReasonAPIKeyRefused || renewed.Reason == v1alpha1.ReasonRateLimited) {
			waiting[key] = token.Name
		}
	}
	for key, name := range waiting {
		if reported[key] || !j.weather.isFine(time.Now(), everything) {
			delete(j.accounts.silent, key)
			continue
		}
		since, ok := j.accounts.silent[key]
		if !ok {
			j.accounts.silent[key] = time.Now()
		} else if time.Since(since) > longestTimer {
			j.broken(ruleTruth, "%s waits for its key, and no token reports until when", name)
		}
	}
	for key := range j.accounts.silent {
		if waiting[key] == "" {
			delete(j.accounts.silent, key)
		}
	}
}
