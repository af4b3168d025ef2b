package tokenserver

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/lru"
)

// callerLimits bounds how often one caller may ask.
type callerLimits struct {
	perMinute int

	mu      sync.Mutex
	callers *lru.Cache // *rate.Limiter by caller; who is forgotten begins anew
}

func newCallerLimits(perMinute, callers int) *callerLimits {
	return &callerLimits{perMinute: perMinute, callers: lru.New(callers)}
}

// wait takes one request from what the caller has left. It returns how long it takes until there is one; 0 when there is.
func (l *callerLimits) wait(caller string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, ok := l.callers.Get(caller)
	limiter, _ := found.(*rate.Limiter)
	if !ok {
		limiter = rate.NewLimiter(rate.Limit(float64(l.perMinute)/time.Minute.Seconds()), l.perMinute)
		l.callers.Add(caller, limiter)
	}
	if limiter.AllowN(now, 1) {
		return 0
	}
	return time.Duration((1 - limiter.TokensAt(now)) / float64(limiter.Limit()) * float64(time.Second))
}

// addressOf is what tells those apart of whom nothing else is known: the address of the visitor. A proxy of the named networks tells
// it as the last entry of X-Forwarded-For; what stands before that, anybody may have written. An IPv6 network of 64 bits is one visitor.
func addressOf(request *http.Request, proxies []netip.Prefix) string {
	address := peerOf(request)
	for _, entry := range backwards(request.Header.Values("X-Forwarded-For")) {
		told, err := netip.ParseAddr(strings.TrimSpace(entry))
		if err != nil || !within(proxies, address) {
			break
		}
		address = told.Unmap().WithZone("")
	}
	if address.Is6() {
		if network, err := address.Prefix(64); err == nil {
			return network.String()
		}
	}
	return address.String()
}

// backwards are the entries of a header of lists, the last one first.
func backwards(values []string) []string {
	var entries []string
	for _, value := range values {
		entries = append(entries, strings.Split(value, ",")...)
	}
	for i, j := 0, len(entries)-1; i < j; i, j = i+1, j-1 {
		entries[i], entries[j] = entries[j], entries[i]
	}
	return entries
}
