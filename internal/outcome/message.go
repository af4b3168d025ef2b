package outcome

import (
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// maxMessage is how many bytes of a termination message are kept.
const maxMessage = 256

// maxSessions is how many sessions of one message are cleaned up.
const maxSessions = 16

// cutFrom is the length in bytes from which the start of a message may be missing. The kubelet keeps the last 4096 bytes of the file, or the
// last 2048 bytes of the log that replaces it. A pod of up to twelve containers reports the first 1024 bytes of these for each container
// (k8s.io/kubernetes/pkg/kubelet/container/runtime.go, status/status_manager.go).
const cutFrom = 1024

// report is what a program wrote into its termination message: one JSON object per line, between lines that have no meaning here.
type report struct {
	sessions []string // the ids of Reactor sessions, without duplicates, in the order of their last report
	failure  failure  // the last error
}

// reportedObject is one object of a termination message.
type reportedObject struct {
	SessionID string        `json:"sessionId"`
	Error     reportedError `json:"error"`
}

// ReportedSessions returns the ids of the Reactor sessions in a termination message, the last reported one at the end.
func ReportedSessions(message string) []string { return parseMessage(message).sessions }

// parseMessage reads a termination message. The message is hostile input, as all output of a container: it ignores what does not have the form
// of an id or of an error code. But it accepts every id that can be read, even if the program omitted the end of a line, or wrote something
// wrong next to it: a session that is not cleaned up is billed.
func parseMessage(message string) report {
	var parsed report
	for line := range strings.Lines(message) {
		for object := range objects(line) {
			parsed = parsed.with(object)
		}
	}
	return parsed
}

// objects are those of a line, up to the first text that is not JSON.
func objects(line string) iter.Seq[reportedObject] {
	return func(yield func(reportedObject) bool) {
		for decoder := json.NewDecoder(strings.NewReader(line)); ; {
			var object reportedObject
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

// with returns the report with what an object reports. If there are too many sessions, the last ones are kept: the others most likely ended.
func (r report) with(object reportedObject) report {
	if id := object.SessionID; reactor.IsSessionID(id) {
		r.sessions = append(slices.DeleteFunc(r.sessions, func(known string) bool { return known == id }), id)
		r.sessions = r.sessions[max(len(r.sessions)-maxSessions, 0):]
	}
	if read := object.Error.failure(); read != (failure{}) {
		r.failure = read
	}
	return r
}

// isErrorCode reports whether text has the form of Reactor's error codes, such as RATE_LIMITED.
func isErrorCode(text string) bool {
	return text != "" && len(text) <= 64 && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == ""
}

// SafeMessage returns a message as status may show it: without secrets, and at most 256 bytes long. If the kubelet may have cut the start of
// the message, its first word is dropped, because the end of a secret cannot be recognized by its form.
func SafeMessage(message string) string {
	if len(message) >= cutFrom {
		word := strings.IndexAny(message, " \t\r\n\"'<>(){}[],;")
		if word < 0 {
			word = len(message)
		}
		message = "…" + message[word:]
	}
	message = reactor.Redact(message)
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage-len("…")], "") + "…" // no half of a character
	}
	return message
}
