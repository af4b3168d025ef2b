package outcome

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// Reasons of attempts that Reactor refused because of the account, the model or the token. None of them is the program's fault.
const (
	ReasonNoModelCapacity    = "NoModelCapacity"    // no server of the model is free: Reactor's shortage, not a limit of the account
	ReasonQuotaExceeded      = "QuotaExceeded"      // the account has its maximum number of sessions
	ReasonModelQuotaExceeded = "ModelQuotaExceeded" // the account has its maximum number of sessions of the model
	reasonTooManyConnections = "TooManyConnections" // the session has its maximum number of connections
	reasonTokenUsedUp        = "TokenUsedUp"        // the token has started its maximum number of sessions; the next attempt has another token
)

// refusals are Reactor's refusals, by the status and by a word in the response body. The first match decides.
var refusals = []struct {
	status       int
	word, reason string
}{
	{http.StatusPaymentRequired, "billing_not_setup", v1alpha1.ReasonBillingNotSetUp},
	{http.StatusPaymentRequired, "", v1alpha1.ReasonCreditsDepleted},
	{http.StatusTooManyRequests, "no available capacity", ReasonNoModelCapacity},
	{http.StatusTooManyRequests, "concurrent_sessions_per_model", ReasonModelQuotaExceeded},
	{http.StatusTooManyRequests, "concurrent_sessions", ReasonQuotaExceeded},
	{http.StatusTooManyRequests, "connections_per_session", reasonTooManyConnections},
	{http.StatusTooManyRequests, "sessions_per_token", reasonTokenUsedUp},
	{http.StatusTooManyRequests, "", v1alpha1.ReasonRateLimited}, // sessions_per_minute, too
}

// refusedBeforeStart are the reasons of attempts whose program was not allowed to start a session. The program has none unless it reported one.
var refusedBeforeStart = []string{
	v1alpha1.ReasonBillingNotSetUp, v1alpha1.ReasonCreditsDepleted, ReasonNoModelCapacity, ReasonModelQuotaExceeded, ReasonQuotaExceeded, reasonTokenUsedUp,
	v1alpha1.ReasonRateLimited,
}

// IsUnpaid reports whether an attempt ended for a reason that lasts until a user pays Reactor.
func IsUnpaid(reason string) bool {
	return reason == v1alpha1.ReasonBillingNotSetUp || reason == v1alpha1.ReasonCreditsDepleted
}

// maxRetryAfter limits the delay that a termination message can request.
const maxRetryAfter = 5 * time.Minute

// failure is the last error that a program reported.
type failure struct {
	code       string        // of Reactor's SDKs, such as RATE_LIMITED
	refusal    string        // the reason of the matching refusal; empty if none matches
	retryAfter time.Duration // when Reactor allows the next attempt; 0 if it does not say
}

// reportedError is an error in a termination message, as Reactor's SDKs return it. The message of the SDKs' errors quotes the response.
type reportedError struct {
	Code         string  `json:"code"`
	Status       int     `json:"status"`
	Message      string  `json:"message"`
	RetryAfterMS float64 `json:"retry_after_ms"`
}

var retryAfterInBody = regexp.MustCompile(`"retry_after_seconds" ?: ?([0-9]{1,6})`)

// failure reads the error. Its text is not trusted, so it is only compared with known values. The zero value means no error.
func (e reportedError) failure() failure {
	var read failure
	if isErrorCode(e.Code) {
		read.code = e.Code
	}
	status := e.Status
	if status == 0 && (read.code == "RATE_LIMITED" || read.code == "QUOTA_EXCEEDED") {
		status = http.StatusTooManyRequests
	}
	for _, known := range refusals {
		if known.status == status && strings.Contains(e.Message, known.word) {
			read.refusal = known.reason
			break
		}
	}
	if read.refusal == "" {
		return read
	}
	read.retryAfter = time.Duration(min(max(e.RetryAfterMS, 0), float64(maxRetryAfter/time.Millisecond))) * time.Millisecond
	if found := retryAfterInBody.FindStringSubmatch(e.Message); found != nil {
		seconds, _ := strconv.Atoi(found[1]) // of six digits at most
		read.retryAfter = min(max(read.retryAfter, time.Duration(seconds)*time.Second), maxRetryAfter)
	}
	return read
}
