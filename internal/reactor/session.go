package reactor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// StateClosed is the state of a session that has ended. Reactor bills sessions in every other state, including INACTIVE: such a session
// waits for its user to return.
const StateClosed = "CLOSED"

// maxSessionIDBytes is the maximum length of the id of a session. Reactor's ids are UUIDs, which have 36 bytes.
const maxSessionIDBytes = 128

// Session is a session as Reactor reports it.
type Session struct {
	// ID is the id of the session.
	ID string

	// State is its state as Reactor names it, such as ACTIVE; StateClosed if Reactor does not know the session.
	State string

	// Unknown means that Reactor answered 404: it does not know the session, or no longer. This proves less than the state CLOSED, because
	// with a token of another account, every session is unknown.
	Unknown bool
}

// Over reports whether the session has ended, so that Reactor no longer bills it.
func (s Session) Over() bool { return s.State == StateClosed }

// Session looks up a session, with one request. A session that Reactor does not know, or no longer knows (404), is over. A 404 that is
// not proven to be from Reactor is an error: a proxy can send such an answer during a rollout, while Reactor still bills the session.
//
// Its error is always an *Error. ClassKeyRefused (401) means that the token is expired or unknown. ClassRequestRefused with the status
// 403 means that the token is valid, but did not start this session and is not bound to it.
func (c *Client) Session(ctx context.Context, token Secret, id string) (Session, error) {
	const operation = "looking up a session"
	body, failure := c.callSession(ctx, http.MethodGet, token, id)
	if isUnknownSession(failure) {
		return Session{ID: id, State: StateClosed, Unknown: true}, nil
	}
	if failure != nil {
		failure.operation = operation
		return Session{}, failure
	}
	var shown struct {
		State string `json:"state"`
	}
	if err := json.Unmarshal(body, &shown); err != nil || shown.State == "" {
		return Session{}, &Error{
			operation: operation, Class: ClassUnavailable, StatusCode: http.StatusOK, Intermediary: !json.Valid(body), Err: errors.New("the answer has no state"),
		}
	}
	return Session{ID: id, State: shown.State}, nil
}

// EndSession ends a session, with one request. It returns nil even for a session that is already over (404). Its errors are those of
// Session.
func (c *Client) EndSession(ctx context.Context, token Secret, id string) error {
	body, failure := c.callSession(ctx, http.MethodDelete, token, id)
	switch {
	case failure == nil && len(body) > 0 && !json.Valid(body): // such as a sign-in page
		failure = &Error{Class: ClassUnavailable, StatusCode: http.StatusOK, Intermediary: true, Err: errors.New("the answer is not JSON")}
	case failure == nil, isUnknownSession(failure):
		return nil
	}
	failure.operation = "ending a session"
	return failure
}

// isUnknownSession reports whether Reactor answered that it does not know a session.
func isUnknownSession(failure *Error) bool {
	return failure != nil && failure.StatusCode == http.StatusNotFound && !failure.Intermediary
}

// callSession calls /sessions/{id}.
func (c *Client) callSession(ctx context.Context, method string, token Secret, id string) ([]byte, *Error) {
	if refusal := validateSession(token, id); refusal != nil {
		return nil, refusal
	}
	body, _, failure := c.send(ctx, token, func(bounded context.Context) (*http.Request, error) {
		request, err := http.NewRequestWithContext(bounded, method, c.baseURL+"/sessions/"+id, http.NoBody)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		request.Header.Set("Authorization", "Bearer "+token.Reveal())
		// The two headers that Reactor's own clients send on these calls.
		request.Header.Set("Reactor-API-Version", "1")
		request.Header.Set("Reactor-API-Accept-Version", "1")
		return request, nil
	})
	return body, failure
}

// validateSession rejects arguments that cannot succeed, before the token is sent. A program wrote the id into its termination message:
// it must not change the path of the request.
func validateSession(token Secret, id string) *Error {
	switch {
	case token == "":
		return notSent(ClassKeyRefused, "the token is empty")
	case !isHeaderText(string(token)):
		return notSent(ClassKeyRefused, "the token contains a control character")
	case !IsSessionID(id):
		return notSent(ClassRequestRefused, "this is not the id of a session")
	}
	return nil
}

// IsSessionID reports whether text has the form of a session's id: 1 to 128 letters, digits, hyphens and underscores. Reactor's
// ids are UUIDs, but Reactor's own clients accept any text.
func IsSessionID(text string) bool {
	return text != "" && len(text) <= maxSessionIDBytes && !strings.ContainsFunc(text, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		return !letter && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}
