package reactorsession

import (
	"encoding/json"
	"strings"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// said is what a program wrote into its termination message: one JSON object a line, and among them lines that mean nothing here.
type said struct {
	sessions []string // the ids of Reactor sessions, in the order in which they were told
	code     string   // of the last error
}

// mostSessions bounds how many sessions of one message are seen to.
const mostSessions = 16

// parseMessage reads a termination message. It is hostile input, as everything that comes out of a container: what does not have
// the form of an id or of an error code is passed over.
func parseMessage(message string) said {
	var heard said
	for line := range strings.Lines(message) {
		var told struct {
			SessionID string `json:"sessionId"`
			Error     struct {
				Code string `json:"code"`
			} `json:"error"`
		}
		if json.Unmarshal([]byte(line), &told) != nil {
			continue
		}
		if reactor.IsSessionID(told.SessionID) && len(heard.sessions) < mostSessions {
			heard.sessions = append(heard.sessions, told.SessionID)
		}
		if isErrorCode(told.Error.Code) {
			heard.code = told.Error.Code
		}
	}
	return heard
}

// isErrorCode reports whether text has the form of Reactor's error codes, such as RATE_LIMITED.
func isErrorCode(text string) bool {
	return text != "" && len(text) <= 64 && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == ""
}
