package reactor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// apiKeyHeader contains the API key. Only POST /tokens has it.
const apiKeyHeader = "Reactor-API-Key"

const (
	// maxAnswerBytes is the maximum size of the body of a success. A token needs about one thousandth of it.
	maxAnswerBytes = 1 << 20

	// maxRefusalBytes is the maximum size that is read of a refusal, of which an excerpt is kept. Reactor's errors are smaller than 1 KiB. A
	// body that was cut is not valid JSON, and so is not proven to be from Reactor.
	maxRefusalBytes = 64 << 10
)

// MintRequest is a request for one token.
type MintRequest struct {
	// APIKey is the API key of the account.
	APIKey Secret

	// Lifetime is the requested lifetime. It is always sent, in whole seconds, because Reactor's documents disagree about the default.
	// Reactor shortens a lifetime above its maximum without an error: see Token.ExpiresAt.
	Lifetime time.Duration

	// Scope limits the token. Without a scope, the token has all permissions of the account for sessions.
	Scope *Scope
}

// Format writes the request without the key, for all verbs (see Secret).
func (r MintRequest) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "request for a token of %s with key %s", r.Lifetime, redacted)
	if r.Scope != nil {
		_, _ = fmt.Fprintf(f, " and scope %+v", *r.Scope)
	}
}

// Scope limits the permissions of a token.
type Scope struct {
	// Models are the exact names of the models of which the token may start sessions; at least one.
	Models []string

	// MaxSessions is the maximum number of sessions that the token may start in its lifetime, 1 to 500; 0 means Reactor's default.
	MaxSessions int32

	// MaxSessionDuration is the time after which Reactor ends each session that the token started, 1 second to 24 hours, rounded up to
	// whole seconds; 0 means no limit.
	MaxSessionDuration time.Duration
}

// Mint exchanges the API key for a token, with one request. Its error is always an *Error, even when ctx ends.
//
// A redirect is an error: an http.Client that follows it sends the header with the API key to the other host, too.
func (c *Client) Mint(ctx context.Context, req MintRequest) (Token, error) {
	if refusal := validate(req); refusal != nil {
		return Token{}, refusal
	}
	body, observed, failure := c.send(ctx, req.APIKey, func(bounded context.Context) (*http.Request, error) { return c.newRequest(bounded, req) })
	if failure != nil {
		return Token{}, failure
	}
	token, err := tokenFrom(body, observed)
	if err != nil {
		failure := unusable(observed.response, err, req.APIKey)
		failure.Intermediary = !json.Valid(body) // such as a sign-in page
		return Token{}, failure
	}
	return token, nil
}

// send sends one request and reads its answer. The secret is the credential in the request. It is redacted in the failure.
func (c *Client) send(
	ctx context.Context, secret Secret, build func(context.Context) (*http.Request, error),
) (body []byte, observed exchange, failure *Error) {
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := build(bounded)
	if err != nil {
		return nil, exchange{}, &Error{Class: ClassUnavailable, Err: wrapRedacted("build the request", err, secret)}
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", c.userAgent)
	transport, timedOut := c.transportForCall()
	defer func() { // runs before cancel, which would replace DeadlineExceeded by Canceled
		if errors.Is(bounded.Err(), context.DeadlineExceeded) {
			timedOut()
		}
	}()
	sent := c.clock.Now()
	// RoundTrip and not http.Client: a client follows redirects. Even with a CheckRedirect that prevents this, it returns an error of its own
	// for a Location that cannot be parsed.
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, exchange{}, c.unanswered(ctx, bounded, err, secret)
	}
	defer func() { _ = response.Body.Close() }()
	observed = exchange{sent: sent, received: c.clock.Now(), response: response}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, observed, refusedWith(observed, secret)
	}
	body, err = readAnswer(response.Body, secret)
	if err != nil && bounded.Err() != nil {
		return nil, observed, c.unanswered(ctx, bounded, err, secret)
	}
	if err != nil {
		return nil, observed, unusable(response, err, secret)
	}
	return body, observed, nil
}

// validate rejects requests that cannot succeed, before the key is sent. A scope without models is not sent either, because the server may
// take it for a token without limits.
func validate(req MintRequest) *Error {
	switch {
	case req.APIKey == "":
		return notSent(ClassKeyRefused, "the API key is empty")
	case !isHeaderText(string(req.APIKey)):
		return notSent(ClassKeyRefused, "the API key contains a line break or another control character: remove it")
	case req.Lifetime < time.Second:
		return notSent(ClassRequestRefused, "the lifetime must be at least 1s")
	case req.Scope == nil:
		return nil
	case len(req.Scope.Models) == 0 || slices.Contains(req.Scope.Models, ""):
		return notSent(ClassRequestRefused, "a scope needs at least one model, each with a name")
	case req.Scope.MaxSessions < 0 || req.Scope.MaxSessionDuration < 0:
		return notSent(ClassRequestRefused, "the limits of a scope must not be negative")
	}
	return nil
}

// newRequest builds the request POST /tokens.
func (c *Client) newRequest(ctx context.Context, req MintRequest) (*http.Request, error) {
	body, err := json.Marshal(bodyOf(req))
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.baseURL+"/tokens", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set(apiKeyHeader, req.APIKey.Reveal())
	request.Header.Set("Content-Type", "application/json")
	return request, nil
}

// The body of POST /tokens. It always has expires_after, so it is never {}, which Reactor treats differently from no body.
type (
	tokenBody struct {
		ExpiresAfter         int64                 `json:"expires_after"`
		AuthorizationDetails []authorizationDetail `json:"authorization_details,omitempty"`
	}
	authorizationDetail struct {
		Type        string      `json:"type"`
		Resources   resources   `json:"resources"`
		Constraints constraints `json:"constraints,omitzero"`
	}
	resources struct {
		Models models `json:"models"`
	}
	models struct {
		Match []string `json:"match"`
	}
	constraints struct {
		MaxSessions               int32 `json:"max_sessions,omitempty"`
		MaxSessionDurationSeconds int64 `json:"max_session_duration_seconds,omitempty"`
	}
)

// bodyOf converts a request to the form of the API.
func bodyOf(req MintRequest) tokenBody {
	body := tokenBody{ExpiresAfter: int64(req.Lifetime / time.Second)}
	if req.Scope != nil {
		body.AuthorizationDetails = []authorizationDetail{{
			Type:      "session",
			Resources: resources{Models: models{Match: req.Scope.Models}},
			Constraints: constraints{
				MaxSessions: req.Scope.MaxSessions,
				// Rounded up, because half a second must not become 0, which means no limit.
				MaxSessionDurationSeconds: int64((req.Scope.MaxSessionDuration + time.Second - 1) / time.Second),
			},
		}}
	}
	return body
}

// readAnswer reads the body of a success.
func readAnswer(from io.Reader, key Secret) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(from, maxAnswerBytes+1))
	if err != nil {
		return nil, wrapRedacted("the answer was cut short", err, key)
	}
	if len(body) > maxAnswerBytes {
		return nil, errors.New("the answer is larger than 1 MiB")
	}
	return body, nil
}

// refusedWith returns the failure for an answer that is not a success.
//
// The header Retry-After takes precedence over the body, because Reactor's own clients use it, and because a proxy in front of Reactor can
// set it.
func refusedWith(observed exchange, key Secret) *Error {
	response := observed.response
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxRefusalBytes))
	refused := refusalIn(body)
	class, intermediary := classOfAnswer(response.StatusCode, refused.proven)
	failure := &Error{
		Class:        class,
		StatusCode:   response.StatusCode,
		Intermediary: intermediary,
		Server:       serverOf(response, key),
		RetryAfter:   cmp.Or(retryAfter(response.Header.Get("Retry-After"), observed.serverDate()), refused.retryAfter),
		Excerpt:      excerptOf(string(body), key),
	}
	if failure.StatusCode >= 300 && failure.StatusCode <= 399 {
		failure.Err = errors.New("redirects are not followed, because that would send the credential" + targetOf(response, key))
	}
	return failure
}

// unusable returns the failure for a success with a body that cannot be used.
func unusable(response *http.Response, err error, key Secret) *Error {
	return &Error{Class: ClassUnavailable, StatusCode: response.StatusCode, Server: serverOf(response, key), Err: err}
}

const (
	maxServerBytes = 64
	maxTargetBytes = 100
)

// serverOf returns the header Server in a form that is safe for a condition.
func serverOf(response *http.Response, key Secret) string {
	return shortened(excerptOf(response.Header.Get("Server"), key), maxServerBytes)
}

// targetOf returns the scheme and the host of the target of a redirect to another host. They are enough to recognize a sign-in page or a
// portal. The rest of the URL may contain credentials.
func targetOf(response *http.Response, key Secret) string {
	target, err := url.Parse(response.Header.Get("Location"))
	if err != nil || target.Host == "" {
		return ""
	}
	shown := url.URL{Scheme: target.Scheme, Host: target.Host}
	return " to " + shortened(excerptOf(shown.String(), key), maxTargetBytes)
}
