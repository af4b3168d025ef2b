package emulator

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// telephone is media of which a test sees what is connected, and what has ended.
type telephone struct {
	delay  time.Duration
	offers []string
	over   []context.Context
	lose   func()
}

// Connect implements Media.
func (p *telephone) Connect(ctx context.Context, offer string, lost func()) (string, error) {
	p.offers = append(p.offers, offer)
	p.over = append(p.over, ctx)
	p.lose = lost
	time.Sleep(p.delay)
	if offer == "nonsense" {
		return "", errors.New("not an offer")
	}
	return "answer to " + offer, nil
}

// connected starts a session whose client has offered media, under one of the two families of paths.
func connected(t *testing.T, e *Emulator, constraints, connections string) (token, id, path string) {
	t.Helper()
	token = mint(t, e, scope(constraints)).JWT
	id = start(t, e, token)
	time.Sleep(DefaultReadyAfter)
	path = "/sessions/" + id + "/transport/webrtc" + connections + "/sdp_params"
	if connections != "" {
		wantStatus(t, "a connection", as(t, e, token, "POST /sessions/"+id+"/transport/webrtc/connections", ""), http.StatusCreated, "")
	}
	wantStatus(t, "the offer", as(t, e, token, "POST "+path, `{"sdp_offer":"first"}`), http.StatusAccepted, "")
	return token, id, path
}

func TestAnOfferIsAnsweredOnceMediaAreConnected(t *testing.T) {
	for _, connections := range []string{"", "/connections/1000"} {
		media := &telephone{delay: time.Second}
		inBubble(t, Options{Media: media}, func(t *testing.T, e *Emulator) {
			token, _, path := connected(t, e, "", connections)
			wantStatus(t, "the answer, too early", as(t, e, token, "GET "+path, ""), http.StatusAccepted, "")
			time.Sleep(2 * time.Second)
			got := as(t, e, token, "GET "+path, "")
			if want := `{"connection_id":1000,"sdp_answer":"answer to first"}`; got.status != http.StatusOK || got.body != want {
				t.Errorf("%q: got %d %s, want %s", connections, got.status, got.body, want)
			}
			wantStatus(t, "another offer", as(t, e, token, "PUT "+path, `{"sdp_offer":"second"}`), http.StatusAccepted, "")
			time.Sleep(2 * time.Second)
			if got := as(t, e, token, "GET "+path, ""); !strings.Contains(got.body, "answer to second") {
				t.Errorf("%q: after another offer: %s", connections, got.body)
			}
			if media.over[0].Err() == nil || media.over[1].Err() != nil {
				t.Errorf("%q: the first connection must be over, the second must not: %v, %v", connections, media.over[0].Err(), media.over[1].Err())
			}
			e.EndSession(e.Ledger().Sessions[0].ID) // the bubble ends with all of its timers
		})
	}
}

func TestMediaEndWithTheirSession(t *testing.T) {
	tests := []struct {
		name  string
		limit string
		end   func(*testing.T, *Emulator, string, string)
	}{
		{"when it is deleted", "", func(t *testing.T, e *Emulator, token, id string) {
			wantStatus(t, "DELETE", as(t, e, token, "DELETE /sessions/"+id, ""), http.StatusOK, "")
		}},
		{"when Reactor ends it", "", func(_ *testing.T, e *Emulator, _, id string) { e.EndSession(id) }},
		{"when its connection drops", "", func(_ *testing.T, e *Emulator, _, id string) { e.Drop(id) }},
		{"when its longest time is over and nobody looks", `"max_session_duration_seconds":60`, func(*testing.T, *Emulator, string, string) { time.Sleep(time.Minute) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			media := &telephone{}
			inBubble(t, Options{Media: media}, func(t *testing.T, e *Emulator) {
				token, id, _ := connected(t, e, test.limit, "")
				synctest.Wait()
				if err := media.over[0].Err(); err != nil {
					t.Fatalf("the media are over already: %v", err)
				}
				test.end(t, e, token, id)
				synctest.Wait()
				if media.over[0].Err() == nil {
					t.Error("the media go on")
				}
			})
		})
	}
}

func TestALostClientHasTimeToComeBack(t *testing.T) {
	media := &telephone{}
	inBubble(t, Options{Media: media}, func(t *testing.T, e *Emulator) {
		token, id, _ := connected(t, e, "", "")
		synctest.Wait()
		media.lose()
		if got := stateOf(t, e, token, id); got != StateInactive {
			t.Errorf("a lost client's session is %s", got)
		}
		time.Sleep(DefaultReconnectWindow)
		if got := stateOf(t, e, token, id); got != StateClosed {
			t.Errorf("when nobody came back it is %s", got)
		}
		media.lose() // it is over: nothing is left to lose
	})
}

func TestAnOfferThatCannotBeTakenUpIsNeverAnswered(t *testing.T) {
	inBubble(t, Options{Media: &telephone{}}, func(t *testing.T, e *Emulator) {
		token, id, path := connected(t, e, "", "")
		synctest.Wait()
		wantStatus(t, "nonsense", as(t, e, token, "PUT "+path, `{"sdp_offer":"nonsense"}`), http.StatusAccepted, "")
		synctest.Wait()
		wantStatus(t, "its answer", as(t, e, token, "GET "+path, ""), http.StatusAccepted, "")
		e.EndSession(id)
	})
}

// A page asks before it sends a token to another site; a * among the headers would not cover Authorization.
func TestPagesOfEverySiteMayUseTheSessionAPIAndNothingElse(t *testing.T) {
	e := New(noQuotas)
	for path, want := range map[string]string{"/sessions": "*", "/sessions/s/transport/webrtc/sdp_params": "*", "/tokens": "", "/_emulator/ledger": ""} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, "http://emulator.test"+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Origin", "http://page.test")
		request.Header.Set("Access-Control-Request-Method", http.MethodPut)
		request.Header.Set("Access-Control-Request-Headers", "authorization,content-type,reactor-api-accept-version,reactor-api-version,reactor-webrtc-version")
		response, err := (&http.Client{Transport: e.Transport()}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Error(err)
		}
		if got := response.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: pages of %q may use it, want %q", path, got, want)
		}
	}
}
