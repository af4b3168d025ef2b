package emulator

import (
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/clock"

	"github.com/reactor-operator/reactor-operator/internal/emulator/grant"
	"github.com/reactor-operator/reactor-operator/internal/emulator/inmemory"
)

// The lifetimes that Reactor grants. Its documentation of authentication says 6 hours; the part about scoped tokens says 1 hour.
const (
	// DefaultCeiling is the longest lifetime of any token, and the lifetime of an unscoped token without expires_after.
	DefaultCeiling = 6 * time.Hour

	// DefaultScopedLifetime is the lifetime of a scoped token without expires_after.
	DefaultScopedLifetime = time.Hour
)

// The default times of sessions.
const (
	// DefaultReadyAfter is how long a session takes to become ready.
	DefaultReadyAfter = 500 * time.Millisecond

	// DefaultReconnectWindow is how long a session whose last connection dropped waits, and is billed, for a client to reconnect.
	DefaultReconnectWindow = 30 * time.Second

	// DefaultCloseAfter is how long after a DELETE a session is open, and billed, until it is closed.
	DefaultCloseAfter = 700 * time.Millisecond
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

	// Media answers clients' offers of media. If it is nil, there are no answers, and clients poll until they give up.
	Media Media

	// Random is the source of token ids and of the signing key; crypto/rand when nil.
	Random io.Reader

	// Logger logs each call; nothing is logged when nil.
	Logger *slog.Logger
}

// Emulator is a local Reactor API. It is safe for concurrent use.
type Emulator struct {
	clock   clock.PassiveClock
	account string
	log     *slog.Logger
	media   Media
	handler http.Handler
	signer  grant.Signer

	mu              sync.Mutex
	keys            apiKeys
	revocation      Revocation
	defaultLifetime time.Duration // 0 if it depends on the scope
	ceiling         time.Duration
	offset          time.Duration // of the emulator's clock
	faults          []Fault
	calls           []Call
	issued          []string
	keyOfToken      map[string]string // fingerprint of the API key, by token id

	sessions        map[string]*session // by id
	sessionCalls    []SessionCall
	quotas          Quotas
	starts          *rate.Limiter // of sessions; nil without a limit
	readyAfter      time.Duration
	reconnectWindow time.Duration
	closeAfter      time.Duration
}

// New returns an emulator.
func New(options Options) *Emulator {
	e := &Emulator{
		clock:      options.Clock,
		account:    options.Account,
		log:        options.Logger,
		media:      options.Media,
		keys:       apiKeys{},
		keyOfToken: map[string]string{},
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
	e.signer = grant.NewSigner(random)
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

// Transport returns a transport that sends requests to the emulator in memory, whatever their host is.
func (e *Emulator) Transport() http.RoundTripper { return inmemory.NewTransport(e) }

// SetLifetimes replaces Options.DefaultLifetime and Options.Ceiling, in whole seconds. The default is the lifetime of every token
// without expires_after, scoped or not; 0 restores Reactor's own defaults: DefaultScopedLifetime for a scoped token, DefaultCeiling
// for an unscoped one. A ceiling of 0 means DefaultCeiling. The ceiling limits every default.
func (e *Emulator) SetLifetimes(defaultLifetime, ceiling time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.defaultLifetime, e.ceiling = defaultLifetime.Truncate(time.Second), ceiling.Truncate(time.Second)
	if e.ceiling <= 0 {
		e.ceiling = DefaultCeiling
	}
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

// AddKey makes a key valid, in addition to all others, and returns its fingerprint. It also undoes a revocation. An empty key
// is not added, because it does not differ from a missing one.
func (e *Emulator) AddKey(key string) string {
	fingerprint := Fingerprint(key)
	if fingerprint != "" {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.keys[fingerprint] = time.Time{}
	}
	return fingerprint
}

// RevokeKey revokes a key, as SetRevocation says. It returns false if the key is not known, or is revoked already.
func (e *Emulator) RevokeKey(key string) bool { return e.revokeFingerprint(Fingerprint(key)) }

func (e *Emulator) revokeFingerprint(fingerprint string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.keys.revoke(fingerprint, e.clock.Now().Add(e.revocation.Delay))
}

// SetRevocation sets how keys are revoked. The delay is that of later revocations; RefuseTokens also applies to keys that are
// revoked already. It panics if Validate returns an error, because that is a mistake in a test.
func (e *Emulator) SetRevocation(revocation Revocation) {
	if err := revocation.Validate(); err != nil {
		panic("emulator: revocation: " + err.Error())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.revocation = revocation
}

// SetFaults replaces all faults. It panics if Validate returns an error for one of them, because that is a mistake in a test.
func (e *Emulator) SetFaults(faults ...Fault) {
	for _, fault := range faults {
		if err := fault.Validate(); err != nil {
			panic("emulator: fault: " + err.Error())
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = slices.Clone(faults)
}

// ClearFaults ends all faults. A call that already hangs continues to hang.
func (e *Emulator) ClearFaults() { e.SetFaults() }

// nextFault returns the fault that applies to a call, and counts it.
func (e *Emulator) nextFault(route, key string, models []string) (fault Fault, found bool) {
	fault, found, e.faults = takeFault(e.faults, route, key, models)
	return fault, found
}

// SetQuotas replaces the quotas. Open sessions stay open, even beyond a lower limit. The next burst of starts can be full.
func (e *Emulator) SetQuotas(quotas Quotas) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.quotas, e.starts = quotas, quotas.startLimiter()
}

// SetSessionTimes sets how long a session takes to become ready, how long it waits for a client to reconnect after its last
// connection dropped, and how long it is still open after a DELETE. Sessions that were started before keep their times.
func (e *Emulator) SetSessionTimes(readyAfter, reconnectWindow, closeAfter time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readyAfter, e.reconnectWindow, e.closeAfter = readyAfter, reconnectWindow, closeAfter
}

// Drop cuts the last connection of a session, as a network failure does. It returns false if there is none.
func (e *Emulator) Drop(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, now := e.openSession(id)
	return s != nil && s.drop(now)
}

// EndSession ends a session from Reactor's side, as moderation or maintenance does. It returns false if the session is not open.
func (e *Emulator) EndSession(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, now := e.openSession(id)
	if s != nil {
		s.end(now, EndByReactor)
	}
	return s != nil
}

// openSession returns an open session, or nil, and the current time.
func (e *Emulator) openSession(id string) (*session, time.Time) {
	now := e.clock.Now()
	s, known := e.sessions[id]
	if !known {
		return nil, now
	}
	if s.settle(now); !s.open() {
		return nil, now
	}
	return s, now
}

// Verify returns the claims of a token that this emulator signed and that has not expired on the emulator's clock. Its
// error does not quote the token.
func (e *Emulator) Verify(token string) (grant.Claims, error) { return e.signer.Verify(token, e.Now) }

// IssuedJWTs returns every token that was ever minted, so that a test can search for leaks. It is not served over HTTP.
func (e *Emulator) IssuedJWTs() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.issued)
}

// Ledger returns a copy of the ledger.
func (e *Emulator) Ledger() Ledger {
	e.mu.Lock()
	defer e.mu.Unlock()
	ledger := Ledger{Calls: slices.Clone(e.calls), SessionCalls: slices.Clone(e.sessionCalls)}
	for i := range ledger.Calls {
		ledger.Calls[i].Models = slices.Clone(ledger.Calls[i].Models)
	}
	now := e.clock.Now()
	for _, s := range e.sessions {
		s.settle(now)
		ledger.Sessions = append(ledger.Sessions, s.record(now))
	}
	slices.SortFunc(ledger.Sessions, func(a, b Session) int { return a.Created.Compare(b.Created) })
	return ledger
}
