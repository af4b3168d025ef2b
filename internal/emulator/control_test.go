package emulator

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testclock "k8s.io/utils/clock/testing"
)

func TestTheControlEndpointRefusesWhatItDoesNotKnow(t *testing.T) {
	tests := []struct{ name, method, path, body, says string }{
		{"no body", "PUT", "/faults", ``, "the body is not what is expected here: EOF"},
		{"no JSON", "PUT", "/faults", `x`, "the body is not what is expected here"},
		{"two bodies", "PUT", "/clock", `{"offset":"1s"}{}`, "something follows the JSON object"},
		{"an unknown member", "PUT", "/clock", `{"offset":"1s","zone":"UTC"}`, `unknown field \"zone\"`},
		{"an unknown member of a fault", "PUT", "/faults", `{"faults":[{"staus":500}]}`, `unknown field \"staus\"`},
		{"a fault that no server could have", "PUT", "/faults", `{"faults":[{},{"status":42}]}`, "fault 2: status 42 is not between 200 and 599"},
		{"a duration without a unit", "PUT", "/faults", `{"faults":[{"latency":"5"}]}`, "missing unit in duration"},
		{"a duration that is a number", "PUT", "/clock", `{"offset":5}`, "the body is not what is expected here"},
		{"an empty key", "POST", "/keys", `{}`, "key must not be empty"},
		{"neither key nor fingerprint", "DELETE", "/keys", `{}`, "give either key or fingerprint"},
		{"both key and fingerprint", "DELETE", "/keys", `{"key":"a","fingerprint":"b"}`, "give either key or fingerprint"},
		{"a negative lifetime", "PUT", "/lifetimes", `{"default":"1h","ceiling":"-1h"}`, "default and ceiling must be 0 or at least 1s"},
		{"less than a second", "PUT", "/lifetimes", `{"default":"900ms"}`, "default and ceiling must be 0 or at least 1s"},
		{"a late revocation", "PUT", "/revocation", `{"delay":"61s"}`, "delay 1m1s is not between 0s and 1m0s"},
		{"a page that does not exist", "PUT", "/faults", `{"faults":[{"page":"418"}]}`, `fault 1: page \"418\" does not exist`},
		{"a page with a body", "PUT", "/faults", `{"faults":[{"page":"502-html","body":""}]}`, "fault 1: page excludes status, body and redirect_to"},
		{"a body that is too large", "PUT", "/clock", `{"offset":"` + strings.Repeat("1", maxRequestBytes) + `"}`, "request body too large"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := send(t, emulatorAtNoon(), test.method, "/_emulator"+test.path, "", test.body)
			if got.status != http.StatusBadRequest || !strings.Contains(got.body, test.says) {
				t.Errorf("%d %s\nwant 400 with %s", got.status, got.body, test.says)
			}
		})
	}
}

func TestKeysAreControlledOverHTTP(t *testing.T) {
	e := emulatorAtNoon()
	control := func(method, body string) answer { return send(t, e, method, "/_emulator/keys", "", body) }
	status := func(key string) int { return send(t, e, http.MethodPost, "/tokens", key, "").status }

	if got := control("POST", `{"key":"rk_new"}`); got.status != 200 || got.body != `{"fingerprint":"`+Fingerprint("rk_new")+`"}` {
		t.Errorf("added: %d %s", got.status, got.body)
	}
	if got := status("rk_new"); got != 200 {
		t.Errorf("an added key is answered with %d", got)
	}
	for _, body := range []string{`{"key":"rk_new"}`, `{"fingerprint":"` + Fingerprint(testKey) + `"}`} {
		if got := control("DELETE", body); got.status != 204 || got.body != "" {
			t.Errorf("deleted: %d %s", got.status, got.body)
		}
		if got := control("DELETE", body); got.status != 404 {
			t.Errorf("deleted again: %d", got.status)
		}
	}
	for _, key := range []string{"rk_new", testKey} {
		if got := status(key); got != 401 {
			t.Errorf("a deleted key is answered with %d", got)
		}
	}
}

func TestFaultsAreControlledOverHTTP(t *testing.T) {
	e := emulatorAtNoon()
	const all = `{"faults":[{"key":"k","model":"m","times":2,"latency":"1s","hang":true,"cut":true,"status":500,"body":"b","pad_to":3,
		"redirect_to":"/r","retry_after":"4s","retry_after_as_date":true,"omit_jwt":true,"omit_expires_at":true,"expires_in":"-5s",
		"date_skew":"-1m","omit_date":true}]}`
	if got := send(t, e, "PUT", "/_emulator/faults", "", all); got.status != 204 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	want := []Fault{{Key: "k", Model: "m", Times: 2, Latency: time.Second, Hang: true, Cut: true, Status: 500, Body: new("b"), PadTo: 3,
		RedirectTo: "/r", RetryAfter: 4 * time.Second, RetryAfterAsDate: true, OmitJWT: true, OmitExpiresAt: true, ExpiresIn: new(-5 * time.Second),
		DateSkew: -time.Minute, OmitDate: true}}
	if diff := cmp.Diff(want, e.faults); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := send(t, e, "DELETE", "/_emulator/faults", "", ""); got.status != 204 || len(e.faults) != 0 {
		t.Errorf("%d, %d faults are left", got.status, len(e.faults))
	}
}

func TestLifetimesAndTheClockAreControlledOverHTTP(t *testing.T) {
	e := emulatorAtNoon()
	for path, body := range map[string]string{"lifetimes": `{"default":"10m","ceiling":"20m"}`, "clock": `{"offset":"-1h"}`} {
		if got := send(t, e, "PUT", "/_emulator/"+path, "", body); got.status != 204 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := mint(t, e, "").ExpiresAt - noon.Unix(); got != 600-3600 {
		t.Errorf("the default is %ds", got)
	}
	if got := mint(t, e, `{"expires_after":3600}`).ExpiresAt - noon.Unix(); got != 1200-3600 {
		t.Errorf("the ceiling is %ds", got)
	}
}

func TestReactorsOwnLifetimesAreRestoredOverHTTP(t *testing.T) {
	e := New(Options{Clock: testclock.NewFakePassiveClock(noon), Keys: []string{testKey}, DefaultLifetime: time.Minute, Ceiling: time.Minute})
	for _, step := range []struct {
		control          string
		scoped, unscoped int64
	}{
		{`{"default":"10m","ceiling":"20m"}`, 600, 600},
		{`{"ceiling":"2h"}`, 3600, 7200},
		{`{}`, 3600, 6 * 3600},
	} {
		if got := send(t, e, "PUT", "/_emulator/lifetimes", "", step.control); got.status != 204 {
			t.Errorf("%s: %d %s", step.control, got.status, got.body)
		}
		scoped, unscoped := mint(t, e, scopeOnly).ExpiresAt-noon.Unix(), mint(t, e, "").ExpiresAt-noon.Unix()
		if scoped != step.scoped || unscoped != step.unscoped {
			t.Errorf("%s: %ds with a scope, %ds without, want %ds and %ds", step.control, scoped, unscoped, step.scoped, step.unscoped)
		}
	}
}

func TestTheLedgerAndHealthAreServed(t *testing.T) {
	e := emulatorAtNoon()
	if got := send(t, e, "GET", "/_emulator/healthz", "", ""); got.status != 200 || got.body != `{"status":"ok"}` {
		t.Errorf("healthz: %d %s", got.status, got.body)
	}
	if got := send(t, e, "GET", "/_emulator/ledger", "", ""); got.body != `{"mints":0,"mints_by_key":{},"calls":[],`+
		`"open_sessions":0,"most_open_sessions":0,"billed_seconds":0,"sessions":[],"session_calls":[]}` {
		t.Errorf("an empty ledger is %s", got.body)
	}
	mint(t, e, `{"expires_after":3600,"authorization_details":[{"type":"session","resources":{"models":{"match":["m"]}}}]}`)
	got := send(t, e, "GET", "/_emulator/ledger", "", "")
	var ledger map[string]any
	if err := json.Unmarshal([]byte(got.body), &ledger); err != nil {
		t.Fatal(err)
	}
	call := ledger["calls"].([]any)[0].(map[string]any)
	delete(call, "jti")
	want := map[string]any{
		"mints": 1.0, "mints_by_key": map[string]any{Fingerprint(testKey): 1.0},
		"calls": []any{map[string]any{"time": "2026-11-23T12:00:00.25Z", "key": Fingerprint(testKey), "status": 200.0,
			"requested_seconds": 3600.0, "granted_seconds": 3600.0, "models": []any{"m"}}},
		"open_sessions": 0.0, "most_open_sessions": 0.0, "billed_seconds": 0.0, "sessions": []any{}, "session_calls": []any{},
	}
	if diff := cmp.Diff(want, ledger); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
