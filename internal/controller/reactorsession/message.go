package reactorsession

import (
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// said is what a program wrote into its termination message: one JSON object a line, and among them lines that mean nothing here.
type said struct {
	sessions []string // the ids of Reactor sessions, each once, in the order in which they were told last
	failure  failure  // the last error
}

// mostSessions bounds how many sessions of one message are seen to.
const mostSessions = 16

// told is one object of a termination message.
type told struct {
	SessionID string        `json:"sessionId"`
	Error     reportedError `json:"error"`
}

// parseMessage reads a termination message. It is hostile input, as everything that comes out of a container: what does not have
// the form of an id or of an error code is passed over. But an id that can be understood is heard, also when the program forgot the end
// of a line, or wrote something else wrong beside it: a session that nobody sees to is billed.
func parseMessage(message string) said {
	var heard said
	for line := range strings.Lines(message) {
		for object := range objects(line) {
			heard.take(object)
		}
	}
	return heard
}

// objects are those of a line, up to what is no JSON.
func objects(line string) iter.Seq[told] {
	return func(yield func(told) bool) {
		for decoder := json.NewDecoder(strings.NewReader(line)); ; {
			var object told
			err := decoder.Decode(&object)
			if _, mistyped := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !mistyped {
				return
			}
			if !yield(object) {
				return
			}
		}
	}
}

// take keeps what an object tells. Of too many sessions the last ones are kept: those before have most likely ended.
func (s *said) take(object told) {
	if id := object.SessionID; reactor.IsSessionID(id) {
		s.sessions = append(slices.DeleteFunc(s.sessions, func(known string) bool { return known == id }), id)
		s.sessions = s.sessions[max(len(s.sessions)-mostSessions, 0):]
	}
	if read := object.Error.failure(); read != (failure{}) {
		s.failure = read
	}
}

// isErrorCode reports whether text has the form of Reactor's error codes, such as RATE_LIMITED.
func isErrorCode(text string) bool {
	return text != "" && len(text) <= 64 && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == ""
}
