package emulator

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/emulator/grant"
)

const (
	// clusterName and serverVersion are in every response about a session; the JavaScript SDK requires both.
	clusterName   = "emulator-1"
	serverVersion = "emulator-1.0.0"
)

// sessionRequest is a request to the session API, with a valid token.
type sessionRequest struct {
	token      grant.Grant
	session    string // the id in its path; empty for a new session
	connection string // the number of the connection in its path; empty if there is none
	body       []byte
	time       time.Time
}

// serveSession serves a route of the session API: it reads the request, records it, applies a fault, and answers. handle returns the response,
// and the id of a session that it has started.
func (e *Emulator) serveSession(pattern string, handle func(sessionRequest) (reply, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			tooLarge().write(w, e.Now())
			return
		} else if err != nil {
			panic(http.ErrAbortHandler) // the client has disconnected
		}
		token, authorized := e.authorize(r)
		request := sessionRequest{token: token, session: r.PathValue("id"), connection: r.PathValue("cid"), body: body}
		index, fault := e.recordSessionCall(pattern, request)
		defer e.logSessionCall(context.WithoutCancel(r.Context()), index)
		if !fault.wait(r.Context()) {
			panic(http.ErrAbortHandler)
		}
		answer := e.answerSessionCall(index, func() (reply, string) {
			request.time = e.clock.Now()
			switch {
			case fault.replaces():
				return fault.reply(), ""
			case !authorized:
				return replyError(http.StatusUnauthorized, "unauthorized", "the token is missing, not known, or no longer valid"), ""
			}
			return handle(request)
		})
		now := e.Now()
		fault.change(answer, now).write(w, now)
	}
}

// authorize returns what the token of a request allows, and whether the token is valid.
func (e *Emulator) authorize(r *http.Request) (grant.Grant, bool) {
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return grant.Grant{}, false
	}
	claims, err := e.Verify(token)
	if err != nil {
		return grant.Grant{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	key := e.keyOfToken[claims.ID]
	if e.revocation.RefuseTokens && !e.keys.valid(key, e.clock.Now()) {
		return grant.Grant{}, false
	}
	return grant.Grant{JTI: claims.ID, Key: key, Details: claims.AuthorizationDetails}, true
}

// recordSessionCall adds a call to the ledger, and returns its index there and the fault that applies to it.
func (e *Emulator) recordSessionCall(pattern string, request sessionRequest) (int, Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	model := modelIn(request.body)
	if s, known := e.sessions[request.session]; known {
		model = s.model
	}
	fault, faulted := e.nextFault(pattern, request.token.Key, []string{model})
	e.sessionCalls = append(e.sessionCalls, SessionCall{
		Time: e.now(), Route: pattern, Key: request.token.Key, JTI: request.token.JTI, Model: model, Session: request.session, Faulted: faulted,
	})
	return len(e.sessionCalls) - 1, fault
}

// answerSessionCall answers a call under the lock, and records the response.
func (e *Emulator) answerSessionCall(index int, answer func() (reply, string)) reply {
	e.mu.Lock()
	defer e.mu.Unlock()
	result, started := answer()
	e.sessionCalls[index].Status = result.status
	if started != "" {
		e.sessionCalls[index].Session = started
	}
	return result
}

func (e *Emulator) logSessionCall(ctx context.Context, index int) {
	e.mu.Lock()
	call := e.sessionCalls[index]
	e.mu.Unlock()
	e.log.InfoContext(ctx, "session call", "route", call.Route, "session", call.Session, "status", call.Status, "jti", call.JTI,
		"key", call.Key, "faulted", call.Faulted)
}

// onSession handles a request about a session that was started, if the token covers it.
func (e *Emulator) onSession(handle func(sessionRequest, *session) reply) func(sessionRequest) (reply, string) {
	return func(request sessionRequest) (reply, string) {
		s, found := e.sessions[request.session]
		switch {
		case !found:
			return notFound("there is no such session"), ""
		case !request.token.Covers(s.id, s.jti): // the message follows Reactor's
			return replyError(http.StatusForbidden, "forbidden", "this token is session-scoped and is not authorized for this resource; "+
				"mint it again with authorization_details.resources.sessions.bind naming the session"), ""
		}
		s.settle(request.time)
		return handle(request, s), ""
	}
}

// startSession is POST /sessions.
func (e *Emulator) startSession(request sessionRequest) (reply, string) {
	name := modelIn(request.body)
	if name == "" {
		return badRequest("the body must be a JSON object with the model's name in model.name"), ""
	}
	var started, open []string // the models of the sessions that the token has started, and of those that are open
	for _, s := range e.sessions {
		s.settle(request.time)
		if s.jti == request.token.JTI {
			started = append(started, s.model)
		}
		if s.open() {
			open = append(open, s.model)
		}
	}
	maxDuration, denial := request.token.Start(name, started)
	if denial != (grant.Denial{}) {
		return replyError(http.StatusForbidden, denial.Code, denial.Message), ""
	}
	if refused, exceeded := e.quotas.exceeded(name, open, e.starts, request.time); exceeded {
		return refused, ""
	}
	s := &session{
		id: e.signer.NewSessionID(), key: request.token.Key, jti: request.token.JTI, model: name, created: request.time, readyAt: request.time.Add(e.readyAfter),
		maxDuration: maxDuration, reconnectWindow: e.reconnectWindow, closeAfter: e.closeAfter,
	}
	if e.media != nil {
		s.connect = func(offer string) *mediaConnection {
			duration := noLimit
			if maxDuration > 0 {
				duration = maxDuration - e.clock.Now().Sub(s.created)
			}
			return connectMedia(e.media, offer, duration, func() { e.Drop(s.id) }, e.log.With("session", s.id))
		}
	}
	e.sessions[s.id] = s
	return reply{status: http.StatusCreated, body: encode(describe(s, StateCreated))}, s.id
}

// modelName is a session's model in requests and responses.
type modelName struct {
	Name string `json:"name"`
}

// modelIn returns the name of the model in the body of POST /sessions, or "" if there is none.
func modelIn(body []byte) string {
	var request struct {
		Model modelName `json:"model"`
	}
	if json.Unmarshal(body, &request) != nil {
		return ""
	}
	return request.Model.Name
}

// description is a session in a response. The JavaScript SDK rejects a response without one of the fields above the empty line, or with null in
// place of an omitted one. It considers a session ready if it has both fields below.
type description struct {
	SessionID  string            `json:"session_id"`
	State      string            `json:"state"`
	Cluster    string            `json:"cluster"`
	Model      modelName         `json:"model"`
	ServerInfo map[string]string `json:"server_info"`

	SelectedTransport *selectedTransport `json:"selected_transport,omitempty"`
	Capabilities      *capabilities      `json:"capabilities,omitempty"`
}

type selectedTransport struct {
	Protocol string `json:"protocol"`
	Version  string `json:"version"`
}

type capabilities struct {
	ProtocolVersion string         `json:"protocol_version"`
	Tracks          []mediaTrack   `json:"tracks"`
	Commands        []modelCommand `json:"commands"`
	EmissionFPS     int            `json:"emission_fps"`
}

type mediaTrack struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Direction string `json:"direction"`
}

type modelCommand struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Schema      map[string]any `json:"schema"`
}

func describe(s *session, state string) description {
	return description{
		SessionID: s.id, State: state, Cluster: clusterName, Model: modelName{s.model}, ServerInfo: map[string]string{"server_version": serverVersion},
	}
}

// showSession is GET /sessions/{id}.
func showSession(request sessionRequest, s *session) reply {
	shown := describe(s, s.state(request.time))
	if shown.State == StateActive || shown.State == StateInactive {
		shown.SelectedTransport = &selectedTransport{"webrtc", "1.0"}
		shown.Capabilities = &capabilities{
			ProtocolVersion: "1.0",
			Tracks:          []mediaTrack{{"main_video", "video", "recvonly"}},
			Commands:        []modelCommand{{"set_prompt", "Sets the prompt", map[string]any{"prompt": map[string]string{"type": "string"}}}},
			EmissionFPS:     24,
		}
	}
	return replyOK(shown)
}

// showInfo is GET /sessions/{id}/info.
func showInfo(request sessionRequest, s *session) reply {
	return replyOK(map[string]string{"session_id": s.id, "state": s.state(request.time), "cluster": clusterName})
}

// deleteSession is DELETE /sessions/{id}.
func deleteSession(request sessionRequest, s *session) reply {
	if !s.open() {
		return notFound("the session is over")
	}
	s.delete(request.time)
	return replyOK(struct{}{})
}
