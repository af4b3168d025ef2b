package emulator

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

// Refusal names a response with which Reactor refuses a session because of the account, the model or the token. Users of /sessions
// captured these responses; Reactor documents none of them.
type Refusal string

// The refusals. Without a fault, the emulator also refuses a session beyond Quotas.
const (
	RefusalCreditsDepleted Refusal = "credits_depleted"      // 402: the prepaid credits are used up
	RefusalBillingNotSetUp Refusal = "billing_not_setup"     // 402
	RefusalNoCapacity      Refusal = "no_available_capacity" // 429 without Retry-After: no server of the model is free
	RefusalModelNotFound   Refusal = "model_not_found"       // 404
	RefusalConcurrent      Refusal = "concurrent_sessions"   // 429, as the other quotas
	RefusalPerModel        Refusal = "concurrent_sessions_per_model"
	RefusalRate            Refusal = "sessions_per_minute" // with a wait of 6 seconds
	RefusalConnections     Refusal = "connections_per_session"
	RefusalTokenUsedUp     Refusal = "sessions_per_token"
)

// refusals are the responses, with Reactor's default limits.
var refusals = map[Refusal]reply{
	RefusalCreditsDepleted: refusalReply(http.StatusPaymentRequired, errorBody{
		Error: "credits_depleted", Message: "Your credits have been depleted. Please add credits to continue."}),
	RefusalBillingNotSetUp: refusalReply(http.StatusPaymentRequired, errorBody{
		Error: "billing_not_setup", Message: "Billing is not set up.", URL: "https://reactor.inc/billing"}),
	RefusalNoCapacity: refusalReply(http.StatusTooManyRequests, errorBody{
		Error: "no available capacity: no available servers to handle the request"}),
	RefusalModelNotFound: refusalReply(http.StatusNotFound, errorBody{Error: "model not found"}),
	RefusalConcurrent:    quotaExceeded(RefusalConcurrent, 5, 5, "", 0),
	RefusalPerModel:      quotaExceeded(RefusalPerModel, 1, 1, "reactor/helios", 0),
	RefusalRate:          quotaExceeded(RefusalRate, 10, 10, "", 6*time.Second),
	RefusalConnections:   quotaExceeded(RefusalConnections, 4, 4, "", 0),
	RefusalTokenUsedUp:   quotaExceeded(RefusalTokenUsedUp, 1, 1, "", 0),
}

// Refusals returns all refusals, sorted by name.
func Refusals() []Refusal { return slices.Sorted(maps.Keys(refusals)) }

func refusalReply(status int, body errorBody) reply {
	return reply{status: status, header: http.Header{}, body: encode(body)}
}

// quotaExceeded is the response beyond a quota. Only the rate of starts has a wait: Reactor does not know when an open session will end. The
// wait is in the header and in the body.
func quotaExceeded(quota Refusal, limit, current int, model string, wait time.Duration) reply {
	seconds := int64((wait + time.Second - 1) / time.Second)
	answer := refusalReply(http.StatusTooManyRequests, errorBody{
		Error: "quota_exceeded", Message: "quota exceeded: " + string(quota), QuotaType: string(quota), Limit: limit, Current: current, Model: model,
		RetryAfterSeconds: seconds,
	})
	if seconds > 0 {
		answer.header.Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	return answer
}

// Quotas limit the sessions of the account, for all keys together. 0 sets no limit.
type Quotas struct {
	// Concurrent is the maximum number of open sessions.
	Concurrent int

	// ConcurrentPerModel is the maximum number of open sessions of one model. Some accounts have 1.
	ConcurrentPerModel int

	// StartsPerMinute is the maximum number of sessions that are started in a minute.
	StartsPerMinute int

	// StartBurst is the maximum number of those that are started at the same time after an idle period; 1 when 0.
	StartBurst int
}

// DefaultQuotas are those of an ordinary account: 5 open sessions, 10 starts a minute in bursts of 3.
var DefaultQuotas = Quotas{Concurrent: 5, StartsPerMinute: 10, StartBurst: 3}

// startLimiter limits the starts of sessions. It is nil without a limit.
func (q Quotas) startLimiter() *rate.Limiter {
	if q.StartsPerMinute <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(float64(q.StartsPerMinute)/60), max(q.StartBurst, 1))
}

// exceeded returns the refusal of one more session of a model, given the models of the open sessions. If one more is allowed, it counts as a
// start, and exceeded is false.
func (q Quotas) exceeded(model string, openModels []string, starts *rate.Limiter, now time.Time) (refused reply, exceeded bool) {
	ofModel := 0
	for _, other := range openModels {
		if other == model {
			ofModel++
		}
	}
	switch {
	case q.Concurrent > 0 && len(openModels) >= q.Concurrent:
		return quotaExceeded(RefusalConcurrent, q.Concurrent, len(openModels), "", 0), true
	case q.ConcurrentPerModel > 0 && ofModel >= q.ConcurrentPerModel:
		return quotaExceeded(RefusalPerModel, q.ConcurrentPerModel, ofModel, model, 0), true
	case starts != nil && !starts.AllowN(now, 1):
		wait := (1 - starts.TokensAt(now)) / float64(starts.Limit()) * float64(time.Second)
		return quotaExceeded(RefusalRate, q.StartsPerMinute, q.StartsPerMinute, "", time.Duration(wait)), true
	}
	return reply{}, false
}
