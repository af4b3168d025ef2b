// Command session-worker does what the program of a ReactorSession does, and nothing else: it starts a Reactor session, tells its id in
// the termination message, holds the session until it is told to stop or its time is over, and ends it.
//
// It reads REACTOR_MODEL, REACTOR_API_URL, and either REACTOR_JWT_FILE or REACTOR_API_KEY, as the operator sets them. Flags make it fail
// in the ways that docs/reactorsession.md tells apart.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// interrupted is the exit code after a signal, as a shell tells it: the work is not done.
const interrupted = 128 + int(syscall.SIGTERM)

// startTimeout is how long Reactor may take to start the session.
const startTimeout = 5 * time.Second

// endTimeout is how long the end of the session may take; keep the pod's grace period longer.
const endTimeout = 20 * time.Second

// settings are what the flags say.
type settings struct {
	hold    time.Duration
	exit    int
	abandon bool
	deaf    bool
	message string
}

func main() {
	var s settings
	flag.DurationVar(&s.hold, "hold", time.Hour, "hold the session for so long, and then exit 0")
	flag.IntVar(&s.exit, "exit", 0, "exit with this code instead of 0")
	flag.BoolVar(&s.abandon, "abandon", false, "leave the session open")
	flag.BoolVar(&s.deaf, "deaf", false, "do not react to signals")
	flag.StringVar(&s.message, "message", "/dev/termination-log", "the file of the termination message")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, s)
	stop()
	if err != nil {
		slog.Error("the session has failed", "error", err)
	}
	os.Exit(code)
}

// run holds one session, and returns the exit code.
func run(ctx context.Context, s settings) (code int, err error) {
	w := worker{api: strings.TrimRight(os.Getenv("REACTOR_API_URL"), "/"), message: s.message}
	if err := w.authorize(ctx); err != nil {
		return 1, errors.Join(err, w.report("error", map[string]string{"code": codeOf(err)}))
	}
	// A signal does not cut this call off: the session might have started, and nobody would know its id.
	starting, started := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	id, err := w.start(starting, os.Getenv("REACTOR_MODEL"))
	started()
	if err != nil {
		return 1, errors.Join(err, w.report("error", map[string]string{"code": codeOf(err)}))
	}
	if err := w.report("sessionId", id); err != nil {
		return 1, err
	}
	slog.Info("the session runs", "session", id)
	stopped := ctx.Done()
	if s.deaf {
		stopped = nil
	}
	code = s.exit
	select {
	case <-stopped:
		slog.Info("asked to stop")
		code = interrupted
	case <-time.After(s.hold):
	}
	if s.abandon {
		return code, nil
	}
	// ctx is over when a signal came. What ends the session must not be.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	return code, w.end(ending, id)
}

// worker calls Reactor.
type worker struct {
	api     string
	token   string
	message string
}

// authorize takes the token from its file, or exchanges the API key for one.
func (w *worker) authorize(ctx context.Context) error {
	if file := os.Getenv("REACTOR_JWT_FILE"); file != "" {
		content, err := os.ReadFile(file)
		w.token = strings.TrimSpace(string(content))
		return err
	}
	var granted struct {
		JWT string `json:"jwt"`
	}
	err := w.call(ctx, http.MethodPost, "/tokens", "Reactor-API-Key", os.Getenv("REACTOR_API_KEY"), nil, &granted)
	w.token = granted.JWT
	return err
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
	if refused, ok := errors.AsType[statusError](err); ok && refused == http.StatusNotFound {
		return nil
	}
	return err
}

// statusError is an answer of Reactor that is not a success. What stood in it is left out: it may quote a credential.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("Reactor answered %d %s", int(e), http.StatusText(int(e)))
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
		return statusError(response.StatusCode)
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
	case refused == http.StatusUnauthorized, refused == http.StatusForbidden:
		return "UNAUTHORIZED"
	case refused == http.StatusTooManyRequests:
		return "RATE_LIMITED"
	case refused >= http.StatusInternalServerError:
		return "SERVER_ERROR"
	default:
		return "BAD_REQUEST"
	}
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
