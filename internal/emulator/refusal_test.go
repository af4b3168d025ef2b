package emulator

import (
	"fmt"
	"testing"
)

// The bodies are those that users of Reactor captured.
func TestARefusalIsReactorsAnswer(t *testing.T) {
	want := map[Refusal]struct {
		status           int
		body, retryAfter string
	}{
		RefusalCreditsDepleted: {402, `{"error":"credits_depleted","message":"Your credits have been depleted. Please add credits to continue."}`, ""},
		RefusalBillingNotSetUp: {402, `{"error":"billing_not_setup","message":"Billing is not set up.","url":"https://reactor.inc/billing"}`, ""},
		RefusalModelNotFound:   {404, `{"error":"model not found"}`, ""},
		RefusalNoCapacity:      {429, `{"error":"no available capacity: no available servers to handle the request"}`, ""},
		RefusalConcurrent:      {429, `{"error":"quota_exceeded","message":"quota exceeded: concurrent_sessions","quota_type":"concurrent_sessions","limit":5,"current":5}`, ""},
		RefusalPerModel: {429, `{"error":"quota_exceeded","message":"quota exceeded: concurrent_sessions_per_model","quota_type":"concurrent_sessions_per_model",` +
			`"limit":1,"current":1,"model":"reactor/helios"}`, ""},
		RefusalRate: {429, `{"error":"quota_exceeded","message":"quota exceeded: sessions_per_minute","quota_type":"sessions_per_minute",` +
			`"limit":10,"current":10,"retry_after_seconds":6}`, "6"},
		RefusalConnections: {429, `{"error":"quota_exceeded","message":"quota exceeded: connections_per_session","quota_type":"connections_per_session","limit":4,"current":4}`, ""},
		RefusalTokenUsedUp: {429, `{"error":"quota_exceeded","message":"quota exceeded: sessions_per_token","quota_type":"sessions_per_token","limit":1,"current":1}`, ""},
	}
	if len(Refusals()) != len(want) {
		t.Errorf("there are %d refusals, want %d", len(Refusals()), len(want))
	}
	for _, refusal := range Refusals() {
		t.Run(string(refusal), func(t *testing.T) {
			inBubble(t, Options{}, func(t *testing.T, e *Emulator) {
				wantStatus(t, "set it", send(t, e, "PUT", "/_emulator/faults", "", fmt.Sprintf(`{"faults":[{"route":"POST /sessions","refusal":%q}]}`, refusal)), 204, "")
				got := as(t, e, mint(t, e, "").JWT, "POST /sessions", startBody)
				if want := want[refusal]; got.status != want.status || got.body != want.body || got.header.Get("Retry-After") != want.retryAfter || got.header.Get("Server") != "" {
					t.Errorf("%d %v\n%s\nwant %+v", got.status, got.header, got.body, want)
				}
				if len(e.Ledger().Sessions) != 0 {
					t.Error("a session was started")
				}
			})
		})
	}
	if err := (Fault{Refusal: "no"}).Validate(); err == nil {
		t.Error("a refusal that does not exist is taken")
	}
	if err := (Fault{Refusal: RefusalRate, Status: 429}).Validate(); err == nil {
		t.Error("a refusal with a status is taken")
	}
}

func TestAModelMayHaveAQuotaOfItsOwn(t *testing.T) {
	inBubble(t, Options{Quotas: &Quotas{ConcurrentPerModel: 1}}, func(t *testing.T, e *Emulator) {
		if got := as(t, e, mint(t, e, "").JWT, "POST /sessions", startBody); got.status != 201 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if got := as(t, e, mint(t, e, "").JWT, "POST /sessions", startBody); got.status != 429 || got.body != string(refusals[RefusalPerModel].body) {
			t.Errorf("a second session of the model: %d %s", got.status, got.body)
		}
		if got := as(t, e, mint(t, e, "").JWT, "POST /sessions", `{"model":{"name":"reactor/other"}}`); got.status != 201 {
			t.Errorf("a session of another model: %d %s", got.status, got.body)
		}
	})
}
