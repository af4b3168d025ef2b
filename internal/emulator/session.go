package emulator

import (
	"context"
	"sync/atomic"
	"time"
)

// firstConnection is the number of a session's first connection.
const firstConnection = 1000

// session is the state of a session. What happens at a time, such as the end at the maximum duration, is only recorded when settle is called.
type session struct {
	id      string
	key     string // fingerprint of the API key of its token
	jti     string // the token that started it
	model   string
	created time.Time

	readyAt         time.Time     // when the client can connect
	maxDuration     time.Duration // 0 for no limit
	reconnectWindow time.Duration // how long it waits for a client after a connection dropped
	closeAfter      time.Duration // from its deletion until it is closed

	connections int       // how many were made
	dropped     time.Time // when the last one dropped; zero while it is connected, or before the first
	deleted     time.Time // when the deletion was requested; zero before
	connect     func(offer string) *mediaConnection
	media       *mediaConnection // of the last connection; nil if there is none

	ended     time.Time
	endReason string
}

// mediaConnection is a connection that carries media, or will carry them.
type mediaConnection struct {
	answer atomic.Pointer[string] // nil until the answer is known
	close  context.CancelFunc
}

// settle ends a session that should have ended by now, with the time at which it should.
func (s *session) settle(now time.Time) {
	if !s.ended.IsZero() {
		return
	}
	if s.maxDuration > 0 {
		s.endIfDue(s.created.Add(s.maxDuration), now, EndDuration)
	}
	if !s.deleted.IsZero() {
		s.endIfDue(s.deleted.Add(s.closeAfter), now, EndDeleted)
	}
	if !s.dropped.IsZero() {
		s.endIfDue(s.dropped.Add(s.reconnectWindow), now, EndNotTakenUp)
	}
}

// endIfDue ends the session at a time that is not in the future, unless it ended before that time.
func (s *session) endIfDue(due, now time.Time, reason string) {
	if due.After(now) || (!s.ended.IsZero() && !due.Before(s.ended)) {
		return
	}
	s.end(due, reason)
}

func (s *session) end(now time.Time, reason string) {
	s.ended, s.endReason = now, reason
	s.closeMedia()
}

// delete requests the end of the session, which is closed closeAfter later.
func (s *session) delete(now time.Time) {
	if s.deleted.IsZero() {
		s.deleted = now
		s.closeMedia()
		s.settle(now)
	}
}

// drop cuts the last connection. It returns false if there is none.
func (s *session) drop(now time.Time) bool {
	if s.connections == 0 || !s.dropped.IsZero() {
		return false
	}
	s.closeMedia()
	s.dropped = now
	return true
}

// addConnection makes a connection, and returns its number.
func (s *session) addConnection() int {
	s.connections++
	s.dropped = time.Time{}
	return s.lastConnection()
}

func (s *session) lastConnection() int { return firstConnection + s.connections - 1 }

// negotiate connects media for an offer to the last connection, in place of those of any offer before. The connection is not dropped any more.
func (s *session) negotiate(offer string) {
	s.dropped = time.Time{}
	s.closeMedia()
	if s.connect != nil {
		s.media = s.connect(offer)
	}
}

func (s *session) closeMedia() {
	if s.media != nil {
		s.media.close()
		s.media = nil
	}
}

// state returns one of the State constants. Call settle before; the same goes for open, billed and record.
func (s *session) state(now time.Time) string {
	switch {
	case !s.ended.IsZero():
		return StateClosed
	case !s.dropped.IsZero():
		return StateInactive
	case now.Before(s.readyAt):
		return StatePending
	default:
		return StateActive
	}
}

// open reports whether the session has not ended, so that it is billed.
func (s *session) open() bool { return s.ended.IsZero() }

// billed is how long the session was ready, idle or not. The wait for a client to reconnect is billed too.
func (s *session) billed(now time.Time) time.Duration {
	until := s.ended
	if s.open() {
		until = now
	}
	return max(until.Sub(s.readyAt), 0)
}

// record is the session in the form of the ledger.
func (s *session) record(now time.Time) Session {
	return Session{
		ID: s.id, Key: s.key, JTI: s.jti, Model: s.model, State: s.state(now), Created: s.created, Ended: s.ended, EndReason: s.endReason,
		Billed: s.billed(now), Connections: s.connections,
	}
}
