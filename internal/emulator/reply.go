package emulator

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// reply is a response before it is written.
type reply struct {
	status int
	header http.Header
	body   []byte
	cut    bool // the connection ends in the middle of the body
}

// errorBody is the body of every error of Reactor. A string in error marks a response as Reactor's own.
type errorBody struct {
	Error   string `json:"error"`
	Message string `json:"message,omitempty"`
	URL     string `json:"url,omitempty"` // where the user can pay

	// Only for a quota that is exceeded; RetryAfterSeconds also for every other 429 with a time.
	QuotaType         string `json:"quota_type,omitempty"`
	Limit             int    `json:"limit,omitempty"`
	Current           int    `json:"current,omitempty"`
	Model             string `json:"model,omitempty"`
	RetryAfterSeconds int64  `json:"retry_after_seconds,omitempty"`
}

var noContent = reply{status: http.StatusNoContent}

func replyOK(value any) reply { return reply{status: http.StatusOK, body: encode(value)} }

func replyError(status int, code, message string) reply {
	return reply{status: status, body: encode(errorBody{Error: code, Message: message})}
}

func badRequest(message string) reply {
	return replyError(http.StatusBadRequest, "invalid_request", message)
}

func notFound(message string) reply { return replyError(http.StatusNotFound, "not_found", message) }

func tooLarge() reply {
	return replyError(http.StatusRequestEntityTooLarge, "too_large", "the body is too large")
}

// encode returns the JSON of a value whose type always encodes.
func encode(value any) []byte {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic("emulator: encode an answer: " + err.Error())
	}
	return encoded
}

// write sends the reply, with the current time in the header Date unless the reply has its own.
func (r reply) write(w http.ResponseWriter, now time.Time) {
	header := w.Header()
	header.Set("Date", now.Format(http.TimeFormat))
	maps.Copy(header, r.header)
	if r.status == http.StatusNoContent || r.status == http.StatusNotModified {
		w.WriteHeader(r.status) // such a response has no body
		return
	}
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", contentType(r.body))
	}
	header.Set("Content-Length", strconv.Itoa(len(r.body)))
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(r.status)
	if r.cut {
		_, _ = w.Write(r.body[:len(r.body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(r.body) // an error means that the client has disconnected
}

// contentType is that of JSON, or what the body looks like.
func contentType(body []byte) string {
	if json.Valid(body) {
		return "application/json"
	}
	return strings.TrimSuffix(http.DetectContentType(body), "; charset=utf-8")
}
