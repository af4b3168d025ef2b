package reactor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// StateClosed is the state of a session that is over. Every other one still costs money: also an INACTIVE session, which waits for
// somebody to come back.
const StateClosed = "CLOSED"

// maxSessionIDBytes bounds what is taken for the id of a session, in bytes. Reactor's are UUIDs, of 36.
const maxSessionIDBytes = 128

// Session is a session as Reactor shows it.
type Session struct {
	// ID is the session's id.
	ID string

	// State is its state in Reactor's words, such as ACTIVE; StateClosed when Reactor does not know it any more.
	State string

	// Unknown tells that Reactor answered 404: it does not know the session, or no longer. That is weaker than a session that it shows as
	// CLOSED: by a token of another account, every session is unknown.
	Unknown bool
}

// Over reports whether the session has ended, and costs nothing more.
func (s Session) Over() bool { return s.State == StateClosed }

// Session looks a session up, with one request. A session that Reactor does not know, or no longer knows (404), is over. A 404
// that is not proven to be Reactor's is an error: a proxy gives such answers during a rollout, while the session costs money.
//
// Its error is always an *Error. ClassKeyRefused (401) means that the token is expired or unknown. With ClassRequestRefused and
// the status 403, the token is valid, and neither started this session nor is bound to it.
func (c *Client) Session(ctx context.Context, token Secret, id string) (Session, error) {
	const doing = "looking up a session"
	body, failure := c.aboutSession(ctx, http.MethodGet, token, id)
	if isUnknownSession(failure) {
		return Session{ID: id, State: StateClosed, Unknown: true}, nil
	}
	if failure != nil {
		failure.doing = doing
		return Session{}, failure
	}
	var shown struct {
		State string `json:"state"`
	}
	if err := json.Unmarshal(body, &shown); err != nil || shown.State == "" {
		return Session{}, &Error{
			doing: doing, Class: ClassUnavailable, StatusCode: http.StatusOK, Intermediary: !json.Valid(body), Err: errors.New("the answer has no state"),
		}
	}
	return Session{ID: id, State: shown.State}, nil
}

// EndSession ends a session, with one request. It returns nil even for a session that is over already (404). Its error is that of
// Session.
func (c *Client) EndSession(ctx context.Context, token Secret, id string) error {
	body, failure := c.aboutSession(ctx, http.MethodDelete, token, id)
	switch {
	case failure == nil && len(body) > 0 && !json.Valid(body): // a page, such as one to sign in
		failure = &Error{Class: ClassUnavailable, StatusCode: http.StatusOK, Intermediary: true, Err: errors.New("the answer is not JSON")}
	case failure == nil, isUnknownSession(failure):
		return nil
	}
	failure.doing = "ending a session"
	return failure
}

// isUnknownSession reports whether Reactor answered that it does not know a session.
func isUnknownSession(failure *Error) bool {
	return failure != nil && failure.StatusCode == http.StatusNotFound && !failure.Intermediary
}

// aboutSession calls /sessions/{id}.
func (c *Client) aboutSession(ctx context.Context, method string, token Secret, id string) ([]byte, *Error) {
	if refusal := validateSession(token, id); refusal != nil {
		return nil, refusal
	}
	body, _, failure := c.ask(ctx, token, func(bounded context.Context) (*http.Request, error) {
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

// validateSession refuses what can only fail, before a token leaves the process. The id is what a program wrote into its
// termination message: it must not lead the request to another path.
func validateSession(token Secret, id string) *Error {
	switch {
	case token == "":
		return notSent(ClassKeyRefused, "the token is empty")
	case !isHeaderText(string(token)):
		return notSent(ClassKeyRefused, "the token holds a control character")
	case !IsSessionID(id):
		return notSent(ClassRequestRefused, "this is no id of a session")
	}
	return nil
}

// IsSessionID reports whether text has the form of a session's id: 1 to 128 letters, digits, hyphens and underscores. Reactor's
// ids are UUIDs; its clients take any text.
func IsSessionID(text string) bool {
	return text != "" && len(text) <= maxSessionIDBytes && !strings.ContainsFunc(text, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		return !letter && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}
