package emulator

import (
	"context"
	"sync/atomic"
	"time"
)

// Media carries what a model makes to the client of a session.
type Media interface {
	// Connect takes a client's offer up, in the form of SDP, and returns the answer, which holds all candidates: no others are sent later.
	// What it connects lives until ctx ends, which is when the session is over, or its client has offered anew. When the client is lost
	// before that, it calls lost. An error is logged, and the client polls until it gives up.
	Connect(ctx context.Context, offer string, lost func()) (answer string, err error)
}

// dialer has an offer answered, in the background.
type dialer func(offer string) *line

// line is a connection that carries media, or will.
type line struct {
	answer atomic.Pointer[string] // nil until it is known
	hangUp context.CancelFunc
}

// forEver is longer than an emulator runs.
const forEver = 100 * 365 * 24 * time.Hour

// dialer connects the session's client with the emulator's media.
func (e *Emulator) dialer(s *session) dialer {
	return func(offer string) *line {
		left := s.longest
		if left > 0 {
			left -= e.clock.Now().Sub(s.created)
		} else {
			left = forEver
		}
		// It outlives the request; and since nobody may look at the session when its time is over, it ends by itself: see settle.
		ctx, hangUp := context.WithTimeout(context.Background(), left)
		made := &line{hangUp: hangUp}
		go e.connect(ctx, s.id, offer, made)
		return made
	}
}

// connect waits for the answer, and hears of the connection's loss.
func (e *Emulator) connect(ctx context.Context, id, offer string, made *line) {
	sdp, err := e.media.Connect(ctx, offer, func() {
		if ctx.Err() == nil {
			e.Drop(id)
		}
	})
	if err != nil {
		made.hangUp()
		e.log.Error("the offer cannot be answered", "session", id, "error", err.Error())
		return
	}
	made.answer.Store(&sdp)
}

// hangUp ends the media of the session's last connection, if there are any.
func (s *session) hangUp() {
	if s.line != nil {
		s.line.hangUp()
		s.line = nil
	}
}
