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
	token     string // the one that started the session, and that alone may end it
	inFile    string // what the file held when it was last read
	changes   int    // of the file
	message   string
}

// authorize takes the token from its file, or exchanges the API key for one.
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

// readToken notices that the file has another token. A program that starts another session uses that one; the session that runs stays
// with the token that started it: to Reactor the new one is another grant, which may not touch it.
func (w *worker) readToken() {
	if w.tokenFile == "" {
		return
	}
	content, err := os.ReadFile(w.tokenFile)
	if err != nil {
		slog.Warn("the file of the token cannot be read", "error", err)
		return
	}
	if token := strings.TrimSpace(string(content)); token != w.inFile {
		w.inFile = token
		w.changes++
		slog.Info("the file has another token", "changes", w.changes)
	}
}

// errEnded says that the session is over, and that this program did not end it.
var errEnded = errors.New("the session was ended by Reactor")

// keepAlive looks at the session. Only that it is over is a failure: Reactor may be away for a moment, and the token that started the
// session may have expired meanwhile, which does not end it.
func (w *worker) keepAlive(ctx context.Context, id string) error {
	var seen struct {
		State string `json:"state"`
	}
	err := w.call(ctx, http.MethodGet, "/sessions/"+id, "Authorization", "Bearer "+w.token, nil, &seen)
	refused, _ := errors.AsType[statusError](err)
	switch {
	case refused.status == http.StatusNotFound, seen.State == "CLOSED":
		return errEnded
	case err != nil:
		slog.Warn("the session cannot be looked at", "error", err)
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

// end ends the session. One that is over already is not a failure.
func (w *worker) end(ctx context.Context, id string) error {
	err := w.call(ctx, http.MethodDelete, "/sessions/"+id, "Authorization", "Bearer "+w.token, nil, nil)
	if refused, ok := errors.AsType[statusError](err); ok && refused.status == http.StatusNotFound {
		return nil
	}
	return err
}

// statusError is an answer of Reactor that is not a success. Its text lacks the body, which may quote a credential.
type statusError struct {
	status int
	body   string // the begin of it, of a 402 or 429: it says what Reactor's refusal is about
}

func (e statusError) Error() string {
	return fmt.Sprintf("Reactor answered %d %s", e.status, http.StatusText(e.status))
}

// longestBody bounds what is kept of an answer, in bytes.
const longestBody = 500

func newStatusError(response *http.Response) statusError {
	failed := statusError{status: response.StatusCode}
	if failed.status == http.StatusPaymentRequired || failed.status == http.StatusTooManyRequests {
		text, _ := io.ReadAll(io.LimitReader(response.Body, longestBody)) // what came is enough
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

// codeOf names an error the way Reactor's SDKs do, for the operator to tell whose matter it is.
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
