package emulator

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	testModel = "reactor/helios"
	startBody = `{"model":{"name":"reactor/helios"},"client_info":{"sdk_version":"2.9.0","sdk_type":"js"},` +
		`"supported_transports":[{"protocol":"webrtc","version":"1.0"}]}`
)

// inBubble runs a test with an emulator whose clock is the bubble's, so that waiting costs nothing.
func inBubble(t *testing.T, options Options, test func(*testing.T, *Emulator)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		options.Keys = []string{testKey}
		test(t, New(options))
	})
}

// noQuotas are quotas that stand in nobody's way.
var noQuotas = Options{Quotas: &Quotas{}}

// scope is the body of a request for a token that is limited.
func scope(constraints string, bind ...string) string {
	sessions := ""
	if len(bind) > 0 {
		sessions = `,"sessions":{"bind":["` + strings.Join(bind, `","`) + `"]}`
	}
	return `{"expires_after":7200,"authorization_details":[{"type":"session","resources":{"models":{"match":["` + testModel + `"]}` + sessions + `}` +
		`,"constraints":{` + constraints + `}}]}`
}

// as sends a request with a token.
func as(t *testing.T, e *Emulator, token, route, body string) answer {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	request, err := http.NewRequestWithContext(t.Context(), method, "http://emulator.test"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := (&http.Client{Transport: e.Transport()}).Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(read), err}
}

// start expects that a session is started, and returns its id.
func start(t *testing.T, e *Emulator, token string) string {
	t.Helper()
	got := as(t, e, token, "POST /sessions", startBody)
	var session struct {
		ID string `json:"session_id"`
	}
	if err := json.Unmarshal([]byte(got.body), &session); err != nil || got.status != http.StatusCreated || session.ID == "" {
		t.Fatalf("status %d, body %s, %v", got.status, got.body, err)
	}
	return session.ID
}

// wantStatus checks the status of a call, and that a refusal has a code.
func wantStatus(t *testing.T, what string, got answer, status int, code string) {
	t.Helper()
	var refusal struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal([]byte(got.body), &refusal) // a success has none
	if got.status != status || refusal.Error != code {
		t.Errorf("%s: %d %s, want %d %s", what, got.status, got.body, status, code)
	}
}

// wantLedger checks each session: how it ended and what it cost, in the order of their starts.
func wantLedger(t *testing.T, e *Emulator, want ...string) {
	t.Helper()
	var got []string
	for _, s := range e.Ledger().Sessions {
		got = append(got, fmt.Sprintf("%s %s after %s", s.State, s.EndReason, s.Billed))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
}

// stateOf asks for a session's state.
func stateOf(t *testing.T, e *Emulator, token, id string) string {
	t.Helper()
	var shown struct {
		State string `json:"state"`
	}
	if err := json.Unmarshal([]byte(as(t, e, token, "GET /sessions/"+id, "").body), &shown); err != nil {
		t.Fatal(err)
	}
	return shown.State
}

// The exact form matters: the JavaScript SDK 2.9.0 throws on a member that is missing or null, and then never ends the session.
func TestASessionIsShownInTheFormThatTheJavaScriptSDKNeeds(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, e *Emulator) {
		token := mint(t, e, "").JWT
		started := as(t, e, token, "POST /sessions", startBody)
		id := e.Ledger().Sessions[0].ID
		slim := `{"session_id":"` + id + `","state":"%s","cluster":"emulator-1","model":{"name":"reactor/helios"},"server_info":{"server_version":"emulator-1.0.0"}%s}`
		if want := fmt.Sprintf(slim, StateCreated, ""); started.status != http.StatusCreated || started.body != want {
			t.Errorf("started: %d\n%s\nwant\n%s", started.status, started.body, want)
		}
		if got, want := as(t, e, token, "GET /sessions/"+id, "").body, fmt.Sprintf(slim, StatePending, ""); got != want {
			t.Errorf("at once:\n%s\nwant\n%s", got, want)
		}
		time.Sleep(DefaultReadyAfter)
		ready := `,"selected_transport":{"protocol":"webrtc","version":"1.0"},"capabilities":{"protocol_version":"1.0",` +
			`"tracks":[{"name":"main_video","kind":"video","direction":"recvonly"}],` +
			`"commands":[{"name":"set_prompt","description":"Sets the prompt","schema":{"prompt":{"type":"string"}}}],"emission_fps":24}`
		if got, want := as(t, e, token, "GET /sessions/"+id, "").body, fmt.Sprintf(slim, StateActive, ready); got != want {
			t.Errorf("ready:\n%s\nwant\n%s", got, want)
		}
		if got, want := as(t, e, token, "GET /sessions/"+id+"/info", "").body, `{"cluster":"emulator-1","session_id":"`+id+`","state":"ACTIVE"}`; got != want {
			t.Errorf("info:\n%s\nwant\n%s", got, want)
		}
	})
}

func TestASessionIsBilledFromWhenItIsReadyUntilItEnds(t *testing.T) {
	tests := []struct {
		name  string
		scope string
		live  func(t *testing.T, e *Emulator, token, id string)
		want  string
	}{
		{"while nobody ends it", "", func(*testing.T, *Emulator, string, string) { time.Sleep(time.Hour) }, "ACTIVE  after 59m59.5s"},
		{"until it is deleted", "", func(t *testing.T, e *Emulator, token, id string) {
			time.Sleep(time.Minute)
			if got := as(t, e, token, "DELETE /sessions/"+id, ""); got.status != http.StatusOK || got.body != "{}" {
				t.Errorf("DELETE: %d", got.status)
			}
			if got := stateOf(t, e, token, id); got != StateActive {
				t.Errorf("immediately after its DELETE: %s", got)
			}
			time.Sleep(DefaultCloseAfter / 2)
			wantStatus(t, "a second DELETE", as(t, e, token, "DELETE /sessions/"+id, ""), http.StatusOK, "")
			time.Sleep(DefaultCloseAfter / 2)
			if got := stateOf(t, e, token, id); got != StateClosed {
				t.Errorf("%s after its DELETE: %s", DefaultCloseAfter, got)
			}
			time.Sleep(time.Hour)
		}, "CLOSED deleted after 1m0.2s"},
		{"until its longest time is over, whoever looks and when", scope(`"max_session_duration_seconds":90`), func(*testing.T, *Emulator, string, string) {
			time.Sleep(time.Hour)
		}, "CLOSED max_session_duration after 1m29.5s"},
		{"until nobody comes back after its connection dropped", "", func(t *testing.T, e *Emulator, token, id string) {
			connect(t, e, token, id)
			e.Drop(id)
			time.Sleep(DefaultReconnectWindow - time.Second)
			if got := stateOf(t, e, token, id); got != StateInactive {
				t.Errorf("a second before: %s", got)
			}
			time.Sleep(time.Hour)
		}, "CLOSED not_taken_up after 39.5s"},
		{"on, when somebody comes back", "", func(t *testing.T, e *Emulator, token, id string) {
			connect(t, e, token, id)
			e.Drop(id)
			time.Sleep(20 * time.Second)
			wantStatus(t, "coming back", as(t, e, token, "PUT /sessions/"+id+"/transport/webrtc/sdp_params", `{"sdp_offer":"v=0"}`), http.StatusAccepted, "")
			time.Sleep(time.Minute)
		}, "ACTIVE  after 1m29.5s"},
		{"until the longest time is over also while it waits for somebody", scope(`"max_session_duration_seconds":15`), func(t *testing.T, e *Emulator, token, id string) {
			connect(t, e, token, id)
			e.Drop(id)
			time.Sleep(time.Hour)
		}, "CLOSED max_session_duration after 14.5s"},
		{"until Reactor ends it", "", func(_ *testing.T, e *Emulator, _, id string) {
			time.Sleep(5 * time.Second)
			e.EndSession(id)
			time.Sleep(time.Hour)
		}, "CLOSED ended_by_reactor after 4.5s"},
		{"not while it is made ready", "", func(_ *testing.T, e *Emulator, _, id string) { e.EndSession(id) }, "CLOSED ended_by_reactor after 0s"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, Options{}, func(t *testing.T, e *Emulator) {
				token := mint(t, e, test.scope).JWT
				id := start(t, e, token)
				test.live(t, e, token, id)
				wantLedger(t, e, test.want)
			})
		})
	}
}

// connect makes a session's first connection, ten seconds after its start.
func connect(t *testing.T, e *Emulator, token, id string) {
	t.Helper()
	time.Sleep(10 * time.Second)
	wantStatus(t, "an offer", as(t, e, token, "POST /sessions/"+id+"/transport/webrtc/sdp_params", `{"sdp_offer":"v=0"}`), http.StatusAccepted, "")
}

func TestASessionThatIsOverIsGone(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, e *Emulator) {
		token := mint(t, e, "").JWT
		id := start(t, e, token)
		as(t, e, token, "DELETE /sessions/"+id, "")
		time.Sleep(DefaultCloseAfter)
		if got := stateOf(t, e, token, id); got != StateClosed {
			t.Errorf("its state is %s", got)
		}
		wantStatus(t, "a second DELETE", as(t, e, token, "DELETE /sessions/"+id, ""), http.StatusNotFound, "not_found")
		wantStatus(t, "ice_servers", as(t, e, token, "GET /sessions/"+id+"/transport/webrtc/ice_servers", ""), http.StatusBadRequest, "invalid_request")
		wantStatus(t, "another id", as(t, e, token, "GET /sessions/another", ""), http.StatusNotFound, "not_found")
		if e.Drop(id) || e.EndSession(id) || e.EndSession("another") {
			t.Error("what is over was ended once more")
		}
	})
}

func TestATokenActsOnlyOnWhatItMay(t *testing.T) {
	inBubble(t, noQuotas, func(t *testing.T, e *Emulator) {
		unscoped, limited, renewed := mint(t, e, "").JWT, mint(t, e, scope("")).JWT, mint(t, e, scope("")).JWT
		id := start(t, e, limited)
		bound := mint(t, e, scope("", id)).JWT
		for name, test := range map[string]struct {
			token  string
			status int
			code   string
		}{
			"the token that started it":               {limited, http.StatusOK, ""},
			"a token without limits":                  {unscoped, http.StatusOK, ""},
			"a token that is bound to it":             {bound, http.StatusOK, ""},
			"a renewed token, which is another grant": {renewed, http.StatusForbidden, "forbidden"},
			"no token":                   {"", http.StatusUnauthorized, "unauthorized"},
			"something that is no token": {"eyJ", http.StatusUnauthorized, "unauthorized"},
			"a token of another service, well formed ": {mint(t, New(Options{Keys: []string{testKey}}), "").JWT, http.StatusUnauthorized, "unauthorized"},
		} {
			wantStatus(t, name, as(t, e, test.token, "GET /sessions/"+id, ""), test.status, test.code)
		}
		var refusal struct{ Message string }
		if err := json.Unmarshal([]byte(as(t, e, renewed, "DELETE /sessions/"+id, "").body), &refusal); err != nil {
			t.Fatal(err)
		}
		if want := "this token is session-scoped and is not authorized for this resource; " +
			"mint it again with authorization_details.resources.sessions.bind naming the session"; refusal.Message != want {
			t.Errorf("outside the grant: %q, want %q", refusal.Message, want)
		}
		time.Sleep(2*time.Hour + time.Second)
		wantStatus(t, "a token that has expired", as(t, e, limited, "DELETE /sessions/"+id, ""), http.StatusUnauthorized, "unauthorized")
		wantLedger(t, e, "ACTIVE  after 2h0m0.5s")
	})
}

func TestATokenStartsOnlyWhatItMay(t *testing.T) {
	starts := func(t *testing.T, e *Emulator, token string, want int) {
		t.Helper()
		for range want {
			as(t, e, token, "DELETE /sessions/"+start(t, e, token), "") // one that is over counts too
		}
		wantStatus(t, "one more", as(t, e, token, "POST /sessions", startBody), http.StatusForbidden, "max_sessions_reached")
	}
	inBubble(t, noQuotas, func(t *testing.T, e *Emulator) {
		starts(t, e, mint(t, e, scope(`"max_sessions":3`)).JWT, 3)
		starts(t, e, mint(t, e, scope("")).JWT, 5)
		id := start(t, e, mint(t, e, "").JWT)
		starts(t, e, mint(t, e, scope("", id)).JWT, 0)
		starts(t, e, mint(t, e, scope(`"max_sessions":2`, id)).JWT, 1)
		other := as(t, e, mint(t, e, scope("")).JWT, "POST /sessions", `{"model":{"name":"reactor/other"}}`)
		wantStatus(t, "another model", other, http.StatusForbidden, "forbidden")
		for _, body := range []string{"", "{}", `{"model":{}}`, `{"model":"reactor/helios"}`, "<html>"} {
			wantStatus(t, body, as(t, e, mint(t, e, "").JWT, "POST /sessions", body), http.StatusBadRequest, "invalid_request")
		}
	})
}

func TestATokenIsBoundOnlyToSessionsThatLive(t *testing.T) {
	inBubble(t, noQuotas, func(t *testing.T, e *Emulator) {
		token := mint(t, e, "").JWT
		over, other := start(t, e, token), as(t, e, token, "POST /sessions", `{"model":{"name":"reactor/other"}}`)
		as(t, e, token, "DELETE /sessions/"+over, "")
		time.Sleep(DefaultCloseAfter)
		for what, id := range map[string]string{"one that is over": over, "one of another model": e.Ledger().Sessions[1].ID, "none": "0f6c"} {
			wantStatus(t, what, send(t, e, http.MethodPost, "/tokens", testKey, scope("", id)), http.StatusForbidden, "forbidden")
		}
		if other.status != http.StatusCreated || e.Ledger().Mints() != 1 {
			t.Errorf("%d, %d mints", other.status, e.Ledger().Mints())
		}
	})
}

func TestTheQuotasOfAnAccountAreKept(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, e *Emulator) {
		token := mint(t, e, "").JWT
		refused := func(body, retryAfter string) {
			t.Helper()
			got := as(t, e, token, "POST /sessions", startBody)
			if got.status != http.StatusTooManyRequests || got.body != body || got.header.Get("Retry-After") != retryAfter {
				t.Errorf("got  %d %s, Retry-After %q\nwant 429 %s, Retry-After %q", got.status, got.body, got.header.Get("Retry-After"), body, retryAfter)
			}
		}
		var ids []string
		for range DefaultQuotas.StartBurst {
			ids = append(ids, start(t, e, token))
		}
		refused(`{"error":"quota_exceeded","message":"quota exceeded: sessions_per_minute","quota_type":"sessions_per_minute",`+
			`"limit":10,"current":10,"retry_after_seconds":6}`, "6")
		for len(ids) < DefaultQuotas.Concurrent {
			time.Sleep(6 * time.Second)
			ids = append(ids, start(t, e, token))
		}
		time.Sleep(time.Minute)
		// When a session will end is not known: there is no time to wait for.
		refused(`{"error":"quota_exceeded","message":"quota exceeded: concurrent_sessions","quota_type":"concurrent_sessions",`+
			`"limit":5,"current":5}`, "")
		as(t, e, token, "DELETE /sessions/"+ids[0], "")
		refused(`{"error":"quota_exceeded","message":"quota exceeded: concurrent_sessions","quota_type":"concurrent_sessions",`+
			`"limit":5,"current":5}`, "")
		time.Sleep(DefaultCloseAfter)
		start(t, e, token)
		if got := e.Ledger(); len(got.Open()) != 5 || got.MostOpen("") != 5 || got.MostOpen(testModel) != 5 || got.MostOpen("reactor/other") != 0 {
			t.Errorf("open: %d now, %d at the most, %d of the model", len(got.Open()), got.MostOpen(""), got.MostOpen(testModel))
		}
		e.SetQuotas(Quotas{})
		for range 20 {
			start(t, e, token)
		}
	})
}

func TestMostOpenCountsWhatLivedAtOneTime(t *testing.T) {
	at := func(from, to int) Session {
		s := Session{Created: noon.Add(time.Duration(from) * time.Second)}
		if to > 0 {
			s.Ended = noon.Add(time.Duration(to) * time.Second)
		}
		return s
	}
	for name, test := range map[string]struct {
		sessions []Session
		want     int
	}{
		"none":                        {nil, 0},
		"one after the other":         {[]Session{at(0, 10), at(10, 20), at(20, 0)}, 1},
		"two that overlap":            {[]Session{at(0, 11), at(10, 20), at(20, 30)}, 2},
		"one that lasts, and others":  {[]Session{at(0, 0), at(10, 20), at(15, 30), at(40, 50)}, 3},
		"two that begin at one time":  {[]Session{at(0, 10), at(0, 10)}, 2},
		"one that ended where it was": {[]Session{at(0, 10), at(5, 5)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (Ledger{Sessions: test.sessions}).MostOpen(""); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}

func TestConnectionsAreNegotiatedInBothForms(t *testing.T) {
	const offered = `{"sdp_offer":"v=0\r\n","track_mapping":[]}`
	inBubble(t, Options{}, func(t *testing.T, e *Emulator) {
		token := mint(t, e, "").JWT
		id := start(t, e, token)
		transport := "/sessions/" + id + "/transport/webrtc"
		wantStatus(t, "before it is ready", as(t, e, token, "GET "+transport+"/ice_servers", ""), http.StatusBadRequest, "invalid_request")
		time.Sleep(DefaultReadyAfter)
		for _, step := range []struct {
			route, body string
			status      int
			want        string
		}{
			{"GET " + transport + "/ice_servers", "", 200, `{"ice_servers":[]}`},
			{"PUT " + transport + "/sdp_params", offered, 400, ""},
			{"POST " + transport + "/connections/1000/sdp_params", offered, 404, ""},
			{"POST " + transport + "/sdp_params", "{}", 400, ""},
			{"POST " + transport + "/sdp_params", offered, 202, `{"connection_id":1000}`},
			{"GET " + transport + "/sdp_params", "", 202, `{}`},
			{"PUT " + transport + "/sdp_params", offered, 202, `{"connection_id":1000}`},
			{"POST " + transport + "/ice_candidates", `{"candidates":[],"is_final":true}`, 202, `{}`},
			{"POST " + transport + "/connections", "", 201, `{"connection_id":1001}`},
			{"POST " + transport + "/connections/1001/ice_candidates", `{"candidates":[]}`, 202, `{}`},
			{"POST " + transport + "/connections/1001/ice_candidates", `candidates`, 400, ""},
			{"POST " + transport + "/connections/1001/sdp_params", offered, 202, `{"connection_id":1001}`},
			{"GET " + transport + "/connections/1001/sdp_params", "", 202, `{}`},
			{"PUT " + transport + "/connections/1001/sdp_params", offered, 202, `{"connection_id":1001}`},
			{"GET " + transport + "/connections/1002/sdp_params", "", 404, ""},
			{"GET " + transport + "/connections/first/sdp_params", "", 404, ""},
		} {
			got := as(t, e, token, step.route, step.body)
			if got.status != step.status || (step.want != "" && got.body != step.want) {
				t.Errorf("%s: %d %s, want %d %s", step.route, got.status, got.body, step.status, step.want)
			}
		}
		if got := e.Ledger().Sessions[0].Connections; got != 2 {
			t.Errorf("%d connections", got)
		}
	})
}

func TestFaultsReachTheSessionsToo(t *testing.T) {
	inBubble(t, noQuotas, func(t *testing.T, e *Emulator) {
		token := mint(t, e, "").JWT
		id := start(t, e, token)
		e.SetFaults(
			Fault{Route: "DELETE /sessions/{id}", Status: 503, Times: 1},
			Fault{Route: "GET /sessions/{id}", Hang: true, Times: 1, Key: Fingerprint(testKey)},
			Fault{Route: startRoute, Cut: true, Times: 1, Model: testModel},
			Fault{Route: tokensRoute, Status: 500, Times: 1},
		)
		wantStatus(t, "DELETE", as(t, e, token, "DELETE /sessions/"+id, ""), 503, "fault")
		wantStatus(t, "a token", send(t, e, http.MethodPost, "/tokens", testKey, ""), 500, "fault")
		if got := as(t, e, token, "POST /sessions", startBody); got.err == nil {
			t.Errorf("the answer was not cut: %d %s", got.status, got.body)
		}
		wantLedger(t, e, "PENDING  after 0s", "PENDING  after 0s")
		if open := len(e.Ledger().Open()); open != 2 {
			t.Errorf("%d sessions are open, want also the one that nobody knows", open)
		}
		wantStatus(t, "DELETE afterwards", as(t, e, token, "DELETE /sessions/"+id, ""), 200, "")
		var routes []string
		for _, call := range e.Ledger().SessionCalls {
			routes = append(routes, fmt.Sprint(call.Route, " ", call.Status, " ", call.Faulted))
		}
		want := []string{"POST /sessions 201 false", "DELETE /sessions/{id} 503 true", "POST /sessions 201 true", "DELETE /sessions/{id} 200 false"}
		if diff := cmp.Diff(want, routes); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		if err := (Fault{Route: "GET /sessions"}).Validate(); err == nil {
			t.Error("a fault on a route that is not served is accepted")
		}
	})
}

func TestARotatedKeyLeavesSessionsAlone(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, e *Emulator) {
		token := mint(t, e, "").JWT
		id := start(t, e, token)
		e.RevokeKey(testKey)
		time.Sleep(time.Hour)
		wantStatus(t, "GET", as(t, e, token, "GET /sessions/"+id, ""), 200, "")
		wantStatus(t, "DELETE", as(t, e, token, "DELETE /sessions/"+id, ""), 200, "")
	})
}

func TestSessionsAreControlledByExternalClients(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, e *Emulator) {
		for path, body := range map[string]string{
			"quotas":        `{"concurrent":1,"starts_per_minute":0,"start_burst":0}`,
			"session-times": `{"ready_after":"0s","reconnect_window":"10s","close_after":"0s"}`,
		} {
			wantStatus(t, path, send(t, e, "PUT", "/_emulator/"+path, "", body), 204, "")
		}
		for path, body := range map[string]string{"quotas": `{"concurrent":-1}`, "session-times": `{"close_after":"-1s"}`} {
			wantStatus(t, body, send(t, e, "PUT", "/_emulator/"+path, "", body), 400, "invalid_request")
			wantStatus(t, "{", send(t, e, "PUT", "/_emulator/"+path, "", "{"), 400, "invalid_request")
		}
		token := mint(t, e, "").JWT
		id := start(t, e, token)
		wantStatus(t, "a second one", as(t, e, token, "POST /sessions", startBody), 429, "quota_exceeded")
		wantStatus(t, "a drop before a connection", send(t, e, "POST", "/_emulator/sessions/"+id+"/drop", "", ""), 404, "not_found")
		connect(t, e, token, id)
		wantStatus(t, "a drop", send(t, e, "POST", "/_emulator/sessions/"+id+"/drop", "", ""), 204, "")
		time.Sleep(10 * time.Second)
		wantLedger(t, e, "CLOSED not_taken_up after 20s")
		id = start(t, e, token)
		wantStatus(t, "an end", send(t, e, "POST", "/_emulator/sessions/"+id+"/end", "", ""), 204, "")
		var shown struct {
			Open     int              `json:"open_sessions"`
			Billed   float64          `json:"billed_seconds"`
			Sessions []map[string]any `json:"sessions"`
			Calls    []map[string]any `json:"session_calls"`
		}
		if err := json.Unmarshal([]byte(send(t, e, "GET", "/_emulator/ledger", "", "").body), &shown); err != nil {
			t.Fatal(err)
		}
		if shown.Open != 0 || shown.Billed != 20 || shown.Sessions[1]["end_reason"] != EndByReactor || shown.Calls[0]["route"] != startRoute {
			t.Errorf("the ledger shows %+v", shown)
		}
	})
}
