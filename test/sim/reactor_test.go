package sim

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

const reactorURL = "https://reactor.test"

// longestAnswer is how much of an answer is read, in bytes.
const longestAnswer = 1 << 20

// mint is a request of the operator for a token, as it saw the answer.
type mint struct {
	asked, answered time.Time // in the bubble's time
	run             *run
	key             string // fingerprint
	models          []string
	status          int // 0: no answer
	usable          bool
	jwt             string
	retryAfter      time.Duration
	reactors        bool          // the body is one of Reactor's for an error
	early, late     time.Duration // how far the operator's clocks may be ahead of Reactor's, and behind it
}

// watched is the operator's way to Reactor. What it asks for and is answered is shown to the judge.
func (w *world) watched(r *run) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if r.crashed.Load() {
			return nil, errCrashed
		}
		w.judge.count(func(c *counts) { c.Calls++ })
		if id, about := strings.CutPrefix(request.URL.Path, "/sessions/"); about && request.Method == http.MethodDelete {
			w.judge.operatorEnds(id)
		}
		if request.Method != http.MethodPost || request.URL.Path != "/tokens" {
			return w.send(r, request)
		}
		made := mint{asked: time.Now(), run: r, key: emulator.Fingerprint(request.Header.Get("Reactor-API-Key")), models: modelsOf(request)}
		w.judge.asks(&made)
		response, err := w.send(r, request)
		made.answered = time.Now()
		if err == nil {
			made.read(response)
		}
		w.judge.answered(&made)
		if r.crashed.Load() { // while the answer was on its way
			return nil, errCrashed
		}
		return response, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// modelsOf reads the models that a token is asked for.
func modelsOf(request *http.Request) []string {
	if request.GetBody == nil {
		return nil
	}
	body, err := request.GetBody()
	if err != nil {
		return nil
	}
	var asked struct {
		Details []struct {
			Resources struct {
				Models struct{ Match []string } `json:"models"`
			} `json:"resources"`
		} `json:"authorization_details"`
	}
	if json.NewDecoder(body).Decode(&asked) != nil || len(asked.Details) == 0 {
		return nil
	}
	return asked.Details[0].Resources.Models.Match
}

// read reads an answer, and gives the operator one that reads the same.
func (m *mint) read(response *http.Response) {
	m.status = response.StatusCode
	m.retryAfter = retryAfterOf(response.Header)
	text, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	response.Body = &again{bytes.NewReader(text), err}
	m.reactors = err == nil && isReactors(text)
	var answer struct {
		JWT       string `json:"jwt"`
		ExpiresAt int64  `json:"expires_at"`
	}
	if err == nil && m.status/100 == 2 && len(text) <= longestAnswer && json.Unmarshal(text, &answer) == nil {
		m.jwt, m.usable = answer.JWT, answer.ExpiresAt > 0
	}
}

// retryAfterOf is how long Reactor wants nobody to call; 0 when it does not say. A date is one of its own clock.
func retryAfterOf(header http.Header) time.Duration {
	if seconds, err := strconv.Atoi(header.Get("Retry-After")); err == nil {
		return time.Duration(seconds) * time.Second
	}
	until, err := http.ParseTime(header.Get("Retry-After"))
	date, dateErr := http.ParseTime(header.Get("Date"))
	if err != nil || dateErr != nil {
		return 0
	}
	return max(until.Sub(date), 0)
}

// again is a body that was read before, with the error at its end.
type again struct {
	*bytes.Reader
	end error
}

func (a *again) Read(into []byte) (int, error) {
	count, err := a.Reader.Read(into)
	if err == io.EOF && a.end != nil {
		err = a.end
	}
	return count, err
}

func (a *again) Close() error { return nil }
