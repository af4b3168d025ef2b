package reactorsession

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// Reasons of attempts that Reactor refused something because of the account, the model or the token. None of them is the program's fault.
const (
	noModelCapacity    = "NoModelCapacity"    // no server of the model is free: it is Reactor's shortage, not a limit of the account
	quotaExceeded      = "QuotaExceeded"      // the account has as many sessions as it may
	modelQuotaExceeded = "ModelQuotaExceeded" // the account has as many sessions of the model as it may
	tooManyConnections = "TooManyConnections" // the session has as many connections as it may
	tokenUsedUp        = "TokenUsedUp"        // the token has started as many sessions as it may; the next attempt has another one
)

// refusals are Reactor's refusals, by the status and by a word of the answer's body. The first one that fits decides.
var refusals = []struct {
	status       int
	word, reason string
}{
	{http.StatusPaymentRequired, "billing_not_setup", v1alpha1.ReasonBillingNotSetUp},
	{http.StatusPaymentRequired, "", v1alpha1.ReasonCreditsDepleted},
	{http.StatusTooManyRequests, "no available capacity", noModelCapacity},
	{http.StatusTooManyRequests, "concurrent_sessions_per_model", modelQuotaExceeded},
	{http.StatusTooManyRequests, "concurrent_sessions", quotaExceeded},
	{http.StatusTooManyRequests, "connections_per_session", tooManyConnections},
	{http.StatusTooManyRequests, "sessions_per_token", tokenUsedUp},
	{http.StatusTooManyRequests, "", v1alpha1.ReasonRateLimited}, // also sessions_per_minute
}

// startedNone are the reasons of attempts whose program was refused its session. The program has none unless it reported one.
var startedNone = []string{
	v1alpha1.ReasonBillingNotSetUp, v1alpha1.ReasonCreditsDepleted, noModelCapacity, modelQuotaExceeded, quotaExceeded, tokenUsedUp, v1alpha1.ReasonRateLimited,
}

// isUnpaid reports whether an attempt ended for a reason that lasts until a person pays.
func isUnpaid(reason string) bool {
	return reason == v1alpha1.ReasonBillingNotSetUp || reason == v1alpha1.ReasonCreditsDepleted
}

// failure is the last error that a program reported.
type failure struct {
	code       string        // of Reactor's SDKs, such as RATE_LIMITED
	refusal    string        // the reason of refusals that fits; empty if none does
	retryAfter time.Duration // when Reactor allows the next try; 0 if it does not say
}

// reportedError is an error in a termination message: what Reactor's SDKs give of it. The message of the SDKs' errors quotes the answer.
type reportedError struct {
	Code         string  `json:"code"`
	Status       int     `json:"status"`
	Message      string  `json:"message"`
	RetryAfterMS float64 `json:"retry_after_ms"`
}

var retryAfterInBody = regexp.MustCompile(`"retry_after_seconds" ?: ?([0-9]{1,6})`)

// failure reads the error. Anybody may have written it, so it is only compared with what is known. The zero value is none.
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
	read.retryAfter = time.Duration(min(max(e.RetryAfterMS, 0), float64(backoffCap/time.Millisecond))) * time.Millisecond
	if found := retryAfterInBody.FindStringSubmatch(e.Message); found != nil {
		seconds, _ := strconv.Atoi(found[1]) // of six digits at most
		read.retryAfter = min(max(read.retryAfter, time.Duration(seconds)*time.Second), backoffCap)
	}
	return read
}

const (
	// unpaidWait is how long to wait after a refusal that lasts until a person pays; unpaidCap is the wait after several in a row.
	unpaidWait, unpaidCap = 15 * time.Minute, time.Hour
	// shortageCap is the longest wait for a model that has no free server: Reactor's own client tries every six seconds.
	shortageCap = time.Minute
)

// refusedWait is how long to wait after the attempt that ended last, which Reactor refused something for a reason that is no failure: nobody
// paid, or the model has no free server. 0 if it ended in another way.
func refusedWait(recent []v1alpha1.EndedAttempt) time.Duration {
	reason := recent[0].Reason
	inARow := slices.IndexFunc(recent, func(ended v1alpha1.EndedAttempt) bool { return ended.Reason != reason })
	if inARow < 0 {
		inARow = len(recent)
	}
	switch {
	case isUnpaid(reason) && inARow < mostRecent:
		return unpaidWait
	case isUnpaid(reason):
		return unpaidCap
	case reason == noModelCapacity:
		return min(backoffBase<<min(inARow-1, 8), shortageCap)
	default:
		return 0
	}
}

// billingURL is where a person pays. It is fixed: what a termination message names may lead anywhere.
const billingURL = "https://reactor.inc/billing"

// unpaidView is what a session shows that waits until a person pays.
func unpaidView(status *v1alpha1.ReactorSessionStatus) *view {
	last, problem := status.RecentAttempts[0], "the credits of the account are depleted. Add credits at "
	if last.Reason == v1alpha1.ReasonBillingNotSetUp {
		problem = "the account has no billing. Set it up at "
	}
	return stalledFor(last.Reason, "Reactor refused attempt %d a session (402): %s%s. The next attempt starts at %s",
		last.Number, problem, billingURL, status.NextAttemptTime.UTC().Format(time.RFC3339))
}
