package tokenserver

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/lru"
)

// callerLimits limits the requests of each caller.
type callerLimits struct {
	perMinute int

	mu       sync.Mutex
	limiters *lru.Cache // *rate.Limiter by caller; a caller that was evicted starts with a full budget
}

func newCallerLimits(perMinute, maxCallers int) *callerLimits {
	return &callerLimits{perMinute: perMinute, limiters: lru.New(maxCallers)}
}

// take counts a request and returns 0, or returns the time until the caller's next request is allowed.
func (l *callerLimits) take(caller string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, ok := l.limiters.Get(caller)
	limiter, _ := found.(*rate.Limiter)
	if !ok {
		limiter = rate.NewLimiter(rate.Limit(float64(l.perMinute)/time.Minute.Seconds()), l.perMinute)
		l.limiters.Add(caller, limiter)
	}
	if limiter.AllowN(now, 1) {
		return 0
	}
	return untilAllowed(limiter, now)
}

// untilAllowed returns the time until a limiter has one token.
func untilAllowed(limiter *rate.Limiter, now time.Time) time.Duration {
	return time.Duration((1 - limiter.TokensAt(now)) / float64(limiter.Limit()) * float64(time.Second))
}
