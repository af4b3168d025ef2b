package tokenserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"

	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/tokenserver/authn"
)

const (
	// maxBodyBytes is the maximum size of a request's body, which is not used.
	maxBodyBytes = 1 << 10
	// browserMargin is how long before the expiry a browser requests another token, as in Reactor's own examples.
	browserMargin = time.Minute
)

// handler serves the route.
type handler struct {
	origins       *origins
	verified      *rate.Limiter // requests with verified credentials, within the limits of their callers
	unverified    *rate.Limiter // other requests
	callers       *callerLimits
	authenticator authn.Authenticator
	proxies       []netip.Prefix
	source        source
	clock         clock.PassiveClock
	log           *slog.Logger
	count         func(outcome string)

	warnings warnings
}

// refusal is a response without a token.
type refusal struct {
	status     int
	code       string // for programs
	message    string // for the visitor of the page
	retryAfter time.Duration
	cause      error // for the log
}

// The refusals without details.
var (
	originRefused    = refusal{status: http.StatusForbidden, code: "origin", message: "This page is not allowed to request a token here."}
	bodyIncomplete   = refusal{status: http.StatusBadRequest, code: "incomplete", message: "The request did not arrive in full. Try again."}
	bodyTooLarge     = refusal{status: http.StatusRequestEntityTooLarge, code: "too_large", message: "The request is too large. It needs no body."}
	unauthenticated  = refusal{status: http.StatusUnauthorized, code: "unauthenticated", message: "Sign in to start a session."}
	methodNotAllowed = refusal{status: http.StatusMethodNotAllowed, code: "method", message: "Use GET or POST."}
	pathNotFound     = refusal{status: http.StatusNotFound, code: "not_found", message: "This path does not exist."}
)

// routes serves the route at its path, and refuses every other path.
func (h *handler) routes(path string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(path, h.ServeHTTP)
	mux.HandleFunc("/", func(writer http.ResponseWriter, request *http.Request) { h.refuse(writer, request, &pathNotFound) })
	return mux
}

// ServeHTTP responds with a token, or with the reason why there is none.
func (h *handler) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodGet && request.Method != http.MethodPost {
		writer.Header().Set("Allow", "GET, POST")
		h.refuse(writer, request, &methodNotAllowed)
		return
	}
	token, refused := h.getToken(writer, request)
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
		header.Set("Cache-Control", "private, max-age="+strconv.FormatInt(max(0, int64((token.Left-browserMargin)/time.Second)), 10))
		header.Add("Vary", "Authorization, Cookie") // another user can sign in to the same browser
	}
	body := struct {
		JWT       string `json:"jwt"`
		ExpiresAt int64  `json:"expires_at,omitempty"`
	}{JWT: token.JWT.Reveal()}
	if requested, _ := strconv.ParseBool(request.URL.Query().Get("expires_at")); requested {
		body.ExpiresAt = token.ExpiresAt.Unix()
	}
	h.count("token")
	h.write(writer, request, body)
}

// getToken makes the checks of a request in their order, and then gets a token from the source. The cheap checks are first: a client that floods
// the route must not load the server, the issuer or the cluster. Requests with unverified credentials have a separate limit, so that a flood of
// them does not use up the limit of callers with verified credentials.
func (h *handler) getToken(writer http.ResponseWriter, request *http.Request) (issued, *refusal) {
	now := h.clock.Now()
	if !h.origins.allows(request) {
		return issued{}, &originRefused
	}
	verified, err := h.authenticator.Inspect(request)
	if err != nil {
		return issued{}, authenticationRefusal(err)
	}
	if !verified && !h.unverified.AllowN(now, 1) {
		return issued{}, limitRefusal(time.Second)
	}
	if refused := readBody(writer, request); refused != nil {
		return issued{}, refused
	}
	caller, err := h.authenticator.Authenticate(request)
	if err != nil {
		return issued{}, authenticationRefusal(err)
	}
	limited := caller
	if caller == "" {
		limited = authn.ClientAddress(request, h.proxies)
	}
	if wait := h.callers.take(limited, now); wait > 0 {
		return issued{}, limitRefusal(wait)
	}
	if verified && !h.verified.AllowN(now, 1) { // after the limit of the caller: one caller must not use up the limit of all
		return issued{}, limitRefusal(time.Second)
	}
	token, err := h.source.token(request.Context(), caller)
	if err != nil {
		return issued{}, sourceRefusal(err)
	}
	return token, nil
}

// readBody reads the body to its end, though it is not used. It refuses a body that is larger than a page would send, and one that does not
// arrive before the read timeout of the server.
func readBody(writer http.ResponseWriter, request *http.Request) *refusal {
	switch {
	case request.ContentLength == 0:
		return nil
	case request.ContentLength > maxBodyBytes:
		return &bodyTooLarge
	}
	_, err := io.Copy(io.Discard, http.MaxBytesReader(writer, request.Body, maxBodyBytes))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return &bodyTooLarge
	}
	if err != nil {
		return &bodyIncomplete
	}
	return nil
}

// authenticationRefusal is the response if the caller is not known.
func authenticationRefusal(err error) *refusal {
	if _, ok := errors.AsType[*authn.UnavailableError](err); ok {
		return &refusal{http.StatusServiceUnavailable, "authentication_unavailable",
			"Your sign-in cannot be checked at the moment. Try again shortly.", 5 * time.Second, err}
	}
	refused := unauthenticated
	refused.cause = err
	return &refused
}

func limitRefusal(wait time.Duration) *refusal {
	return &refusal{http.StatusTooManyRequests, "too_many_requests", "There were too many requests. Try again shortly.", wait, nil}
}

// messages explain the reasons to the visitor, who wants a session and does not know about tokens.
var messages = map[string]string{
	reasonBusy:               "Many visitors are starting a session at the moment. Try again shortly.",
	reasonRateLimited:        "Reactor accepts no more requests at the moment. Try again shortly.",
	reasonKeyRejected:        "This site has no access to Reactor at the moment. The log of the token server has the reason.",
	reasonRequestRejected:    "This site's access to Reactor is not set up correctly. The log of the token server has the reason.",
	reasonReactorUnavailable: "Reactor is not available at the moment. Try again shortly.",
	reasonTooShort:           "A session cannot be started at the moment. Try again shortly.",
	reasonNoToken:            "A session cannot be started at the moment. Try again shortly.",
}

// sourceRefusal is the response if the source has no token.
func sourceRefusal(err error) *refusal {
	unavailable, ok := errors.AsType[*unavailableError](err)
	if !ok { // the client has disconnected
		return &refusal{http.StatusServiceUnavailable, "gone", "The request was canceled.", time.Second, err}
	}
	return &refusal{http.StatusServiceUnavailable, unavailable.reason, messages[unavailable.reason], unavailable.retryAfter, err}
}

// refuse writes a refusal.
func (h *handler) refuse(writer http.ResponseWriter, request *http.Request, refused *refusal) {
	h.count(refused.code)
	h.logRefusal(request.Context(), refused)
	header := writer.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if refused.retryAfter > 0 { // rounded up, so that the next request is not too early
		header.Set("Retry-After", strconv.FormatInt(max(1, int64(math.Ceil(refused.retryAfter.Seconds()))), 10))
	}
	if refused.status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", "Bearer")
	}
	writer.WriteHeader(refused.status)
	h.write(writer, request, struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}{refused.code, refused.message})
}

// logRefusal logs the cause of a refusal: at most one warning in a minute for each code, and the other refusals at the level debug. The metrics
// count all of them.
func (h *handler) logRefusal(ctx context.Context, refused *refusal) {
	if refused.cause == nil {
		return
	}
	level, attributes := slog.LevelDebug, []any{"status", refused.status, "code", refused.code, "error", reactor.Redact(refused.cause.Error())}
	if !causedByClient(refused) {
		if notLogged, due := h.warnings.due(refused.code, h.clock.Now()); due {
			level, attributes = slog.LevelWarn, append(attributes, "notLogged", notLogged)
		}
	}
	h.log.Log(ctx, level, "refused a token request", attributes...)
}

// causedByClient reports whether every client can cause the refusal, so that it says nothing about the server, Reactor or the issuer. Warnings
// about such refusals would hide the important ones.
func causedByClient(refused *refusal) bool {
	return refused.status == http.StatusUnauthorized || errors.Is(refused.cause, authn.ErrLimited) || errors.Is(refused.cause, context.Canceled)
}

func (h *handler) write(writer http.ResponseWriter, request *http.Request, body any) {
	if err := json.NewEncoder(writer).Encode(body); err != nil {
		h.log.DebugContext(request.Context(), "could not send the response", "error", err)
	}
}
