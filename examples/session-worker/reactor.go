package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
)

// worker calls Reactor.
type worker struct {
	api       string
	tokenFile string // empty under APIKeyEnv
	token     string // the token that started the session; only this token may end it
	inFile    string // the content of the file when it was last read
	changes   int    // of the file
	message   string
}

// authorize reads the token from its file, or exchanges the API key for a token.
func (w *worker) authorize(ctx context.Context) error {
	if w.tokenFile != "" {
		content, err := os.ReadFile(w.tokenFile)
		w.token = strings.TrimSpace(string(content))
		w.inFile = w.token
		return err
	}
	var granted struct {
		JWT string `json:"jwt"`
	}
	err := w.call(ctx, http.MethodPost, "/tokens", "Reactor-API-Key", os.Getenv("REACTOR_API_KEY"), nil, &granted)
	w.token = granted.JWT
	return err
}

// readToken records that the file has another token. A program uses the new token when it starts another session. The running session keeps
// the token that started it: for Reactor the new token is a different grant, which may not change this session.
func (w *worker) readToken() {
	if w.tokenFile == "" {
		return
	}
	content, err := os.ReadFile(w.tokenFile)
	if err != nil {
		slog.Warn("cannot read the file of the token", "error", err)
		return
	}
	if token := strings.TrimSpace(string(content)); token != w.inFile {
		w.inFile = token
		w.changes++
		slog.Info("the file has another token", "changes", w.changes)
	}
}

// errEnded means that the session is over, and that this program did not end it.
var errEnded = errors.New("the session was ended by Reactor")

// keepAlive checks the session. Its only failure is that the session is over. Other errors are not failures: Reactor may be unavailable for a
// short time, or the token that started the session may have expired, which does not end the session.
func (w *worker) keepAlive(ctx context.Context, id string) error {
	var observed struct {
		State string `json:"state"`
	}
	err := w.call(ctx, http.MethodGet, "/sessions/"+id, "Authorization", "Bearer "+w.token, nil, &observed)
	refused, _ := errors.AsType[statusError](err)
	switch {
	case refused.status == http.StatusNotFound, observed.State == "CLOSED":
		return errEnded
	case err != nil:
		slog.Warn("cannot check the session", "error", err)
	}
	return nil
}

func (w *worker) start(ctx context.Context, model string) (string, error) {
	var started struct {
		ID string `json:"session_id"`
	}
	err := w.call(ctx, http.MethodPost, "/sessions", "Authorization", "Bearer "+w.token, map[string]any{"model": map[string]string{"name": model}}, &started)
	return started.ID, err
}

// end ends the session. It is not a failure if the session is already over.
func (w *worker) end(ctx context.Context, id string) error {
	err := w.call(ctx, http.MethodDelete, "/sessions/"+id, "Authorization", "Bearer "+w.token, nil, nil)
	if refused, ok := errors.AsType[statusError](err); ok && refused.status == http.StatusNotFound {
		return nil
	}
	return err
}

// statusError is an unsuccessful response of Reactor. Its text does not contain the body, which may quote a credential.
type statusError struct {
	status int
	body   string // the start of the body of a 402 or 429, which gives the reason
}

func (e statusError) Error() string {
	return fmt.Sprintf("Reactor answered %d %s", e.status, http.StatusText(e.status))
}

// maxBody is how much of a response is kept, in bytes.
const maxBody = 500

func newStatusError(response *http.Response) statusError {
	failed := statusError{status: response.StatusCode}
	if failed.status == http.StatusPaymentRequired || failed.status == http.StatusTooManyRequests {
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxBody)) // an incomplete body is sufficient
		failed.body = string(text)
	}
	return failed
}

func (w *worker) call(ctx context.Context, method, path, header, credential string, body, into any) error {
	var content io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, w.api+path, content)
	if err != nil {
		return err
	}
	request.Header.Set(header, credential)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return newStatusError(response)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// codeOf returns the code that Reactor's SDKs use for an error. From the code the operator decides who must act.
func codeOf(err error) string {
	refused, ok := errors.AsType[statusError](err)
	switch {
	case !ok:
		return "NETWORK_ERROR"
	case refused.status == http.StatusUnauthorized, refused.status == http.StatusForbidden:
		return "UNAUTHORIZED"
	case refused.status == http.StatusTooManyRequests:
		return "RATE_LIMITED"
	case refused.status >= http.StatusInternalServerError:
		return "SERVER_ERROR"
	default:
		return "BAD_REQUEST"
	}
}

// reportedError is an error as the operator reads it from the termination message.
type reportedError struct {
	Code    string `json:"code"`
	Status  int    `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
}

func reportOf(err error) reportedError {
	refused, _ := errors.AsType[statusError](err)
	return reportedError{codeOf(err), refused.status, refused.body}
}

// report appends a line to the termination message.
func (w *worker) report(name string, value any) error {
	line, err := json.Marshal(map[string]any{name: value})
	if err != nil {
		return err
	}
	file, err := os.OpenFile(w.message, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}
