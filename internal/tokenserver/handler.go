package tokenserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

const (
	// mostBody bounds the body of a request, in bytes. Nothing of it is used.
	mostBody = 1 << 10
	// browserSkew is how much sooner than it expires a browser asks for another token, as in Reactor's own examples.
	browserSkew = time.Minute
)

// handler answers the route.
type handler struct {
	origins   *origins
	inAll     *rate.Limiter // requests with genuine credentials, of callers within their own limits
	strangers *rate.Limiter // the other requests
	callers   *callerLimits
	who       authenticator
	proxies   []netip.Prefix
	source    source
	clock     clock.PassiveClock
	log       *slog.Logger
	counted   func(outcome string)

	warnings warnings
}

// refusal is an answer without a token.
type refusal struct {
	status     int
	code       string // for programs
	message    string // for the person in front of the page
	retryAfter time.Duration
	cause      error // for the log
}

// Those that need no details.
var (
	refusedOrigin   = refusal{status: http.StatusForbidden, code: "origin", message: "This page may not ask for a token here."}
	incomplete      = refusal{status: http.StatusBadRequest, code: "incomplete", message: "The request did not arrive in full. Try again."}
	tooLarge        = refusal{status: http.StatusRequestEntityTooLarge, code: "too_large", message: "The request is too large: it needs no body."}
	unauthenticated = refusal{status: http.StatusUnauthorized, code: "unauthenticated", message: "Sign in to start a session."}
)

// ServeHTTP answers with a token, or says why there is none.
func (h *handler) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	token, refused := h.answer(writer, request)
	if refused != nil {
		h.refuse(writer, request, refused)
		return
	}
	header := writer.Header()
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	if request.Method == http.MethodPost {
		header.Set("Cache-Control", "no-store")
	} else {
		header.Set("Cache-Control", "private, max-age="+strconv.FormatInt(max(0, int64((token.Left-browserSkew)/time.Second)), 10))
		header.Add("Vary", "Authorization, Cookie") // who signs in anew in the same browser is somebody else
	}
	body := struct {
		JWT       string `json:"jwt"`
		ExpiresAt int64  `json:"expires_at,omitempty"`
	}{JWT: token.JWT.Reveal()}
	if asked, _ := strconv.ParseBool(request.URL.Query().Get("expires_at")); asked {
		body.ExpiresAt = token.ExpiresAt.Unix()
	}
	h.counted("token")
	h.send(writer, request, body)
}

// answer checks, in this order, and then takes a token from the source. What costs little stands first: a client that floods the route must
// not make the server, the issuer or the cluster work. Requests with made-up credentials have a limit of their own, so that a flood of them
// takes nothing from the callers whose credentials are genuine.
func (h *handler) answer(writer http.ResponseWriter, request *http.Request) (issued, *refusal) {
	now := h.clock.Now()
	if !h.origins.allows(request) {
		return issued{}, &refusedOrigin
	}
	genuine, err := h.who.inspect(request)
	if err != nil {
		return issued{}, notIdentified(err)
	}
	if !genuine && !h.strangers.AllowN(now, 1) {
		return issued{}, tooMany(time.Second)
	}
	if refused := readBody(writer, request); refused != nil {
		return issued{}, refused
	}
	caller, err := h.who.authenticate(request)
	if err != nil {
		return issued{}, notIdentified(err)
	}
	limited := caller
	if caller == "" {
		limited = addressOf(request, h.proxies)
	}
	if wait := h.callers.wait(limited, now); wait > 0 {
		return issued{}, tooMany(wait)
	}
	if genuine && !h.inAll.AllowN(now, 1) { // after the caller's own limit: one caller must not use up what others need
		return issued{}, tooMany(time.Second)
	}
	token, err := h.source.token(request.Context(), caller)
	if err != nil {
		return issued{}, withoutToken(err)
	}
	return token, nil
}

// readBody reads the request to its end, though nothing of it is used. It refuses more than a page would send, and what does not arrive: who
// sends slowly has run out of time.
func readBody(writer http.ResponseWriter, request *http.Request) *refusal {
	switch {
	case request.ContentLength == 0:
		return nil
	case request.ContentLength > mostBody:
		return &tooLarge
	}
	_, err := io.Copy(io.Discard, http.MaxBytesReader(writer, request.Body, mostBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return &tooLarge
	}
	if err != nil {
		return &incomplete
	}
	return nil
}

// notIdentified is the answer when it is not known who asks.
func notIdentified(err error) *refusal {
	if _, ok := errors.AsType[*cannotTellError](err); ok {
		return &refusal{http.StatusServiceUnavailable, "authentication_unavailable",
			"Who you are cannot be checked just now. Try again in a moment.", 5 * time.Second, err}
	}
	refused := unauthenticated
	refused.cause = err
	return &refused
}

func tooMany(wait time.Duration) *refusal {
	return &refusal{http.StatusTooManyRequests, "too_many_requests", "You have tried too often. Try again in a moment.", wait, nil}
}

// messages say to a person what the reasons mean: to a visitor, who wants a session and has never heard of tokens.
var messages = map[string]string{
	reasonBusy:        "Many visitors are starting a session just now. Try again in a moment.",
	reasonRateLimited: "Reactor takes no more requests just now. Try again in a moment.",
	reasonKeyRefused:  "This site's access to Reactor does not work just now. Its operators can see why in the token server's log.",
	reasonRefused:     "This site's access to Reactor is not set up rightly. Its operators can see why in the token server's log.",
	reasonReactorAway: "Reactor cannot be reached just now. Try again in a moment.",
	reasonTooShort:    "A session cannot be started just now. Try again in a moment.",
	reasonNoToken:     "A session cannot be started just now. Try again in a moment.",
}

// withoutToken is the answer when the source has none.
func withoutToken(err error) *refusal {
	why, ok := errors.AsType[*unavailableError](err)
	if !ok { // the caller has gone
		return &refusal{http.StatusServiceUnavailable, "gone", "The request was given up.", time.Second, err}
	}
	return &refusal{http.StatusServiceUnavailable, why.reason, messages[why.reason], why.retryAfter, err}
}

// refuse writes a refusal.
func (h *handler) refuse(writer http.ResponseWriter, request *http.Request, why *refusal) {
	h.counted(why.code)
	h.logRefusal(request.Context(), why)
	header := writer.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if why.retryAfter > 0 {
		header.Set("Retry-After", strconv.FormatInt(wholeSeconds(why.retryAfter), 10))
	}
	if why.status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", "Bearer")
	}
	writer.WriteHeader(why.status)
	h.send(writer, request, struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}{why.code, why.message})
}

// logRefusal writes the cause of a refusal to the log: one warning in a minute for each code, and the other refusals for debugging only. They
// also count in the metrics.
func (h *handler) logRefusal(ctx context.Context, why *refusal) {
	if why.cause == nil {
		return
	}
	level, attributes := slog.LevelDebug, []any{"status", why.status, "code", why.code, "error", reactor.Redact(why.cause.Error())}
	if !anybodyCauses(why) {
		if notLogged, due := h.warnings.due(why.code, h.clock.Now()); due {
			level, attributes = slog.LevelWarn, append(attributes, "notLogged", notLogged)
		}
	}
	h.log.Log(ctx, level, "no token was handed out", attributes...)
}

// anybodyCauses reports whether a refusal says nothing about the server, Reactor or the issuer: anybody who reaches the server can cause it. As
// a warning it would hide the ones that matter.
func anybodyCauses(why *refusal) bool {
	return why.status == http.StatusUnauthorized || slices.ContainsFunc([]error{errAskedLately, errManyReviews, context.Canceled}, func(one error) bool {
		return errors.Is(why.cause, one)
	})
}

func (h *handler) send(writer http.ResponseWriter, request *http.Request, body any) {
	if err := json.NewEncoder(writer).Encode(body); err != nil {
		h.log.DebugContext(request.Context(), "nobody took the answer", "error", err)
	}
}

// routes serves the route at its path, and nothing else.
func (h *handler) routes(path string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(path, http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if request.Method != http.MethodGet && request.Method != http.MethodPost {
			writer.Header().Set("Allow", strings.Join([]string{http.MethodGet, http.MethodPost}, ", "))
			h.refuse(writer, request, &refusal{status: http.StatusMethodNotAllowed, code: "method", message: "Ask with GET or POST."})
			return
		}
		h.ServeHTTP(writer, request)
	}))
	mux.Handle("/", http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		h.refuse(writer, request, &refusal{status: http.StatusNotFound, code: "not_found", message: "There is nothing here."})
	}))
	return mux
}
