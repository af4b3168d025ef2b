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

// apiKeyHeader carries the API key, on this one call.
const apiKeyHeader = "Reactor-API-Key"

const (
	// maxAnswerBytes bounds the body of a success; a token needs about one thousandth of it.
	maxAnswerBytes = 1 << 20

	// maxRefusalBytes bounds what is read of a refusal, of which an excerpt is kept. Reactor's errors are below 1 KiB; one that
	// is cut is no JSON any more, and so not proven to be Reactor's.
	maxRefusalBytes = 64 << 10
)

// MintRequest asks for one token.
type MintRequest struct {
	// APIKey is the account's key.
	APIKey Secret

	// Lifetime is sent always, in whole seconds, because sources disagree about what Reactor takes when it is left out.
	// A wish above Reactor's ceiling is shortened without an error: see Token.ExpiresAt.
	Lifetime time.Duration

	// Scope limits the token; nil asks for one that may do all that the account may do with sessions.
	Scope *Scope
}

// Format writes what is asked for and not the key, with all verbs: see Secret.
func (r MintRequest) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "request for a token of %s with key %s", r.Lifetime, redacted)
	if r.Scope != nil {
		_, _ = fmt.Fprintf(f, " and scope %+v", *r.Scope)
	}
}

// Scope limits what a token may do.
type Scope struct {
	// Models are the exact names of models that the token may start sessions of; at least one.
	Models []string

	// MaxSessions is how many sessions the token may ever start, 1 to 500; 0 leaves it to Reactor.
	MaxSessions int32

	// MaxSessionDuration is when Reactor ends each session that the token started, 1 second to 24 hours, rounded up to
	// whole seconds; 0 sets no limit.
	MaxSessionDuration time.Duration
}

// Mint exchanges the API key for a token, with one request. Its error is always an *Error, also when ctx ends.
//
// A redirect is an error: net/http keeps this header across hosts, and the key would go to wherever it points.
func (c *Client) Mint(ctx context.Context, req MintRequest) (Token, error) {
	if refusal := validate(req); refusal != nil {
		return Token{}, refusal
	}
	body, observed, failure := c.ask(ctx, req.APIKey, func(bounded context.Context) (*http.Request, error) { return c.newRequest(bounded, req) })
	if failure != nil {
		return Token{}, failure
	}
	token, err := tokenFrom(body, observed)
	if err != nil {
		failure := unusable(observed.response, err, req.APIKey)
		failure.Intermediary = !json.Valid(body) // such as a page to sign in
		return Token{}, failure
	}
	return token, nil
}

// ask sends one request and reads the answer to it. The secret is what the request carries; it is taken out of all that is told.
func (c *Client) ask(
	ctx context.Context, secret Secret, build func(context.Context) (*http.Request, error),
) (body []byte, observed exchange, failure *Error) {
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := build(bounded)
	if err != nil {
		return nil, exchange{}, &Error{Class: ClassUnavailable, Err: because("build the request", err, secret)}
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", c.userAgent)
	transport, timedOut := c.transportForCall()
	defer func() { // before cancel, which would hide the reason
		if errors.Is(bounded.Err(), context.DeadlineExceeded) {
			timedOut()
		}
	}()
	sent := c.clock.Now()
	// A round trip and not http.Client: a client follows redirects, and when told not to, it still fails in its own way
	// on a Location that does not parse.
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

// validate refuses what can only fail, before a key leaves the process. A scope without models must not be left to the
// server's reading: it may stand for a token without limits.
func validate(req MintRequest) *Error {
	switch {
	case req.APIKey == "":
		return notSent(ClassKeyRefused, "the API key is empty")
	case !isHeaderText(string(req.APIKey)):
		return notSent(ClassKeyRefused, "the API key holds a line break or another control character: write the key alone")
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

// newRequest builds the request.
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

// The body of POST /tokens. It is never {}, which Reactor tells apart from no body.
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

// bodyOf writes a request the API's way.
func bodyOf(req MintRequest) tokenBody {
	body := tokenBody{ExpiresAfter: int64(req.Lifetime / time.Second)}
	if req.Scope != nil {
		body.AuthorizationDetails = []authorizationDetail{{
			Type:      "session",
			Resources: resources{Models: models{Match: req.Scope.Models}},
			Constraints: constraints{
				MaxSessions: req.Scope.MaxSessions,
				// Rounded up: half a second must not become 0, which would mean no limit.
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
		return nil, because("the answer was cut short", err, key)
	}
	if len(body) > maxAnswerBytes {
		return nil, errors.New("the answer is larger than 1 MiB")
	}
	return body, nil
}

// refusedWith is the failure that an answer without success stands for.
//
// The header Retry-After wins over the body: it is what Reactor's own clients obey, and what a proxy in front of Reactor can set.
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
		failure.Err = errors.New("redirects are not followed, because the credential would go along" + targetOf(response, key))
	}
	return failure
}

// unusable is the failure of a success that holds no usable token.
func unusable(response *http.Response, err error, key Secret) *Error {
	return &Error{Class: ClassUnavailable, StatusCode: response.StatusCode, Server: serverOf(response, key), Err: err}
}

const (
	maxServerBytes = 64
	maxTargetBytes = 100
)

// serverOf is the header Server, fit to be shown.
func serverOf(response *http.Response, key Secret) string {
	return shortened(excerptOf(response.Header.Get("Server"), key), maxServerBytes)
}

// targetOf names the scheme and the host that a redirect to another host leads to: enough to recognize a sign-in page or a portal.
// The rest of the URL may hold credentials.
func targetOf(response *http.Response, key Secret) string {
	target, err := url.Parse(response.Header.Get("Location"))
	if err != nil || target.Host == "" {
		return ""
	}
	shown := url.URL{Scheme: target.Scheme, Host: target.Host}
	return " to " + shortened(excerptOf(shown.String(), key), maxTargetBytes)
}
