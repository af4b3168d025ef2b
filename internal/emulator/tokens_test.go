package emulator

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testclock "k8s.io/utils/clock/testing"
)

const testKey = "rk_test_0123456789"

var noon = time.Date(2026, 11, 23, 12, 0, 0, 250e6, time.UTC)

// emulatorAtNoon knows testKey, and its clock stands still.
func emulatorAtNoon() *Emulator {
	return New(Options{Clock: testclock.NewFakePassiveClock(noon), Keys: []string{testKey}})
}

// answer is what came back from a request.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // why the body ended early
}

// send sends a request in memory.
func send(t *testing.T, e *Emulator, method, path, key, body string) answer {
	t.Helper()
	return sendWith(t, &http.Client{Transport: e.Transport(), CheckRedirect: stay}, "http://emulator.test", method, path, key, body)
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// sendWith sends a request with any client.
func sendWith(t *testing.T, client *http.Client, base, method, path, key, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		request.Header.Set("reactor-api-key", key)
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(read), err}
}

// granted is the body of a success.
type granted struct {
	JWT       string `json:"jwt"`
	ExpiresAt int64  `json:"expires_at"`
}

// mint expects a success.
func mint(t *testing.T, e *Emulator, body string) granted {
	t.Helper()
	return mintWith(t, e, testKey, body)
}

// mintWith expects a success with any key.
func mintWith(t *testing.T, e *Emulator, key, body string) granted {
	t.Helper()
	got := send(t, e, http.MethodPost, "/tokens", key, body)
	var token granted
	if err := json.Unmarshal([]byte(got.body), &token); err != nil || got.status != http.StatusOK {
		t.Fatalf("status %d, body %s, %v", got.status, got.body, err)
	}
	return token
}

// scopeOnly is a request for a scoped token that leaves the lifetime to the service.
const scopeOnly = `{"authorization_details":[{"type":"session","resources":{"models":{"match":["reactor/helios"]}}}]}`

func TestTheGrantedLifetimeIsTheRequestedOneUpToTheCeiling(t *testing.T) {
	hour := time.Hour
	tests := []struct {
		name string
		body string
		want time.Duration
	}{
		{"no body", ``, 6 * hour},
		{"blanks", " \r\n", 6 * hour},
		{"null", `null`, 6 * hour},
		{"an empty object", `{}`, 6 * hour},
		{"a null wish", `{"expires_after":null}`, 6 * hour},
		{"an unknown member", `{"note":"x"}`, 6 * hour},
		{"a scope without a requested lifetime", scopeOnly, hour},
		{"a scope and a null lifetime", `{"expires_after":null,` + scopeOnly[1:], hour},
		{"a scope and a lifetime", `{"expires_after":7200,` + scopeOnly[1:], 2 * hour},
		{"a scope and more than the ceiling", `{"expires_after":21601,` + scopeOnly[1:], 6 * hour},
		{"a wish", `{"expires_after":3600}`, hour},
		{"the shortest wish", `{"expires_after":1}`, time.Second},
		{"the ceiling", `{"expires_after":21600}`, 6 * hour},
		{"more than the ceiling", `{"expires_after":21601}`, 6 * hour},
		{"more than a time.Duration holds", `{"expires_after":9223372036854775807}`, 6 * hour},
		{"more than an int64 holds", `{"expires_after":99999999999999999999999999}`, 6 * hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			token := mint(t, emulatorAtNoon(), test.body)
			want := noon.Truncate(time.Second).Add(test.want).Unix()
			if token.ExpiresAt != want {
				t.Errorf("expires at %d, want %d", token.ExpiresAt, want)
			}
		})
	}
}

func TestLifetimesCanBeSet(t *testing.T) {
	e := emulatorAtNoon()
	for _, test := range []struct {
		defaultLifetime, ceiling          time.Duration
		wantDefault, wantScoped, wantLong time.Duration
	}{
		{2 * time.Hour, 3 * time.Hour, 2 * time.Hour, 2 * time.Hour, 3 * time.Hour},
		{3 * time.Hour, 2 * time.Hour, 2 * time.Hour, 2 * time.Hour, 2 * time.Hour},
		{90 * time.Minute, 0, 90 * time.Minute, 90 * time.Minute, 6 * time.Hour},
		{0, 2 * time.Hour, 2 * time.Hour, time.Hour, 2 * time.Hour},
		{0, 20 * time.Second, 20 * time.Second, 20 * time.Second, 20 * time.Second},
		{0, 0, 6 * time.Hour, time.Hour, 6 * time.Hour},
		{1500 * time.Millisecond, 0, time.Second, time.Second, 6 * time.Hour},
	} {
		e.SetLifetimes(test.defaultLifetime, test.ceiling)
		for body, want := range map[string]time.Duration{"": test.wantDefault, scopeOnly: test.wantScoped, `{"expires_after":86400}`: test.wantLong} {
			if got := mint(t, e, body).ExpiresAt - noon.Unix(); got != int64(want/time.Second) {
				t.Errorf("with default %s and ceiling %s, %q is granted %ds, want %s", test.defaultLifetime, test.ceiling, body, got, want)
			}
		}
	}
}

func TestARequestThatBreaksARuleIsRefused(t *testing.T) {
	scope := func(inner string) string { return `{"authorization_details":[` + inner + `]}` }
	constrained := func(constraints string) string {
		return scope(`{"type":"session","resources":{"models":{"match":["m"]}},"constraints":{` + constraints + `}}`)
	}
	tests := []struct {
		name, body string
		want       int
	}{
		{"no JSON", `{`, 400},
		{"something behind the object", `{}{}`, 400},
		{"a list", `[]`, 400},
		{"a string", `"x"`, 400},
		{"a lifetime of zero", `{"expires_after":0}`, 400},
		{"a negative lifetime", `{"expires_after":-60}`, 400},
		{"a fractional lifetime", `{"expires_after":60.0}`, 400},
		{"a lifetime with an exponent", `{"expires_after":6e1}`, 400},
		{"a lifetime in a string", `{"expires_after":"60"}`, 400},
		{"a lifetime of true", `{"expires_after":true}`, 400},
		{"details that are no list", `{"authorization_details":{}}`, 400},
		{"no details", `{"authorization_details":[]}`, 400},
		{"no type", scope(`{"resources":{"models":{"match":["m"]}}}`), 400},
		{"another type", scope(`{"type":"upload","resources":{"models":{"match":["m"]}}}`), 400},
		{"no resources", scope(`{"type":"session"}`), 400},
		{"no match", scope(`{"type":"session","resources":{"models":{}}}`), 400},
		{"an empty match", scope(`{"type":"session","resources":{"models":{"match":[]}}}`), 400},
		{"a model without a name", scope(`{"type":"session","resources":{"models":{"match":["m",""]}}}`), 400},
		{"a wildcard", scope(`{"type":"session","resources":{"models":{"match":["reactor/*"]}}}`), 400},
		{"a model that is a number", scope(`{"type":"session","resources":{"models":{"match":[1]}}}`), 400},
		{"no sessions at all", constrained(`"max_sessions":0`), 400},
		{"too many sessions", constrained(`"max_sessions":501`), 400},
		{"half a session", constrained(`"max_sessions":1.5`), 400},
		{"sessions without time", constrained(`"max_session_duration_seconds":0`), 400},
		{"sessions of more than a day", constrained(`"max_session_duration_seconds":86401`), 400},
		{"one bad detail of two", scope(`{"type":"session","resources":{"models":{"match":["m"]}}},{"type":"x"}`), 400},
		{"a binding of nothing", scope(`{"type":"session","resources":{"models":{"match":["m"]},"sessions":{"bind":[]}}}`), 400},
		{"a binding to a session", scope(`{"type":"session","resources":{"models":{"match":["m"]},"sessions":{"bind":["0f6c"]}}}`), 403},
		{"a binding, and a broken rule", scope(`{"type":"session","resources":{"models":{"match":["m"]},"sessions":{"bind":["0f6c"]}},"constraints":{"max_sessions":0}}`), 400},
		{"fewest sessions and least time", constrained(`"max_sessions":1,"max_session_duration_seconds":1`), 200},
		{"most sessions and most time", constrained(`"max_sessions":500,"max_session_duration_seconds":86400`), 200},
		{"an unknown constraint", constrained(`"max_duration_seconds":5`), 200},
		{"null constraints", constrained(`"max_sessions":null`), 200},
		{"a body that is too large", `{"note":"` + strings.Repeat("x", maxRequestBytes) + `"}`, 413},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := emulatorAtNoon()
			got := send(t, e, http.MethodPost, "/tokens", testKey, test.body)
			if got.status != test.want {
				t.Fatalf("status %d, want %d: %s", got.status, test.want, got.body)
			}
			var refusal struct{ Error, Message string }
			if err := json.Unmarshal([]byte(got.body), &refusal); err != nil {
				t.Fatal(err)
			}
			if refused := got.status != http.StatusOK; refused != (refusal.Error != "" && refusal.Message != "") {
				t.Errorf("body %s", got.body)
			}
			if wantMints := map[bool]int{true: 1}[test.want == 200]; e.Ledger().Mints() != wantMints {
				t.Errorf("%d tokens were minted", e.Ledger().Mints())
			}
		})
	}
}

func TestOnlyAKnownKeyGetsAToken(t *testing.T) {
	e := emulatorAtNoon()
	status := func(key string) int { return send(t, e, http.MethodPost, "/tokens", key, "{").status }
	for _, step := range []struct {
		name, key string
		before    func()
		want      int
	}{
		{"no key", "", nil, 401},
		{"another key", "rk_other", nil, 401},
		{"a known key, and the body counts", testKey, nil, 400},
		{"a key that was added", "rk_other", func() { e.AddKey("rk_other") }, 400},
		{"a key that was revoked", testKey, func() { e.RevokeKey(testKey) }, 401},
		{"an empty key cannot be added", "", func() { e.AddKey("") }, 401},
	} {
		if step.before != nil {
			step.before()
		}
		if got := status(step.key); got != step.want {
			t.Errorf("%s: status %d, want %d", step.name, got, step.want)
		}
	}
	if e.RevokeKey(testKey) {
		t.Error("a key was revoked twice")
	}
}

func TestOtherPathsAndMethodsAreRefused(t *testing.T) {
	e := emulatorAtNoon()
	for request, want := range map[string]int{"GET /tokens": 405, "PUT /tokens": 405, "POST /": 404, "POST /tokens/": 404, "GET /_emulator/secrets": 404, "POST /_emulator/faults": 404} {
		method, path, _ := strings.Cut(request, " ")
		if got := send(t, e, method, path, testKey, ""); got.status != want {
			t.Errorf("%s: status %d, want %d", request, got.status, want)
		}
	}
	if calls := len(e.Ledger().Calls); calls != 0 {
		t.Errorf("%d of them stand in the ledger", calls)
	}
}

func TestATokenIsSignedAndSaysWhatItIsFor(t *testing.T) {
	e := emulatorAtNoon()
	const detail = `{"type":"session","resources":{"models":{"match":["reactor/helios"]}},"constraints":{"max_sessions":3,"max_session_duration_seconds":1800}}`
	token := mint(t, e, `{"expires_after":3600,"authorization_details":[`+detail+`]}`)
	claims, err := e.Verify(token.JWT)
	if err != nil {
		t.Fatal(err)
	}
	if claims.Subject != "account-1" || claims.ID == "" || !claims.IssuedAt.Equal(noon.Truncate(time.Second)) || claims.ExpiresAt.Unix() != token.ExpiresAt {
		t.Errorf("claims %+v", claims)
	}
	if diff := cmp.Diff("["+detail+"]", string(encode(claims.AuthorizationDetails))); diff != "" {
		t.Errorf("scope (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{token.JWT}, e.IssuedJWTs()); diff != "" {
		t.Errorf("issued (-want +got):\n%s", diff)
	}
	if other := mint(t, e, ""); other.JWT == token.JWT {
		t.Error("two tokens are the same")
	}
}

func TestATokenOfAnotherSignerOrTimeIsNotValid(t *testing.T) {
	fake := testclock.NewFakePassiveClock(noon)
	e := New(Options{Clock: fake, Keys: []string{testKey}})
	token := mint(t, e, `{"expires_after":60}`).JWT
	e.RevokeKey(testKey)
	if _, err := e.Verify(token); err != nil {
		t.Errorf("a revoked key took its token along: %v", err)
	}
	for name, bad := range map[string]string{
		"another emulator's": mint(t, emulatorAtNoon(), "").JWT,
		"an unsigned one":    "eyJhbGciOiJub25lIn0.e30.",
		"a changed one":      token[:len(token)-4] + "AAAA",
		"none":               "",
	} {
		if _, err := e.Verify(bad); err == nil || strings.Contains(err.Error(), "eyJ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	e.SetDateSkew(time.Minute)
	if _, err := e.Verify(token); err == nil {
		t.Error("a token is valid after its expiry on the emulator's clock")
	}
	e.SetDateSkew(0)
	fake.SetTime(noon.Add(59 * time.Second))
	if _, err := e.Verify(token); err != nil {
		t.Errorf("a token ends before its time: %v", err)
	}
}

func TestTheWholeClockCanBeShifted(t *testing.T) {
	e := emulatorAtNoon()
	e.SetDateSkew(-2 * time.Hour)
	got := send(t, e, http.MethodPost, "/tokens", testKey, `{"expires_after":60}`)
	var token granted
	if err := json.Unmarshal([]byte(got.body), &token); err != nil {
		t.Fatal(err)
	}
	want := noon.Add(-2 * time.Hour).Truncate(time.Second)
	claims, err := e.Verify(token.JWT)
	if err != nil {
		t.Fatal(err)
	}
	if got.header.Get("Date") != want.Format(http.TimeFormat) || token.ExpiresAt != want.Unix()+60 || !claims.IssuedAt.Equal(want) {
		t.Errorf("Date %s, expires_at %d, iat %s", got.header.Get("Date"), token.ExpiresAt, claims.IssuedAt)
	}
}

func TestTheLedgerKeepsEveryCall(t *testing.T) {
	e := emulatorAtNoon()
	mint(t, e, `{"expires_after":86400,"authorization_details":[{"type":"session","resources":{"models":{"match":["a","b"]}}}]}`)
	send(t, e, http.MethodPost, "/tokens", "rk_unknown", `{"expires_after":60}`)
	send(t, e, http.MethodPost, "/tokens", "", `{`)
	ledger := e.Ledger()
	if len(ledger.Calls) != 3 || ledger.Calls[0].JTI == "" {
		t.Fatalf("calls %+v", ledger.Calls)
	}
	ledger.Calls[0].JTI = "id"
	want := Ledger{Calls: []Call{
		{Time: noon, Key: Fingerprint(testKey), Status: 200, Requested: 24 * time.Hour, Granted: 6 * time.Hour, Models: []string{"a", "b"}, JTI: "id"},
		{Time: noon, Key: Fingerprint("rk_unknown"), Status: 401, Requested: time.Minute},
		{Time: noon, Status: 401},
	}}
	if diff := cmp.Diff(want, ledger); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{Fingerprint(testKey): 1}, ledger.MintsByKey()); diff != "" || ledger.Mints() != 1 {
		t.Errorf("%d mints, by key (-want +got):\n%s", ledger.Mints(), diff)
	}
	if diff := cmp.Diff(map[string]int{Fingerprint(testKey): 1, Fingerprint("rk_unknown"): 1, "": 1}, ledger.CallsByKey()); diff != "" {
		t.Errorf("calls by key (-want +got):\n%s", diff)
	}
	ledger.Calls[0].Models[0] = "changed"
	if e.Ledger().Calls[0].Models[0] != "a" {
		t.Error("a ledger that was handed out is not a copy")
	}
}

func TestAFingerprintIsTheStartOfTheHash(t *testing.T) {
	if got := Fingerprint("abc"); got != "ba7816bf8f01cfea" {
		t.Errorf("got %s", got)
	}
}

func TestNeitherKeysNorTokensAreLoggedOrServed(t *testing.T) {
	var log bytes.Buffer
	e := New(Options{Keys: []string{testKey}, Logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	scoped := `{"authorization_details":[{"type":"session","resources":{"models":{"match":["` + testKey + `"]}}}]}`
	for _, body := range []string{"", scoped, "{" + testKey} {
		for _, key := range []string{testKey, testKey + "_unknown", ""} {
			send(t, e, http.MethodPost, "/tokens", key, body)
		}
	}
	send(t, e, http.MethodPost, "/"+testKey+"?"+testKey, testKey, testKey)
	send(t, e, http.MethodPost, "/_emulator/keys", "", `{"key":"`+testKey+`_added"}`)
	ledger := send(t, e, http.MethodGet, "/_emulator/ledger", "", "")

	if lines := strings.Count(log.String(), "\n"); lines != 9 {
		t.Errorf("%d lines were logged, want one for each call:\n%s", lines, &log)
	}
	if strings.Contains(log.String(), "rk_") {
		t.Errorf("a key stands in the log:\n%s", &log)
	}
	for _, token := range e.IssuedJWTs() {
		if strings.Contains(log.String(), token) || strings.Contains(ledger.body, token) {
			t.Error("a token stands in the log or in the ledger")
		}
	}
}

func TestTheSameRandomGivesTheSameTokens(t *testing.T) {
	emulatorOf := func() *Emulator {
		return New(Options{Clock: testclock.NewFakePassiveClock(noon), Keys: []string{testKey}, Random: strings.NewReader(strings.Repeat("random", 100))})
	}
	if first, second := mint(t, emulatorOf(), ""), mint(t, emulatorOf(), ""); first != second {
		t.Error("two runs with one source differ")
	}
}
