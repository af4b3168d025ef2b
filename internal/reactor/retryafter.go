package reactor

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter is the maximum wait that a server can request. An error of the server must not stop an object for years.
const maxRetryAfter = 24 * time.Hour

// retryAfter parses the header Retry-After, which is a number of seconds or an HTTP date (RFC 9110, 10.2.3). A date is compared with
// the server's own clock. The result is 0 if the value is missing or invalid, or if the date is in the past.
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

// boundedSeconds converts a JSON number of seconds to a wait of at most maxRetryAfter, rounded up to whole seconds; 0 if it is not positive.
func boundedSeconds(seconds float64) time.Duration {
	if seconds > maxRetryAfter.Seconds() {
		return maxRetryAfter
	}
	return time.Duration(math.Ceil(max(seconds, 0))) * time.Second
}

// isDigits reports whether s is a sequence of at least one decimal digit.
func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
