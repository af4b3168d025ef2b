package emulator

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// This file is the negotiation of a connection: a client sends an offer of media, and polls for the answer. Without Media there is no answer, so
// that the client polls until it gives up.

// Media carries the output of a model to the client of a session.
type Media interface {
	// Connect accepts a client's offer, as SDP, and returns the answer, which has all candidates: no others are sent later.
	// The connection lives until ctx ends: when the session is over, or when its client has sent another offer. If the connection to the client is
	// lost before that, Connect calls lost. An error is logged, and the client polls until it gives up.
	Connect(ctx context.Context, offer string, lost func()) (answer string, err error)
}

// noLimit is longer than an emulator runs.
const noLimit = 100 * 365 * 24 * time.Hour

// connectMedia connects media in the background, for at most the duration. The context does not end with the request, which is shorter than the
// connection. The duration ends it even if no request settles the session when its time is over.
func connectMedia(media Media, offer string, duration time.Duration, lost func(), log *slog.Logger) *mediaConnection {
	ctx, cancel := context.WithTimeout(context.Background(), duration)
	connection := &mediaConnection{close: cancel}
	go func() {
		answer, err := media.Connect(ctx, offer, func() {
			if ctx.Err() == nil {
				lost()
			}
		})
		if err != nil {
			cancel()
			log.Error("could not answer the offer", "error", err.Error())
			return
		}
		connection.answer.Store(&answer)
	}()
	return connection
}

// ifRunning refuses a request while the client cannot connect to the session.
func ifRunning(handle func(sessionRequest, *session) reply) func(sessionRequest, *session) reply {
	return func(request sessionRequest, s *session) reply {
		if state := s.state(request.time); state != StateActive && state != StateInactive {
			return badRequest("the session is not running: its state is " + state)
		}
		return handle(request, s)
	}
}

// ifConnected refuses a request whose path has the number of a connection that does not exist.
func ifConnected(handle func(sessionRequest, *session) reply) func(sessionRequest, *session) reply {
	return func(request sessionRequest, s *session) reply {
		number, err := strconv.Atoi(request.connection)
		if err != nil || number < firstConnection || number > s.lastConnection() {
			return notFound("there is no such connection")
		}
		return handle(request, s)
	}
}

// listICEServers returns an empty list, which is valid: on one machine none is needed.
func listICEServers(sessionRequest, *session) reply {
	return replyOK(map[string]any{"ice_servers": []string{}})
}

// openConnection makes a connection and returns its number.
func openConnection(_ sessionRequest, s *session) reply {
	return reply{status: http.StatusCreated, body: encode(map[string]int{"connection_id": s.addConnection()})}
}

var noOffer = badRequest("the body must be a JSON object with an SDP offer in sdp_offer")

// takeFirstOffer makes a connection and negotiates it.
func takeFirstOffer(request sessionRequest, s *session) reply {
	offer := offerIn(request.body)
	if offer == "" {
		return noOffer
	}
	number := s.addConnection()
	s.negotiate(offer)
	return accepted(number)
}

// takeOffer negotiates the last connection: for the first time if the connection has a number, or again when a client reconnects.
func takeOffer(request sessionRequest, s *session) reply {
	offer := offerIn(request.body)
	switch {
	case offer == "":
		return noOffer
	case s.connections == 0:
		return badRequest("there is no connection to take up")
	}
	s.negotiate(offer)
	return accepted(s.lastConnection())
}

// offerIn returns the offer in a body, or "" if there is none.
func offerIn(body []byte) string {
	var request struct {
		Offer string `json:"sdp_offer"`
	}
	if json.Unmarshal(body, &request) != nil {
		return ""
	}
	return request.Offer
}

// accepted has the status 202, which the JavaScript SDK requires.
func accepted(connection int) reply {
	return reply{status: http.StatusAccepted, body: encode(map[string]int{"connection_id": connection})}
}

// showAnswer returns the answer to the last offer. Until one exists, the status is 202, and the client polls again.
func showAnswer(_ sessionRequest, s *session) reply {
	if s.media != nil {
		if answer := s.media.answer.Load(); answer != nil {
			return replyOK(map[string]any{"sdp_answer": *answer, "connection_id": s.lastConnection()})
		}
	}
	return reply{status: http.StatusAccepted, body: []byte("{}")}
}

// takeCandidates accepts addresses of the client, which can arrive before the answer to the offer is known.
func takeCandidates(request sessionRequest, _ *session) reply {
	if !json.Valid(request.body) {
		return badRequest("the body is not JSON")
	}
	return reply{status: http.StatusAccepted, body: []byte("{}")}
}
