package emulator

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Refusal names an answer by which Reactor refuses a session because of the account, the model or the token. Users of /sessions
// captured these answers; Reactor documents none of them.
type Refusal string

// The refusals. The emulator gives the quotas by itself too, except those of connections and of a token.
const (
	RefusalCreditsDepleted Refusal = "credits_depleted"      // 402: the prepaid credits are used up
	RefusalBillingNotSetUp Refusal = "billing_not_setup"     // 402
	RefusalNoCapacity      Refusal = "no_available_capacity" // 429 without Retry-After: no server of the model is free
	RefusalModelNotFound   Refusal = "model_not_found"       // 404
	RefusalConcurrent      Refusal = "concurrent_sessions"   // 429, as the other quotas
	RefusalPerModel        Refusal = "concurrent_sessions_per_model"
	RefusalRate            Refusal = "sessions_per_minute" // it names a wait of 6 seconds
	RefusalConnections     Refusal = "connections_per_session"
	RefusalTokenUsedUp     Refusal = "sessions_per_token"
)

// refusals are the answers. A quota that the emulator finds exceeded names the limits that are set; those here are Reactor's defaults.
var refusals = map[Refusal]reply{
	RefusalCreditsDepleted: refuse(http.StatusPaymentRequired, errorBody{
		Error: "credits_depleted", Message: "Your credits have been depleted. Please add credits to continue."}),
	RefusalBillingNotSetUp: refuse(http.StatusPaymentRequired, errorBody{
		Error: "billing_not_setup", Message: "Billing is not set up.", URL: "https://reactor.inc/billing"}),
	RefusalNoCapacity: refuse(http.StatusTooManyRequests, errorBody{
		Error: "no available capacity: no available servers to handle the request"}),
	RefusalModelNotFound: refuse(http.StatusNotFound, errorBody{Error: "model not found"}),
	RefusalConcurrent:    *quotaExceeded(RefusalConcurrent, 5, 5, "", 0),
	RefusalPerModel:      *quotaExceeded(RefusalPerModel, 1, 1, "reactor/helios", 0),
	RefusalRate:          *quotaExceeded(RefusalRate, 10, 10, "", 6*time.Second),
	RefusalConnections:   *quotaExceeded(RefusalConnections, 4, 4, "", 0),
	RefusalTokenUsedUp:   *quotaExceeded(RefusalTokenUsedUp, 1, 1, "", 0),
}

// Refusals returns all refusals, sorted by name.
func Refusals() []Refusal { return slices.Sorted(maps.Keys(refusals)) }

func refuse(status int, body errorBody) reply {
	return reply{status: status, header: http.Header{}, body: encode(body)}
}

// quotaExceeded is the answer beyond a quota. Only the rate of starts has a wait: it is not known when an open session will end. The wait
// is in the header and in the body.
func quotaExceeded(kind Refusal, limit, current int, model string, wait time.Duration) *reply {
	seconds := int64((wait + time.Second - 1) / time.Second)
	answer := refuse(http.StatusTooManyRequests, errorBody{
		Error: "quota_exceeded", Message: "quota exceeded: " + string(kind), QuotaType: string(kind), Limit: limit, Current: current, Model: model,
		RetryAfterSeconds: seconds,
	})
	if seconds > 0 {
		answer.header.Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	return &answer
}
