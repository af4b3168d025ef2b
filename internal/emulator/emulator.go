package emulator

import (
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rs/cors"
	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

// The lifetimes that Reactor grants. Its documentation of authentication says 6 hours; the part about scoped tokens says 1 hour.
const (
	// DefaultCeiling is the longest lifetime of any token, and the lifetime of an unscoped token without expires_after.
	DefaultCeiling = 6 * time.Hour

	// DefaultScopedLifetime is the lifetime of a scoped token without expires_after.
	DefaultScopedLifetime = time.Hour
)

// Options configures an Emulator. The zero value is an emulator that knows no key.
type Options struct {
	// Clock is the emulator's time; the real one when nil, which is the bubble's inside testing/synctest.
	Clock clock.PassiveClock

	// Keys are the API keys that are known from the start, all of one account.
	Keys []string

	// Account is the subject of all tokens; account-1 when empty.
	Account string

	// Ceiling is the longest lifetime that is granted; DefaultCeiling when 0.
	Ceiling time.Duration

	// DefaultLifetime is the lifetime of every token without expires_after, scoped or not. If it is 0, a scoped token gets
	// DefaultScopedLifetime and an unscoped token gets DefaultCeiling. The ceiling bounds it.
	DefaultLifetime time.Duration

	// Quotas limit the account's sessions; DefaultQuotas when nil.
	Quotas *Quotas

	// Media answers clients' offers of media; when nil, nobody does, and clients poll until they give up.
	Media Media

	// Random is where token ids and the signing key come from; crypto/rand when nil.
	Random io.Reader

	// Logger gets a line for each call; none are written when nil.
	Logger *slog.Logger
}

// Emulator is a local Reactor API. It is safe for concurrent use.
type Emulator struct {
	clock   clock.PassiveClock
	account string
	log     *slog.Logger
	media   Media
	handler http.Handler
	signer  signer

	mu              sync.Mutex
	keys            map[string]time.Time // by fingerprint: when its revocation takes effect; zero if it is not revoked
	revocation      Revocation
	defaultLifetime time.Duration // 0 if it depends on the scope
	ceiling         time.Duration
	offset          time.Duration // of the emulator's clock
	faults          []Fault
	calls           []Call
	issued          []string
	mintedWith      map[string]string // fingerprint of the API key, by token id

	sessions        map[string]*session // by id
	sessionCalls    []*SessionCall
	quotas          Quotas
	starts          *rate.Limiter // of sessions; nil without a limit
	readyAfter      time.Duration
	reconnectWindow time.Duration
	closeAfter      time.Duration
}

// New returns an emulator.
func New(options Options) *Emulator {
	e := &Emulator{
		clock:   options.Clock,
		account: options.Account,
		log:     options.Logger,
		media:   options.Media,
		keys:    map[string]time.Time{},

		mintedWith: map[string]string{},
		sessions:   map[string]*session{},
	}
	if e.clock == nil {
		e.clock = clock.RealClock{}
	}
	if e.account == "" {
		e.account = "account-1"
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	random := options.Random
	if random == nil {
		random = rand.Reader
	}
	e.signer = newSigner(random)
	e.handler = e.routes()
	e.SetLifetimes(options.DefaultLifetime, options.Ceiling)
	e.SetSessionTimes(DefaultReadyAfter, DefaultReconnectWindow, DefaultCloseAfter)
	e.SetQuotas(DefaultQuotas)
	if options.Quotas != nil {
		e.SetQuotas(*options.Quotas)
	}
	for _, key := range options.Keys {
		e.AddKey(key)
	}
	return e
}

// ServeHTTP serves the API and the control endpoint.
func (e *Emulator) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.handler.ServeHTTP(w, r) }

// routes lists what is served.
func (e *Emulator) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(tokensRoute, e.serveTokens)
	mux.HandleFunc("/tokens", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", http.MethodPost)
		e.writeReply(w, problem{http.StatusMethodNotAllowed, "method_not_allowed", "use POST"}.reply(), Fault{})
	})
	e.sessionRoutes(mux)
	e.control(mux)
	e.sessionControl(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		e.writeReply(w, notFound("there is nothing here").reply(), Fault{})
	})
	return acrossOrigins(mux)
}

// acrossOrigins lets pages of every site use the session API, as Reactor does: they have tokens. The other routes are for servers and tests.
func acrossOrigins(handler http.Handler) http.Handler {
	open := cors.New(cors.Options{
		AllowedOrigins: []string{"*"},
		AllowedMethods: []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete},
		AllowedHeaders: []string{"Authorization", "Content-Type", "Reactor-API-Version", "Reactor-API-Accept-Version", "Reactor-WebRTC-Version"},
	}).Handler(handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sessions" || strings.HasPrefix(r.URL.Path, "/sessions/") {
			open.ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// SetLifetimes replaces Options.DefaultLifetime and Options.Ceiling, in whole seconds. The default is the lifetime of every token
// without expires_after, scoped or not; 0 restores Reactor's own defaults: DefaultScopedLifetime for a scoped token, DefaultCeiling
// for an unscoped one. A ceiling of 0 stands for DefaultCeiling. The ceiling bounds every default.
func (e *Emulator) SetLifetimes(defaultLifetime, ceiling time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.defaultLifetime = wholeSeconds(defaultLifetime, 0)
	e.ceiling = wholeSeconds(ceiling, DefaultCeiling)
}

// wholeSeconds cuts a duration to whole seconds, and returns the default for less than one.
func wholeSeconds(d, whenLess time.Duration) time.Duration {
	if d < time.Second {
		return whenLess
	}
	return d.Truncate(time.Second)
}

// SetDateSkew sets the emulator's clock ahead of its Clock, or behind it: the header Date, iat, exp, expires_at, and
// when a token counts as expired.
func (e *Emulator) SetDateSkew(offset time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.offset = offset
}

// Now is the emulator's time, with its skew, in UTC.
func (e *Emulator) Now() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now()
}

// now is Now under the lock.
func (e *Emulator) now() time.Time { return e.clock.Now().Add(e.offset).Round(0).UTC() }
