package reactor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// anyRequest is a request with nothing special.
func anyRequest() MintRequest { return MintRequest{APIKey: testKey, Lifetime: time.Hour} }

// failureOf checks that the error is an *Error that shows no secret, and returns it.
func failureOf(t *testing.T, err error) *Error {
	t.Helper()
	failure, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("the error is %T: %v", err, err)
	}
	for _, text := range []string{err.Error(), failure.Excerpt, fmt.Sprintf("%+v %#v", failure, *failure)} {
		if strings.Contains(text, testKey.Reveal()) || strings.Contains(text, testJWT.Reveal()) {
			t.Errorf("the error shows a secret: %s", text)
		}
	}
	if len(err.Error()) > 640 || len(failure.Excerpt) > excerptBytes {
		t.Errorf("the error is too long for a condition: %d bytes: %s", len(err.Error()), err)
	}
	return failure
}

// roundTrip is a transport in a function: bytes in, bytes out, no behavior of Reactor.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// clientOver returns a client with this transport.
func clientOver(t *testing.T, transport roundTrip) *Client {
	t.Helper()
	client, err := NewClient(Options{BaseURL: "http://reactor.test", Transport: transport, UserAgent: "reactor-operator/test"})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func respond(status int, header http.Header, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(body)}
}

func TestTheRequestIsWrittenInFull(t *testing.T) {
	tests := []struct {
		name    string
		request MintRequest
		want    string
	}{
		{"without scope", MintRequest{Lifetime: time.Hour}, `{"expires_after":3600}`},
		{"parts of a second are cut off", MintRequest{Lifetime: 90*time.Second + 999*time.Millisecond}, `{"expires_after":90}`},
		{"with models", MintRequest{Lifetime: time.Minute, Scope: &Scope{Models: []string{"reactor/helios", "xmax/x2"}}},
			`{"expires_after":60,"authorization_details":[{"type":"session","resources":{"models":{"match":["reactor/helios","xmax/x2"]}}}]}`},
		{"with a number of sessions", MintRequest{Lifetime: time.Minute, Scope: &Scope{Models: []string{"m"}, MaxSessions: 3}},
			`{"expires_after":60,"authorization_details":[{"type":"session","resources":{"models":{"match":["m"]}},"constraints":{"max_sessions":3}}]}`},
		{"a session's limit is rounded up, never down to no limit",
			MintRequest{Lifetime: time.Minute, Scope: &Scope{Models: []string{"m"}, MaxSessionDuration: time.Millisecond}},
			`{"expires_after":60,"authorization_details":[{"type":"session","resources":{"models":{"match":["m"]}},"constraints":{"max_session_duration_seconds":1}}]}`},
		{"with all limits", MintRequest{Lifetime: 6 * time.Hour, Scope: &Scope{Models: []string{"m"}, MaxSessions: 500, MaxSessionDuration: 20 * time.Minute}},
			`{"expires_after":21600,"authorization_details":[{"type":"session","resources":{"models":{"match":["m"]}},"constraints":{"max_sessions":500,"max_session_duration_seconds":1200}}]}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var sent *http.Request
			var body []byte
			client := clientOver(t, func(request *http.Request) (*http.Response, error) {
				sent = request
				body, _ = io.ReadAll(request.Body)
				return respond(http.StatusTeapot, nil, http.NoBody), nil
			})
			test.request.APIKey = testKey
			if _, err := client.Mint(t.Context(), test.request); err == nil {
				t.Error("a teapot gave a token")
			}
			if diff := cmp.Diff(test.want, string(body)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			want := http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"},
				"Reactor-Api-Key": {testKey.Reveal()}, "User-Agent": {"reactor-operator/test"}}
			if diff := cmp.Diff(want, sent.Header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			if got := sent.Method + " " + sent.URL.String(); got != "POST http://reactor.test/tokens" {
				t.Errorf("sent %s", got)
			}
		})
	}
}

func TestWhatCanOnlyFailIsNotSent(t *testing.T) {
	scoped := func(scope Scope) MintRequest { return MintRequest{APIKey: testKey, Lifetime: time.Hour, Scope: &scope} }
	tests := []struct {
		name    string
		request MintRequest
		class   Class
		says    string
	}{
		{"no key", MintRequest{Lifetime: time.Hour}, ClassKeyRefused, "the API key is empty"},
		{"a key with a line break", MintRequest{APIKey: testKey + "\n", Lifetime: time.Hour}, ClassKeyRefused,
			"the API key contains a line break or another control character: remove it"},
		{"no lifetime", MintRequest{APIKey: testKey}, ClassRequestRefused, "the lifetime must be at least 1s"},
		{"a scope without models", scoped(Scope{}), ClassRequestRefused, "a scope needs at least one model, each with a name"},
		{"a model without a name", scoped(Scope{Models: []string{"m", ""}}), ClassRequestRefused, "a scope needs at least one model, each with a name"},
		{"a negative number of sessions", scoped(Scope{Models: []string{"m"}, MaxSessions: -1}), ClassRequestRefused, "the limits of a scope must not be negative"},
		{"a negative limit of a session", scoped(Scope{Models: []string{"m"}, MaxSessionDuration: -1}), ClassRequestRefused, "the limits of a scope must not be negative"},
	}
	client := clientOver(t, func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return nil, errors.ErrUnsupported
	})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := client.Mint(t.Context(), test.request)
			failure := failureOf(t, err)
			if failure.Class != test.class || failure.StatusCode != 0 || err.Error() != "minting a token: the request was not sent: "+test.says {
				t.Errorf("%s, status %d: %s", failure.Class, failure.StatusCode, err)
			}
		})
	}
}

func TestARefusalIsReportedWithItsStatusAndARedactedExcerpt(t *testing.T) {
	header := http.Header{"Retry-After": {"30"}}
	body := `{"error":"invalid_api_key","message":"key ` + testKey.Reveal() + ` and ` + testJWT.Reveal() + `"}`
	tests := []struct {
		name   string
		status int
		body   io.Reader
		class  Class
		text   string
	}{
		{"with a body", 401, strings.NewReader(body), ClassKeyRefused,
			`minting a token: Reactor answered 401 Unauthorized: {"error":"invalid_api_key","message":"key [redacted] and [redacted]"}`},
		{"without a body", 503, http.NoBody, ClassUnavailable, `minting a token: Reactor answered 503 Service Unavailable`},
		{"with a status that has no name", 599, http.NoBody, ClassUnavailable, `minting a token: Reactor answered 599`},
		{"with a body that is cut", 500, io.MultiReader(strings.NewReader("half of"), errorReader{io.ErrUnexpectedEOF}), ClassUnavailable,
			`minting a token: Reactor answered 500 Internal Server Error: half of`},
		{"of this request", 402, strings.NewReader(`{"error":"credits_depleted"}`), ClassRequestRefused,
			`minting a token: Reactor answered 402 Payment Required: {"error":"credits_depleted"}`},
		{"with a body that is longer than an excerpt", 400, strings.NewReader(`{"error":"` + strings.Repeat("x", 60<<10) + `"}`), ClassRequestRefused,
			`minting a token: Reactor answered 400 Bad Request: {"error":"` + strings.Repeat("x", 243) + "…"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client := clientOver(t, func(*http.Request) (*http.Response, error) { return respond(test.status, header, test.body), nil })
			_, err := client.Mint(t.Context(), anyRequest())
			failure := failureOf(t, err)
			if failure.Class != test.class || failure.StatusCode != test.status || failure.RetryAfter != 30*time.Second || err.Error() != test.text {
				t.Errorf("%s, status %d, retry after %s\ngot  %s\nwant %s", failure.Class, failure.StatusCode, failure.RetryAfter, err, test.text)
			}
		})
	}
}

// A page of a proxy must not look like a refusal of Reactor: such pages come and go with maintenance and rollouts.
func TestAnAnswerThatIsNotProvenToBeReactorsIsUnavailableAndNamesItsServer(t *testing.T) {
	const between = "minting a token: something between the operator and Reactor answered "
	problem := `{"type":"about:blank","title":"Access denied","status":403}`
	tests := []struct {
		name   string
		status int
		header http.Header
		body   io.Reader
		text   string
	}{
		{"a page", 403, http.Header{"Server": {"cloudflare"}}, strings.NewReader("<html>Blocked</html>"),
			between + "403 Forbidden (Server: cloudflare): <html>Blocked</html>"},
		{"JSON of another form", 403, http.Header{"Server": {"cloudflare"}}, strings.NewReader(problem), between + "403 Forbidden (Server: cloudflare): " + problem},
		{"no header Server and no body", 404, nil, http.NoBody, between + "404 Not Found"},
		{"another method", 405, http.Header{"Server": {"nginx/1.27.0"}}, http.NoBody, between + "405 Method Not Allowed (Server: nginx/1.27.0)"},
		{"a proxy that requires authentication, with any body", 407, nil, strings.NewReader(`{"error":"auth"}`), between + `407 Proxy Authentication Required: {"error":"auth"}`},
		{"a timeout of a proxy", 408, nil, http.NoBody, between + "408 Request Timeout"},
		{"an endless body", 400, nil, endless{}, between + "400 Bad Request: " + strings.Repeat("x", 253) + "…"},
		{"a status that no API gives", 999, nil, http.NoBody, between + "999"},
		{"a page instead of a token", 200, http.Header{"Server": {"portal"}, "Content-Type": {"text/html"}}, strings.NewReader("<html>sign in</html>"),
			between + "200 OK (Server: portal): the answer is not the expected JSON object (20 bytes, text/html)"},
		{"nothing instead of a token", 204, nil, http.NoBody,
			between + "204 No Content: the answer is not the expected JSON object (0 bytes, of no known type)"},
		{"a redirect", 307, nil, http.NoBody,
			between + "307 Temporary Redirect: redirects are not followed, because that would send the credential"},
		{"a redirect to another host, without what may be secret", 302, http.Header{"Location": {"https://user:hunter2@login.example:8443/sso/hunter2?next=hunter2#hunter2"}}, http.NoBody,
			between + "302 Found: redirects are not followed, because that would send the credential to https://login.example:8443"},
		{"a redirect on the same host", 308, http.Header{"Location": {"/v2/tokens?key=hunter2"}}, http.NoBody,
			between + "308 Permanent Redirect: redirects are not followed, because that would send the credential"},
		{"a redirect to a host that is a secret", 302, http.Header{"Location": {"https://" + testKey.Reveal() + "/"}}, http.NoBody,
			between + "302 Found: redirects are not followed, because that would send the credential to https://[redacted]"},
		{"a header Server that is long", 403, http.Header{"Server": {strings.Repeat("s", 500)}}, http.NoBody,
			between + "403 Forbidden (Server: " + strings.Repeat("s", 61) + "…)"},
		{"a header Server with a secret and a line break", 403, http.Header{"Server": {"a\r\nb " + testKey.Reveal()}}, http.NoBody,
			between + "403 Forbidden (Server: a b [redacted])"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client := clientOver(t, func(*http.Request) (*http.Response, error) { return respond(test.status, test.header, test.body), nil })
			_, err := client.Mint(t.Context(), anyRequest())
			failure := failureOf(t, err)
			if failure.Class != ClassUnavailable || !failure.Intermediary || failure.StatusCode != test.status || err.Error() != test.text || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s, intermediary %t, status %d\ngot  %s\nwant %s", failure.Class, failure.Intermediary, failure.StatusCode, err, test.text)
			}
		})
	}
}

func TestAnAnswerWithoutReactorsFormIsStillAboutTheKeyFor401And429(t *testing.T) {
	for status, want := range map[int]Class{401: ClassKeyRefused, 429: ClassKeyLimited} {
		client := clientOver(t, func(*http.Request) (*http.Response, error) {
			return respond(status, http.Header{"Server": {"cloudflare"}}, strings.NewReader("<html>")), nil
		})
		_, err := client.Mint(t.Context(), anyRequest())
		if failure := failureOf(t, err); failure.Class != want || failure.Intermediary || failure.Server != "cloudflare" {
			t.Errorf("%+v, want %s", failure, want)
		}
	}
}

func TestTheWaitIsReadFromTheHeaderAndElseFromReactorsBody(t *testing.T) {
	limited := `{"error":"quota_exceeded","retry_after_seconds":7}`
	tests := []struct {
		name         string
		status       int
		header, body string
		want         time.Duration
	}{
		{"the header alone", 429, "30", `{"error":"quota_exceeded"}`, 30 * time.Second},
		{"the body alone", 429, "", limited, 7 * time.Second},
		{"both", 429, "30", limited, 30 * time.Second},
		{"a header that is not understood", 429, "soon", limited, 7 * time.Second},
		{"a body of 503", 503, "", limited, 7 * time.Second},
		{"a body that is not Reactor's", 429, "", `{"title":"rate limited","retry_after_seconds":7}`, 0},
		{"neither", 429, "", `{"error":"no available capacity: no available servers to handle the request"}`, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client := clientOver(t, func(*http.Request) (*http.Response, error) {
				return respond(test.status, http.Header{"Retry-After": {test.header}}, strings.NewReader(test.body)), nil
			})
			_, err := client.Mint(t.Context(), anyRequest())
			if got := failureOf(t, err).RetryAfter; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

type endless struct{}

func (endless) Read(into []byte) (int, error) {
	for i := range into {
		into[i] = 'x'
	}
	return len(into), nil
}

func TestAnAnswerThatCannotBeReadIsUnavailable(t *testing.T) {
	refused := errors.New("dial tcp 192.0.2.1:443: connect: connection refused")
	leaky := fmt.Errorf("invalid proxy address %q, key %s", "http://user:password@proxy", testKey.Reveal())
	tests := []struct {
		name   string
		answer roundTrip
		status int
		text   string
	}{
		{"no connection", func(*http.Request) (*http.Response, error) { return nil, refused }, 0,
			"minting a token: no answer from Reactor: dial tcp 192.0.2.1:443: connect: connection refused"},
		{"a cause that would leak", func(*http.Request) (*http.Response, error) { return nil, leaky }, 0,
			`minting a token: no answer from Reactor: invalid proxy address "[redacted]@proxy", key [redacted]`},
		{"a cut body", func(*http.Request) (*http.Response, error) {
			return respond(200, nil, io.MultiReader(strings.NewReader(`{"jwt":"`+testJWT.Reveal()), errorReader{io.ErrUnexpectedEOF})), nil
		}, 200, "minting a token: Reactor answered 200 OK: the answer was cut short: unexpected EOF"},
		{"an endless body", func(*http.Request) (*http.Response, error) { return respond(200, nil, endless{}), nil }, 200,
			"minting a token: Reactor answered 200 OK: the answer is larger than 1 MiB"},
		{"no jwt", func(*http.Request) (*http.Response, error) { return respond(201, nil, strings.NewReader(`{}`)), nil }, 201,
			"minting a token: Reactor answered 201 Created: the answer has no jwt"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := clientOver(t, test.answer).Mint(t.Context(), anyRequest())
			failure := failureOf(t, err)
			if failure.Class != ClassUnavailable || failure.StatusCode != test.status || failure.Excerpt != "" || err.Error() != test.text {
				t.Errorf("%s, status %d, excerpt %q\ngot  %s\nwant %s", failure.Class, failure.StatusCode, failure.Excerpt, err, test.text)
			}
		})
	}
}

func TestTheCauseOfAFailureCanBeFound(t *testing.T) {
	root := errors.New("root")
	_, err := clientOver(t, func(*http.Request) (*http.Response, error) { return nil, root }).Mint(t.Context(), anyRequest())
	if !errors.Is(err, root) {
		t.Errorf("the cause is lost: %v", err)
	}
}

// hang answers when the request's context ends.
func hang(request *http.Request) (*http.Response, error) {
	<-request.Context().Done()
	return nil, request.Context().Err()
}

// hangInBody answers immediately and then sends nothing until the request's context ends.
func hangInBody(request *http.Request) (*http.Response, error) {
	read, write := io.Pipe()
	go func() {
		<-request.Context().Done()
		_ = write.CloseWithError(errors.New("some error of a transport"))
	}()
	return respond(200, nil, read), nil
}

func TestACallEndsWithItsTimeoutOrItsContext(t *testing.T) {
	for where, transport := range map[string]roundTrip{"before the answer": hang, "in the body": hangInBody} {
		t.Run("by the timeout, "+where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := clientOver(t, transport).Mint(t.Context(), anyRequest())
				failure := failureOf(t, err)
				if failure.Class != ClassUnavailable || !errors.Is(err, context.DeadlineExceeded) ||
					err.Error() != "minting a token: Reactor did not answer within 15s" {
					t.Errorf("%s: %v", failure.Class, err)
				}
				if took := time.Since(start); took != DefaultTimeout {
					t.Errorf("it took %s", took)
				}
			})
		})
		t.Run("by the caller, "+where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				_, err := clientOver(t, transport).Mint(ctx, anyRequest())
				failure := failureOf(t, err)
				if failure.Class != ClassUnavailable || failure.StatusCode != 0 || !errors.Is(err, context.Canceled) ||
					err.Error() != "minting a token: the call was stopped: context canceled" {
					t.Errorf("%s: %v", failure.Class, err)
				}
			})
		})
	}
}

func TestTheKeyNeverReachesTheTargetOfARedirect(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		t.Errorf("the target was called, with the key: %t", request.Header.Get(apiKeyHeader) != "")
	}))
	defer target.Close()
	for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
		for _, location := range []string{target.URL, "//" + target.Listener.Addr().String(), "/other", "%zz:\\bad", ""} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
				if request.URL.Path != "/tokens" {
					t.Errorf("%s was called", request.URL.Path)
				}
				w.Header().Set("Location", location)
				w.WriteHeader(status)
			}))
			client, err := NewClient(Options{BaseURL: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.Mint(t.Context(), anyRequest())
			if failure := failureOf(t, err); failure.Class != ClassUnavailable || failure.StatusCode != status {
				t.Errorf("status %d to %q: %s, %v", status, location, failure.Class, err)
			}
			server.Close()
		}
	}
}

func TestTheClockKeepsItsMonotonicReading(t *testing.T) {
	client := clientOver(t, func(*http.Request) (*http.Response, error) {
		body := fmt.Sprintf(`{"jwt":"j","expires_at":%d}`, time.Now().Add(time.Hour).Unix())
		return respond(200, nil, strings.NewReader(body)), nil
	})
	token, err := client.Mint(t.Context(), anyRequest())
	if err != nil {
		t.Fatal(err)
	}
	if token.ReceivedAt == token.ReceivedAt.Round(0) { //nolint:staticcheck // == compares the monotonic reading too, and Equal does not
		t.Error("ReceivedAt lost its monotonic reading")
	}
	if token.IssuedAt != token.IssuedAt.Round(0) || token.ExpiresAt.Location() != time.UTC || token.IssuedAt.Location() != time.UTC {
		t.Errorf("times of the server are in UTC and without such a reading: %v", token)
	}
}
