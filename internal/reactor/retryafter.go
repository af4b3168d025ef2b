package reactor

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds what a server may ask for: a slip there must not put an object to sleep for years.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the header Retry-After, which is a number of seconds or an HTTP date (RFC 9110, 10.2.3). A date is
// measured against the server's own clock. What is absent, past or not understood is 0.
func retryAfter(value string, serverNow time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if isDigits(value) {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(serverNow), 0), maxRetryAfter)
}

// boundedSeconds is the wait that a JSON number of seconds asks for, rounded up to whole seconds; 0 for one that is not positive.
func boundedSeconds(seconds float64) time.Duration {
	if seconds > maxRetryAfter.Seconds() {
		return maxRetryAfter
	}
	return time.Duration(math.Ceil(max(seconds, 0))) * time.Second
}

// isDigits tells whether s is a sequence of at least one decimal digit.
func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
