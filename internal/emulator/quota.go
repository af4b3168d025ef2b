package emulator

import (
	"time"

	"golang.org/x/time/rate"
)

// Quotas limit the sessions of the account, all keys together. 0 sets no limit.
type Quotas struct {
	// Concurrent is how many sessions may be open at once.
	Concurrent int

	// ConcurrentPerModel is how many sessions of one model may be open at once. Some accounts have 1.
	ConcurrentPerModel int

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

// overQuota is the refusal of one more session of a model, and nil when one more may be started, which is then counted.
func (e *Emulator) overQuota(model string, now time.Time) *reply {
	open, ofModel := 0, 0
	for _, s := range e.sessions {
		if s.open() {
			open++
			if s.model == model {
				ofModel++
			}
		}
	}
	if e.quotas.Concurrent > 0 && open >= e.quotas.Concurrent {
		return quotaExceeded(RefusalConcurrent, e.quotas.Concurrent, open, "", 0)
	}
	if e.quotas.ConcurrentPerModel > 0 && ofModel >= e.quotas.ConcurrentPerModel {
		return quotaExceeded(RefusalPerModel, e.quotas.ConcurrentPerModel, ofModel, model, 0)
	}
	if e.starts != nil && !e.starts.AllowN(now, 1) {
		missing := 1 - e.starts.TokensAt(now)
		wait := time.Duration(missing / float64(e.starts.Limit()) * float64(time.Second))
		return quotaExceeded(RefusalRate, e.quotas.StartsPerMinute, e.quotas.StartsPerMinute, "", wait)
	}
	return nil
}
