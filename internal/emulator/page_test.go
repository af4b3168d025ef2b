package emulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAPageIsWhatAProxyAnswers(t *testing.T) {
	const html, text = "text/html; charset=utf-8", "text/plain; charset=utf-8"
	want := map[Page]struct {
		status                int
		server, kind, content string // kind is the Content-Type
	}{
		PageForbiddenHTML:    {403, "cloudflare", html, "<!DOCTYPE html>"},
		PageForbiddenText:    {403, "cloudflare", text, "error code: 1010"},
		PageForbiddenJSON:    {403, "cloudflare", "application/json", "{"},
		PageLimitedJSON:      {429, "cloudflare", "application/json", "{"},
		PageBadGatewayHTML:   {502, "nginx", html, "<!DOCTYPE html>"},
		PageOKHTML:           {200, "nginx", html, "<!DOCTYPE html>"},
		PageNotFoundHTML:     {404, "nginx", html, "<!DOCTYPE html>"},
		PageNotAllowedHTML:   {405, "nginx", html, "<!DOCTYPE html>"},
		PageMaintenanceFound: {302, "nginx", html, "<!DOCTYPE html>"},
	}
	if len(Pages()) != len(want) {
		t.Errorf("there are %d pages, want %d", len(Pages()), len(want))
	}
	for _, page := range Pages() {
		want, tested := want[page]
		if !tested {
			t.Errorf("page %q is not tested", page)
			continue
		}
		t.Run(string(page), func(t *testing.T) {
			overBoth(t, func(t *testing.T, e *Emulator, by reach) {
				wantStatus(t, "set it", send(t, e, "PUT", "/_emulator/faults", "", fmt.Sprintf(`{"faults":[{"page":%q,"times":1}]}`, page)), 204, "")
				got := sendWith(t, by.client, by.base, http.MethodPost, "/tokens", testKey, "")
				if got.status != want.status || got.header.Get("Server") != want.server || got.header.Get("Content-Type") != want.kind || !strings.HasPrefix(got.body, want.content) {
					t.Errorf("%d %v\n%s\nwant %+v", got.status, got.header, got.body, want)
				}
				var object map[string]any
				if json.Unmarshal([]byte(got.body), &object) == nil && object["error"] != nil {
					t.Errorf("it passes for Reactor's own answer: %s", got.body)
				}
				if ledger := e.Ledger(); ledger.Mints() != 0 || !ledger.Calls[0].Faulted || ledger.Calls[0].Status != want.status {
					t.Errorf("ledger %+v", ledger)
				}
				after := sendWith(t, by.client, by.base, http.MethodPost, "/tokens", testKey, "")
				if after.status != 200 || after.header.Get("Server") != "" {
					t.Errorf("Reactor's own answer: %d, Server %q", after.status, after.header.Get("Server"))
				}
			})
		})
	}
}

func TestAPageHasTheHeadersOfItsKind(t *testing.T) {
	e := emulatorAtNoon()
	for _, test := range []struct {
		fault        Fault
		header, want string
	}{
		{Fault{Page: PageMaintenanceFound}, "Location", "https://maintenance.example/"},
		{Fault{Page: PageLimitedJSON}, "Retry-After", "30"},
		{Fault{Page: PageLimitedJSON, RetryAfter: time.Minute}, "Retry-After", "60"},
		{Fault{Page: PageForbiddenJSON}, "Retry-After", ""},
	} {
		e.SetFaults(test.fault)
		if got := send(t, e, http.MethodPost, "/tokens", testKey, "").header.Get(test.header); got != test.want {
			t.Errorf("%s of %q: %q, want %q", test.header, test.fault.Page, got, test.want)
		}
	}
}

func TestAJSONPageHasTheMembersOfAProblemInTheSenseOfRFC9457(t *testing.T) {
	e := emulatorAtNoon()
	for page, status := range map[Page]float64{PageForbiddenJSON: 403, PageLimitedJSON: 429} {
		e.SetFaults(Fault{Page: page})
		var members map[string]any
		if err := json.Unmarshal([]byte(send(t, e, http.MethodPost, "/tokens", testKey, "").body), &members); err != nil {
			t.Fatal(err)
		}
		if members["status"] != status {
			t.Errorf("%s: status %v", page, members["status"])
		}
		names := map[string]bool{}
		for name := range members {
			names[name] = true
		}
		if diff := cmp.Diff(map[string]bool{"type": true, "title": true, "status": true, "detail": true, "instance": true}, names); diff != "" {
			t.Errorf("%s: members (-want +got):\n%s", page, diff)
		}
	}
}

func TestAPageReachesTheSessionsToo(t *testing.T) {
	inBubble(t, noQuotas, func(t *testing.T, e *Emulator) {
		token := mint(t, e, "").JWT
		id := start(t, e, token)
		e.SetFaults(Fault{Route: "DELETE /sessions/{id}", Page: PageNotFoundHTML, Times: 1})
		got := as(t, e, token, "DELETE /sessions/"+id, "")
		if got.status != 404 || !strings.HasPrefix(got.body, "<!DOCTYPE html>") {
			t.Errorf("%d %s", got.status, got.body)
		}
		if open := len(e.Ledger().Open()); open != 1 {
			t.Errorf("%d sessions are open, want 1: Reactor never got the call", open)
		}
	})
}

// The rule by which a client tells Reactor's refusals from a proxy's: a JSON object with a string in error.
func TestEveryErrorOfReactorHasAStringInError(t *testing.T) {
	inBubble(t, Options{Quotas: &Quotas{Concurrent: 1}}, func(t *testing.T, e *Emulator) {
		token, renewed := mint(t, e, scope("")).JWT, mint(t, e, scope("")).JWT
		id := start(t, e, token)
		large := strings.Repeat(" ", maxRequestBytes+1)
		for what, got := range map[string]answer{
			"an unknown key":              send(t, e, "POST", "/tokens", "rk_other", ""),
			"a bad body":                  send(t, e, "POST", "/tokens", testKey, "{"),
			"a large body":                send(t, e, "POST", "/tokens", testKey, large),
			"a binding that is not yours": send(t, e, "POST", "/tokens", testKey, scope("", "0f6c")),
			"another method":              send(t, e, "GET", "/tokens", testKey, ""),
			"another path":                send(t, e, "GET", "/other", testKey, ""),
			"no token":                    as(t, e, "", "GET /sessions/"+id, ""),
			"another grant":               as(t, e, renewed, "GET /sessions/"+id, ""),
			"another session":             as(t, e, token, "GET /sessions/other", ""),
			"a quota":                     as(t, e, token, "POST /sessions", startBody),
			"another model":               as(t, e, token, "POST /sessions", `{"model":{"name":"reactor/other"}}`),
			"a session that is not ready": as(t, e, token, "GET /sessions/"+id+"/transport/webrtc/ice_servers", ""),
			"a large offer":               as(t, e, token, "POST /sessions", large),
			"another method of a session": as(t, e, token, "PATCH /sessions/"+id, ""),
		} {
			var refusal struct {
				Error *string `json:"error"`
			}
			if err := json.Unmarshal([]byte(got.body), &refusal); err != nil || got.status < 400 || refusal.Error == nil || *refusal.Error == "" {
				t.Errorf("%s: %d %s (%v)", what, got.status, got.body, err)
			}
		}
	})
}
