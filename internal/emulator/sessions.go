package emulator

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// DefaultReadyAfter is how long a session takes to become ready.
	DefaultReadyAfter = 500 * time.Millisecond

	// DefaultReconnectWindow is how long a session whose last connection dropped waits, and is billed, for somebody to come
	// back.
	DefaultReconnectWindow = 30 * time.Second

	// DefaultCloseAfter is how long after a DELETE a session is open, and billed, until it is closed.
	DefaultCloseAfter = 700 * time.Millisecond

	// cluster and serverVersion stand in every answer about a session; the JavaScript SDK insists on both.
	cluster       = "emulator-1"
	serverVersion = "emulator-1.0.0"
)

// SetSessionTimes sets how long a session takes to become ready, how long it waits for somebody to come back after its last
// connection dropped, and how long it is still open after a DELETE. Sessions that were started before keep theirs.
func (e *Emulator) SetSessionTimes(readyAfter, reconnectWindow, closeAfter time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readyAfter, e.reconnectWindow, e.closeAfter = readyAfter, reconnectWindow, closeAfter
}

// Drop cuts the last connection of a session, as when a network fails. It reports whether there was one.
func (e *Emulator) Drop(id string) bool {
	return e.change(id, func(s *session, now time.Time) bool {
		if s.connections == 0 || !s.dropped.IsZero() {
			return false
		}
		s.hangUp()
		s.dropped = now
		return true
	})
}

// EndSession ends a session from Reactor's side, as for moderation or maintenance. It reports whether it was open.
func (e *Emulator) EndSession(id string) bool {
	return e.change(id, func(s *session, now time.Time) bool {
		s.end(now, EndByReactor)
		return true
	})
}

// change changes an open session.
func (e *Emulator) change(id string, how func(*session, time.Time) bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.clock.Now()
	s, known := e.sessions[id]
	if !known {
		return false
	}
	s.settle(now)
	return s.open() && how(s, now)
}

// sessionCall is a request about sessions on its way through the emulator.
type sessionCall struct {
	grant      grant
	connection string // the number in its path, if there is one
	body       []byte
	now        time.Time
	made       *SessionCall // its line in the ledger
}

const startRoute = "POST /sessions"

// sessionAnswers are the routes about a session that was started, and what answers them. A route is named by its pattern, which is
// also how a Fault names it.
var sessionAnswers = map[string]func(*sessionCall, *session) reply{
	"GET /sessions/{id}":      showSession,
	"DELETE /sessions/{id}":   deleteSession,
	"GET /sessions/{id}/info": showInfo,

	// The JavaScript SDK up to 2.11 negotiates one connection without a number; later ones, and Python, number them.
	"GET /sessions/{id}/transport/webrtc/ice_servers":                       running(iceServers),
	"POST /sessions/{id}/transport/webrtc/sdp_params":                       running(offer),
	"PUT /sessions/{id}/transport/webrtc/sdp_params":                        running(offerAgain),
	"GET /sessions/{id}/transport/webrtc/sdp_params":                        running(showAnswer),
	"POST /sessions/{id}/transport/webrtc/ice_candidates":                   running(candidates),
	"POST /sessions/{id}/transport/webrtc/connections":                      running(openConnection),
	"POST /sessions/{id}/transport/webrtc/connections/{cid}/sdp_params":     running(numbered(offerAgain)),
	"PUT /sessions/{id}/transport/webrtc/connections/{cid}/sdp_params":      running(numbered(offerAgain)),
	"GET /sessions/{id}/transport/webrtc/connections/{cid}/sdp_params":      running(numbered(showAnswer)),
	"POST /sessions/{id}/transport/webrtc/connections/{cid}/ice_candidates": running(numbered(candidates)),
}

// outsideGrant is the refusal of a session that a scoped token neither started nor is bound to. The message follows Reactor's.
var outsideGrant = problem{http.StatusForbidden, "forbidden", "this token is session-scoped and is not authorized for this resource; " +
	"mint it again with authorization_details.resources.sessions.bind naming the session"}

// sessionRoutes adds the session API.
func (e *Emulator) sessionRoutes(mux *http.ServeMux) {
	e.serveSessions(mux, startRoute, e.startSession)
	for pattern, answer := range sessionAnswers {
		e.serveSessions(mux, pattern, func(call *sessionCall, r *http.Request) reply {
			s, found := e.sessions[r.PathValue("id")]
			switch {
			case !found:
				return notFound("there is no such session").reply()
			case !call.grant.covers(s):
				return outsideGrant.reply()
			}
			s.settle(call.now)
			return answer(call, s)
		})
	}
}

// serveSessions adds a route: read, meet a fault, wait, answer, write down.
func (e *Emulator) serveSessions(mux *http.ServeMux, pattern string, answer func(*sessionCall, *http.Request) reply) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
		if err != nil {
			if _, tooLarge := errors.AsType[*http.MaxBytesError](err); !tooLarge {
				panic(http.ErrAbortHandler) // the client is gone
			}
			e.writeReply(w, problem{http.StatusRequestEntityTooLarge, "too_large", "the body is too large"}.reply(), Fault{})
			return
		}
		bearer, refused := e.grantOf(r)
		made, fault := e.meetSession(pattern, r.PathValue("id"), bearer, body)
		defer e.logSessionCall(context.WithoutCancel(r.Context()), made)
		if !wait(r.Context(), fault) {
			panic(http.ErrAbortHandler)
		}
		e.writeReply(w, e.answerSession(&sessionCall{grant: bearer, connection: r.PathValue("cid"), body: body, made: made}, r, refused, fault, answer), fault)
	})
}

// meetSession writes the call down, and returns its line and the fault that it meets.
func (e *Emulator) meetSession(pattern, id string, bearer grant, body []byte) (*SessionCall, Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	model := modelOf(body)
	if s, known := e.sessions[id]; known {
		model = s.model
	}
	fault, faulted := e.takeFault(pattern, bearer.key, []string{model})
	made := &SessionCall{Time: e.now(), Route: pattern, Key: bearer.key, JTI: bearer.jti, Model: model, Session: id, Faulted: faulted}
	e.sessionCalls = append(e.sessionCalls, made)
	return made, fault
}

// answerSession decides what is answered, and completes the call in the ledger.
func (e *Emulator) answerSession(
	call *sessionCall, r *http.Request, refused problem, fault Fault, answer func(*sessionCall, *http.Request) reply,
) reply {
	e.mu.Lock()
	defer e.mu.Unlock()
	call.now = e.clock.Now()
	var result reply
	switch {
	case fault.replaces():
		result = faultReply(fault)
	case refused != (problem{}):
		result = refused.reply()
	default:
		result = answer(call, r)
	}
	call.made.Status = result.status
	return result
}

// model is how a session's model stands in requests and answers.
type model struct {
	Name string `json:"name"`
}

// modelOf reads the model's name out of the body of POST /sessions; it is empty when there is none.
func modelOf(body []byte) string {
	var request struct {
		Model model `json:"model"`
	}
	if json.Unmarshal(body, &request) != nil {
		return ""
	}
	return request.Model.Name
}

// startSession is POST /sessions.
func (e *Emulator) startSession(call *sessionCall, _ *http.Request) reply {
	name := modelOf(call.body)
	if name == "" {
		return badRequest("the body must be a JSON object with the model's name in model.name").reply()
	}
	for _, s := range e.sessions {
		s.settle(call.now)
	}
	longest, refused := e.mayStart(call.grant, name)
	if refused != (problem{}) {
		return refused.reply()
	}
	if over := e.overQuota(name, call.now); over != nil {
		return *over
	}
	s := &session{
		id: e.signer.newUUID(), key: call.grant.key, jti: call.grant.jti, model: name,
		created: call.now, ready: call.now.Add(e.readyAfter), longest: longest, window: e.reconnectWindow, closeAfter: e.closeAfter,
	}
	if e.media != nil {
		s.dial = e.dialer(s)
	}
	e.sessions[s.id] = s
	call.made.Session = s.id
	return reply{status: http.StatusCreated, body: encode(describe(s, StateCreated))}
}

// description is a session on the wire. The JavaScript SDK refuses an answer that lacks one of the members above the empty line,
// or has null in place of one that is absent; and it takes a session for ready when both of those below are there.
type description struct {
	SessionID  string            `json:"session_id"`
	State      string            `json:"state"`
	Cluster    string            `json:"cluster"`
	Model      model             `json:"model"`
	ServerInfo map[string]string `json:"server_info"`

	SelectedTransport *transportChoice `json:"selected_transport,omitempty"`
	Capabilities      *capabilities    `json:"capabilities,omitempty"`
}

type transportChoice struct {
	Protocol string `json:"protocol"`
	Version  string `json:"version"`
}

type capabilities struct {
	ProtocolVersion string    `json:"protocol_version"`
	Tracks          []track   `json:"tracks"`
	Commands        []command `json:"commands"`
	EmissionFPS     int       `json:"emission_fps"`
}

type track struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Direction string `json:"direction"`
}

type command struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Schema      map[string]any `json:"schema"`
}

func describe(s *session, state string) description {
	return description{
		SessionID: s.id, State: state, Cluster: cluster, Model: model{s.model}, ServerInfo: map[string]string{"server_version": serverVersion},
	}
}

// showSession is GET /sessions/{id}.
func showSession(call *sessionCall, s *session) reply {
	shown := describe(s, s.state(call.now))
	if shown.State == StateActive || shown.State == StateInactive {
		shown.SelectedTransport = &transportChoice{"webrtc", "1.0"}
		shown.Capabilities = &capabilities{
			ProtocolVersion: "1.0",
			Tracks:          []track{{"main_video", "video", "recvonly"}},
			Commands:        []command{{"set_prompt", "Sets the prompt", map[string]any{"prompt": map[string]string{"type": "string"}}}},
			EmissionFPS:     24,
		}
	}
	return ok(shown)
}

// showInfo is GET /sessions/{id}/info.
func showInfo(call *sessionCall, s *session) reply {
	return ok(map[string]string{"session_id": s.id, "state": s.state(call.now), "cluster": cluster})
}

// deleteSession is DELETE /sessions/{id}. The session is closed a moment later. One that is over already is gone.
func deleteSession(call *sessionCall, s *session) reply {
	if !s.open() {
		return notFound("the session is over").reply()
	}
	if s.deleted.IsZero() {
		s.deleted = call.now
		s.hangUp()
		s.settle(call.now)
	}
	return ok(struct{}{})
}
