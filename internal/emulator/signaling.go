package emulator

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// This file is the negotiation of a connection, up to the point where media start: offers are taken, and without Media no answer to them
// ever comes, so that a client polls for it until it gives up.

// running answers only for a session that can be connected to.
func running(answer func(*sessionCall, *session) reply) func(*sessionCall, *session) reply {
	return func(call *sessionCall, s *session) reply {
		if state := s.state(call.now); state != StateActive && state != StateInactive {
			return badRequest("the session is not running: its state is " + state).reply()
		}
		return answer(call, s)
	}
}

// iceServers is an empty list, which is valid: on one machine there is no need of any.
func iceServers(*sessionCall, *session) reply {
	return ok(map[string]any{"ice_servers": []string{}})
}

// numbered answers only for a connection that has the number in the path.
func numbered(answer func(*sessionCall, *session) reply) func(*sessionCall, *session) reply {
	return func(call *sessionCall, s *session) reply {
		number, err := strconv.Atoi(call.connection)
		if err != nil || number < firstConnected || number >= firstConnected+s.connections {
			return notFound("there is no such connection").reply()
		}
		return answer(call, s)
	}
}

// offer takes the first offer of a client's media, which makes a connection.
func offer(call *sessionCall, s *session) reply {
	if found := checkOffer(call.body); found != (problem{}) {
		return found.reply()
	}
	number := s.connect()
	s.negotiate(call.body)
	return accepted(number)
}

// offerAgain takes an offer for a connection that was made: the first one, when it has a number, or that of a client that comes
// back.
func offerAgain(call *sessionCall, s *session) reply {
	if found := checkOffer(call.body); found != (problem{}) {
		return found.reply()
	}
	if s.connections == 0 {
		return badRequest("there is no connection to take up").reply()
	}
	s.dropped = time.Time{}
	s.negotiate(call.body)
	return accepted(firstConnected + s.connections - 1)
}

func checkOffer(body []byte) problem {
	if offerOf(body) == "" {
		return badRequest("the body must be a JSON object with an SDP offer in sdp_offer")
	}
	return problem{}
}

// offerOf reads a client's offer; it is empty when there is none.
func offerOf(body []byte) string {
	var request struct {
		Offer string `json:"sdp_offer"`
	}
	if json.Unmarshal(body, &request) != nil {
		return ""
	}
	return request.Offer
}

// negotiate has the offer in a body answered, in place of any that came before.
func (s *session) negotiate(body []byte) {
	s.hangUp()
	if s.dial != nil {
		s.line = s.dial(offerOf(body))
	}
}

// accepted is exactly 202, which the JavaScript SDK insists on.
func accepted(connection int) reply {
	return reply{status: http.StatusAccepted, body: encode(map[string]int{"connection_id": connection})}
}

// showAnswer hands out the answer to the last offer, once there is one. Until then it asks the client to poll again.
func showAnswer(_ *sessionCall, s *session) reply {
	if s.line != nil {
		if sdp := s.line.answer.Load(); sdp != nil {
			return ok(map[string]any{"sdp_answer": *sdp, "connection_id": firstConnected + s.connections - 1})
		}
	}
	return reply{status: http.StatusAccepted, body: []byte("{}")}
}

// openConnection gives a connection its number.
func openConnection(_ *sessionCall, s *session) reply {
	return reply{status: http.StatusCreated, body: encode(map[string]int{"connection_id": s.connect()})}
}

// candidates takes addresses at which the client may be reached. They may come before the offer is answered.
func candidates(call *sessionCall, _ *session) reply {
	if !json.Valid(call.body) {
		return badRequest("the body is not JSON").reply()
	}
	return reply{status: http.StatusAccepted, body: []byte("{}")}
}
