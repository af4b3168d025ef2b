package emulator

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

// Quotas limit the sessions of the account, all keys together. 0 sets no limit.
type Quotas struct {
	// Concurrent is how many sessions may be open at once.
	Concurrent int

	// StartsPerMinute is how many sessions may be started in a minute.
	StartsPerMinute int

	// StartBurst is how many of those may be started at once after a quiet time; 1 when 0.
	StartBurst int
}

// DefaultQuotas are those of an ordinary account: 5 sessions at once, 10 starts a minute in bursts of 3.
var DefaultQuotas = Quotas{Concurrent: 5, StartsPerMinute: 10, StartBurst: 3}

// limiter is the bucket of starts; nil without a limit.
func (q Quotas) limiter() *rate.Limiter {
	if q.StartsPerMinute <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(float64(q.StartsPerMinute)/60), max(q.StartBurst, 1))
}

// SetQuotas replaces the quotas. Sessions that are open stay, also beyond a lower limit; the bucket of starts begins full.
func (e *Emulator) SetQuotas(quotas Quotas) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.quotas, e.starts = quotas, quotas.limiter()
}

// overQuota is the refusal of one more session, and nil when one more may be started, which is then counted.
func (e *Emulator) overQuota(now time.Time) *reply {
	open := 0
	for _, s := range e.sessions {
		if s.open() {
			open++
		}
	}
	if e.quotas.Concurrent > 0 && open >= e.quotas.Concurrent {
		return quotaExceeded("concurrent_sessions", e.quotas.Concurrent, open, 0)
	}
	if e.starts != nil && !e.starts.AllowN(now, 1) {
		missing := 1 - e.starts.TokensAt(now)
		wait := time.Duration(missing / float64(e.starts.Limit()) * float64(time.Second))
		return quotaExceeded("sessions_per_minute", e.quotas.StartsPerMinute, e.quotas.StartsPerMinute, wait)
	}
	return nil
}

// quotaExceeded is what Reactor answers beyond a quota, as several of its users report. Only the rate of starts has a wait: it is
// not known when an open session will end. The wait is in the header and in the body.
func quotaExceeded(kind string, limit, current int, wait time.Duration) *reply {
	seconds := int64(math.Ceil(wait.Seconds()))
	answer := &reply{status: http.StatusTooManyRequests, header: http.Header{}, body: encode(errorBody{
		Error: "quota_exceeded", Message: "quota exceeded: " + kind, QuotaType: kind, Limit: limit, Current: current, RetryAfterSeconds: seconds,
	})}
	if seconds > 0 {
		answer.header.Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	return answer
}
