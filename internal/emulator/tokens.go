package emulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	tokensRoute  = "POST /tokens"
	apiKeyHeader = "Reactor-API-Key"

	// maxRequestBytes bounds the body of every request.
	maxRequestBytes = 1 << 20
)

// reply is an answer before it is written.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// errorBody is the body of every error of Reactor. A string in error is what marks an answer as Reactor's own.
type errorBody struct {
	Error   string `json:"error"`
	Message string `json:"message,omitempty"`
	URL     string `json:"url,omitempty"` // where a person pays

	// Of a quota that is exceeded, and RetryAfterSeconds of every 429 that names a time. Other answers lack them.
	QuotaType         string `json:"quota_type,omitempty"`
	Limit             int    `json:"limit,omitempty"`
	Current           int    `json:"current,omitempty"`
	Model             string `json:"model,omitempty"`
	RetryAfterSeconds int64  `json:"retry_after_seconds,omitempty"`
}

// reply is the answer that reports a problem.
func (p problem) reply() reply {
	return reply{status: p.status, body: encode(errorBody{Error: p.code, Message: p.message})}
}

// encode writes JSON of types that always encode.
func encode(value any) []byte {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic("emulator: encode an answer: " + err.Error())
	}
	return encoded
}

// serveTokens is POST /tokens: note the call, meet a fault, wait, answer.
func (e *Emulator) serveTokens(w http.ResponseWriter, r *http.Request) {
	key := Fingerprint(r.Header.Get(apiKeyHeader))
	request, found, err := readTokenRequest(w, r)
	if err != nil { // the client is gone
		panic(http.ErrAbortHandler)
	}
	place, fault := e.meet(key, request)
	if !wait(r.Context(), fault) {
		e.logCall(r.Context(), place)
		panic(http.ErrAbortHandler)
	}
	answer := e.answer(place, request, found, fault)
	e.logCall(r.Context(), place)
	e.writeReply(w, answer, fault)
}

// readTokenRequest reads and checks the body. A body that is too large is a problem; one that ends early is an error.
func readTokenRequest(w http.ResponseWriter, r *http.Request) (tokenRequest, problem, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return tokenRequest{}, problem{http.StatusRequestEntityTooLarge, "too_large", "the body is too large"}, nil
	}
	if err != nil {
		return tokenRequest{}, problem{}, err
	}
	request, found := parseTokenRequest(body)
	return request, found, nil
}

// meet writes the call down and returns its place in the ledger, and the fault that it meets.
func (e *Emulator) meet(key string, request tokenRequest) (int, Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	models := request.models()
	fault, faulted := e.takeFault(tokensRoute, key, models)
	return e.arrive(Call{Time: e.now(), Key: key, Requested: request.lifetime, Models: models, Faulted: faulted}), fault
}

// wait lets the fault's latency pass, or the client's patience; it tells whether the client still waits.
func wait(ctx context.Context, fault Fault) bool {
	if fault.Hang {
		<-ctx.Done()
		return false
	}
	if fault.Latency == 0 {
		return true
	}
	timer := time.NewTimer(fault.Latency)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// answer decides what is answered, and completes the call in the ledger.
func (e *Emulator) answer(place int, request tokenRequest, found problem, fault Fault) reply {
	e.mu.Lock()
	defer e.mu.Unlock()
	call := &e.calls[place]
	var answer reply
	switch {
	case fault.replaces():
		answer = faultReply(fault)
	case !e.accepts(call.Key):
		answer = problem{http.StatusUnauthorized, "invalid_api_key", "the API key is missing or not known"}.reply()
	case found != (problem{}):
		answer = found.reply()
	default:
		if found = e.mayBind(request.details); found != (problem{}) {
			answer = found.reply()
			break
		}
		answer = e.mint(call, request, fault)
	}
	call.Status = answer.status
	return answer
}

// faultReply is the answer of a fault that mints nothing.
func faultReply(fault Fault) reply {
	if fault.Page != "" {
		return pages[fault.Page]
	}
	if fault.Refusal != "" {
		return refusals[fault.Refusal]
	}
	status := fault.status()
	body := errorBody{Error: "fault", Message: "the emulator is set to answer " + strconv.Itoa(status)}
	if status == http.StatusTooManyRequests {
		body.RetryAfterSeconds = int64(fault.RetryAfter / time.Second)
	}
	answer := reply{status: status, header: http.Header{}, body: encode(body)}
	if fault.RedirectTo != "" {
		answer.header.Set("Location", fault.RedirectTo)
	}
	if fault.Body != nil {
		answer.body = []byte(*fault.Body)
	}
	return answer
}

// mint makes a token and writes it down.
func (e *Emulator) mint(call *Call, request tokenRequest, fault Fault) reply {
	issued := e.now().Truncate(time.Second)
	expires := issued.Add(e.lifetime(request, fault))
	call.JTI, call.Granted = e.signer.newID(), expires.Sub(issued)
	token := e.signer.sign(Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   e.account,
			ID:        call.JTI,
			IssuedAt:  jwt.NewNumericDate(issued),
			ExpiresAt: jwt.NewNumericDate(expires),
		},
		AuthorizationDetails: request.details,
	})
	e.issued = append(e.issued, token)
	e.mintedWith[call.JTI] = call.Key
	members := map[string]any{"jwt": token, "expires_at": expires.Unix()}
	if fault.OmitJWT {
		delete(members, "jwt")
	}
	if fault.OmitExpiresAt {
		delete(members, "expires_at")
	}
	return reply{status: http.StatusOK, body: encode(members)}
}

// lifetime is the granted lifetime: the requested or the default one, but at most the ceiling. To shorten it is no error.
func (e *Emulator) lifetime(request tokenRequest, fault Fault) time.Duration {
	switch {
	case fault.ExpiresIn != nil:
		return fault.ExpiresIn.Truncate(time.Second)
	case request.lifetime > 0:
		return min(request.lifetime, e.ceiling)
	case e.defaultLifetime > 0:
		return min(e.defaultLifetime, e.ceiling)
	case len(request.details) > 0:
		return min(DefaultScopedLifetime, e.ceiling)
	}
	return min(DefaultCeiling, e.ceiling)
}

// writeReply writes the answer, as the fault changes it.
func (e *Emulator) writeReply(w http.ResponseWriter, answer reply, fault Fault) {
	now := e.Now()
	header := w.Header()
	maps.Copy(header, answer.header)
	if fault.RetryAfter > 0 {
		header.Set("Retry-After", fault.retryAfter(now))
	}
	header.Set("Date", now.Add(fault.DateSkew).Format(http.TimeFormat))
	if fault.OmitDate {
		header["Date"] = nil // net/http would otherwise write its own
	}
	body := answer.body
	if answer.status == http.StatusNoContent || answer.status == http.StatusNotModified {
		w.WriteHeader(answer.status) // without a body, by definition
		return
	}
	if missing := fault.PadTo - len(body); missing > 0 {
		body = append(bytes.Repeat([]byte(" "), missing), body...)
	}
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", contentType(body))
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(answer.status)
	if fault.Cut {
		cut(w, body)
	}
	_, _ = w.Write(body) // an error is the client's departure
}

// contentType names JSON and leaves everything else to the eye.
func contentType(body []byte) string {
	if json.Valid(body) {
		return "application/json"
	}
	return strings.TrimSuffix(http.DetectContentType(body), "; charset=utf-8")
}

// cut sends the first half of the body and ends the connection.
func cut(w http.ResponseWriter, body []byte) {
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// logCall writes a line about a call. Names of models are left out: they are the client's text, and may be anything.
func (e *Emulator) logCall(ctx context.Context, place int) {
	e.mu.Lock()
	call := e.calls[place]
	e.mu.Unlock()
	e.log.InfoContext(ctx, "token exchange", "key", call.Key, "status", call.Status, "requested", call.Requested.String(),
		"granted", call.Granted.String(), "models", len(call.Models), "jti", call.JTI, "faulted", call.Faulted)
}
