package sim

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reactor-operator/reactor-operator/test/sim/apimodel"
)

// judge looks at the world and keeps an account of its own of what happened in it. It knows nothing of the operator's code: its rules are
// those of docs/reliability.md, and each stands in a file that is named after what it is about.
type judge struct {
	world *world

	mu       sync.Mutex
	found    []finding
	weather  weather
	requests int            // of the operator, since the last look
	most     map[string]int // the same, by what they ask for
	asking   burst          // the requests of the operator
	reading  burst          // its readings of the clock

	accounts accounts
	writes   writes
	book     sessionBook
	counts   counts
}

// finding is a rule that was broken.
type finding struct {
	at   time.Duration
	rule string
	what string
}

func (f finding) String() string { return fmt.Sprintf("%s: %s: %s", f.at, f.rule, f.what) }

// counts are what a simulation came to.
type counts struct {
	Virtual                                                           time.Duration
	Requests, Writes, Calls, Mints, Programs, Sessions, Crashes, Runs int // calls are the operator's to Reactor
}

func newJudge(w *world) *judge {
	return &judge{world: w, most: map[string]int{}, accounts: newAccounts(), writes: newWrites(), book: newSessionBook()}
}

// mostFindings are enough to know.
const mostFindings = 20

// broken notes that a rule was broken. The caller holds the lock.
func (j *judge) broken(rule, format string, args ...any) {
	if len(j.found) < mostFindings {
		j.found = append(j.found, finding{time.Since(bubbleBegin), rule, fmt.Sprintf(format, args...)})
	}
}

// The rules, by their names in docs/reliability.md.
const (
	ruleValid    = "the Secret holds a valid token"
	ruleTruth    = "status tells the truth"
	ruleCurrent  = "the token is the one that is asked for"
	ruleMints    = "no mint without a cause"
	ruleLimits   = "limits are honoured"
	ruleCapacity = "capacity is kept"
	ruleForeign  = "what is not ours is not touched"
	ruleSecrecy  = "no secret outside of its Secret"
	ruleSingle   = "one Reactor session at a time"
	ruleTheirs   = "no Reactor session of another attempt is ended"
	ruleEnded    = "no Reactor session is left open"
	ruleBounded  = "a session is bounded"
	ruleDone     = "what is done is not done again"
	rulePods     = "a pod that runs is left alone"
	ruleRest     = "the system comes to rest"
	ruleSpread   = "a crowd is spread"
	ruleRetried  = "a refusal is retried"
	ruleRefused  = "what Reactor refuses is no failure of the program"
	ruleQueued   = "what is queued has no token"
	ruleIdle     = "a free slot is used"
	ruleFresh    = "a program begins with a token that lasts"
)

// The scopes of what is out of order, besides those of single tokens, keys and sessions.
const (
	everything = "everything"
	atReactor  = "Reactor"
	nodes      = "nodes"
	limited    = "limits" // keys that Reactor limits
	probes     = "probes" // keys that Reactor answered with 401
)

func ofToken(name string) string { return "token " + name }
func ofKey(secret string) string { return "key " + secret }

// How long the operator may need after what disturbed it. Where its backoffs are tested is elsewhere: these are upper bounds.
const (
	operatorStarts = 40 * time.Second // caches fill, gates are tried
	afterOutage    = 3 * time.Minute  // of the API server: informers and queues wait up to a minute each
	afterLimit     = 11 * time.Minute // a limited key waits 10 minutes at the most
	afterFailure   = 6 * time.Minute  // of Reactor: the backoff is 5 minutes at the most
	afterChange    = 25 * time.Second // a debounce, lagging caches, a turn at the rate limit
	afterWrites    = 2 * time.Minute  // a write that was refused is tried again within a minute
)

// strike notes what disturbs for an instant, and gives time to put things right.
func (j *judge) strike(scope, why string, grace time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.weather.strike(time.Now(), scope, why, grace)
}

// hinder notes what is out of order until calm takes it back.
func (j *judge) hinder(scope, why string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.weather.begin(time.Now(), scope, why)
}

// calm takes back what hindered, and gives time to put things right.
func (j *judge) calm(scope, why string, grace time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.weather.end(time.Now(), scope, why, grace)
}

// burst counts what happens at one instant. A loop that does not let time pass would go on for ever.
type burst struct {
	at    time.Time
	count int
}

// reaches counts one more, and reports whether these are so many.
func (b *burst) reaches(most int) bool {
	if now := time.Now(); !now.Equal(b.at) {
		*b = burst{at: now}
	}
	b.count++
	return b.count == most
}

// clockRead notes that the operator read its clock, as each of its passes does, also one without a request.
func (j *judge) clockRead() {
	const most = 50_000
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.reading.reaches(most) {
		j.broken(ruleRest, "%d readings of the clock at one instant", most)
		j.world.crashAll()
	}
}

// requested notes a request of the operator.
func (j *judge) requested(asked apimodel.Request) {
	const most = 3000
	j.mu.Lock()
	defer j.mu.Unlock()
	j.requests++
	j.most[asked.Verb+" "+asked.Kind+" "+asked.Subresource+" "+asked.Name]++
	j.counts.Requests++
	if asked.Writes() {
		j.counts.Writes++
	}
	if j.asking.reaches(most) {
		j.broken(ruleRest, "%d requests at one instant, the last of them %s %s %s", most, asked.Verb, asked.Kind, asked.Name)
		j.world.crashAll()
	}
}

// look looks at everything that can be told at any time.
func (j *judge) look() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.checkSecrecy("the log or an event", j.world.told.takeAll())
	j.checkTokens()
	j.checkSessions()
	const most = 60 // requests for each object in the 20 s between two looks
	for what, count := range j.most {
		if count > most && !isShared(what) {
			j.broken(ruleRest, "%d requests in 20 s: %s", count, what)
		}
	}
	if objects := len(tokenNames) + len(crowdNames) + 3*len(sessionNames); j.requests > most*objects {
		j.broken(ruleRest, "%d requests in 20 s: %v", j.requests, j.most)
	}
	j.requests = 0
	clear(j.most)
}

// isShared reports whether requests are for what many objects share: a key's Secret, or a whole list.
func isShared(what string) bool {
	name := what[strings.LastIndex(what, " ")+1:]
	return name == "" || slices.Contains(keySecrets, name)
}

// checkSecrecy searches what anybody may read. API keys begin with rk_, and tokens with the base64 of {".
func (j *judge) checkSecrecy(where, text string) {
	for _, begin := range []string{"rk_", "eyJ"} {
		if at := strings.Index(text, begin); at >= 0 {
			j.broken(ruleSecrecy, "%s tells %q", where, text[max(0, at-40):min(len(text), at+20)])
		}
	}
}

// count changes what the simulation came to.
func (j *judge) count(change func(*counts)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&j.counts)
}

func TestALoopWithoutRequestsIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.judge = newJudge(w)
		clock := operatorClock{clocks: &w.clocks, host: &host{}, read: w.judge.clockRead}
		read := func(pause time.Duration) {
			for range 60_000 {
				time.Sleep(pause)
				clock.Now()
			}
		}
		read(time.Millisecond)
		if len(w.judge.found) > 0 {
			t.Errorf("where time passes: %v", w.judge.found)
		}
		read(0)
		if len(w.judge.found) != 1 || w.judge.found[0].rule != ruleRest || !w.wild.Load() {
			t.Errorf("where none passes: %v", w.judge.found)
		}
	})
}
