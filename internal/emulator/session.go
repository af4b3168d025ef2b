package emulator

import (
	"time"
)

// The states of a session, as they stand on the wire. Only a closed session is over, and costs nothing more.
const (
	StateCreated  = "CREATED"  // it was asked for a moment ago
	StatePending  = "PENDING"  // it is being made ready
	StateActive   = "ACTIVE"   // it can be connected to
	StateInactive = "INACTIVE" // its last connection dropped, and it may be taken up again for a while
	StateClosed   = "CLOSED"   // it is over
)

// Why a session ended.
const (
	EndDeleted     = "deleted"              // by DELETE
	EndDuration    = "max_session_duration" // the limit of the token that started it
	EndNotTakenUp  = "not_taken_up"         // its connection dropped, and nobody came back in time
	EndByReactor   = "ended_by_reactor"     // EndSession
	firstConnected = 1000                   // the first number that a connection gets
)

// session is a session as the emulator keeps it. What time alone does to it is worked out when somebody looks: see settle.
type session struct {
	id      string
	key     string // fingerprint of the API key that its token was minted with
	jti     string // the token that started it
	model   string
	created time.Time
	ready   time.Time     // from when it can be connected to
	longest time.Duration // how long it may last; 0 for ever
	window  time.Duration // how long it waits for somebody to come back

	connections int       // how many were made
	dropped     time.Time // when the last one did; zero while it stands, or before the first
	dial        dialer    // connects media; nil when there are none
	line        *line     // the media of the last connection; nil when there are none

	closeAfter time.Duration // how long after its deletion it is closed
	deleted    time.Time     // when that was requested; zero while it was not

	ended time.Time
	why   string
}

// settle ends a session whose time has come, at the instant at which it came.
func (s *session) settle(now time.Time) {
	if !s.ended.IsZero() {
		return
	}
	if s.longest > 0 {
		s.endAt(s.created.Add(s.longest), now, EndDuration)
	}
	if !s.deleted.IsZero() {
		s.endAt(s.deleted.Add(s.closeAfter), now, EndDeleted)
	}
	if !s.dropped.IsZero() {
		s.endAt(s.dropped.Add(s.window), now, EndNotTakenUp)
	}
}

// endAt ends the session at an instant that is not in the future, unless it has ended before that.
func (s *session) endAt(instant, now time.Time, why string) {
	if instant.After(now) || (!s.ended.IsZero() && !instant.Before(s.ended)) {
		return
	}
	s.end(instant, why)
}

// end ends the session, whatever its client does.
func (s *session) end(instant time.Time, why string) {
	s.ended, s.why = instant, why
	s.hangUp()
}

// state is how the session stands, after settle.
func (s *session) state(now time.Time) string {
	switch {
	case !s.ended.IsZero():
		return StateClosed
	case !s.dropped.IsZero():
		return StateInactive
	case now.Before(s.ready):
		return StatePending
	default:
		return StateActive
	}
}

// open reports whether the session lives, and is billed, after settle.
func (s *session) open() bool { return s.ended.IsZero() }

// billed is how long the session was ready, idle or not, after settle. That it waits for a client to come back is billed too.
func (s *session) billed(now time.Time) time.Duration {
	until := s.ended
	if s.open() {
		until = now
	}
	return max(until.Sub(s.ready), 0)
}

// connect makes a connection, and returns its number.
func (s *session) connect() int {
	s.connections++
	s.dropped = time.Time{}
	return firstConnected + s.connections - 1
}

// record is the session as the ledger shows it, after settle.
func (s *session) record(now time.Time) Session {
	return Session{
		ID: s.id, Key: s.key, JTI: s.jti, Model: s.model, State: s.state(now), Created: s.created, Ended: s.ended, EndReason: s.why,
		Billed: s.billed(now), Connections: s.connections,
	}
}
