package reactortoken

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
	"github.com/reactor-operator/reactor-operator/internal/rollout"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// A mint that is not an ordinary renewal costs one of the object's budget: a burst of budgetBurst, and one more every
// budgetRefill. It keeps a fight with another writer, or a spec that two controllers keep changing, cheap.
const (
	budgetBurst  = 10
	budgetRefill = 3 * time.Minute
)

// A repair costs a read and a write, and no mint; it has a budget of its own. A contest over the Secret that has
// spent it is over when nothing had to be repaired until the budget has repairCalm again.
const (
	repairBurst  = 20
	repairRefill = 10 * time.Second
	repairCalm   = repairBurst / 2
)

// stateStore has what this process knows about each object and may forget: after a restart everything is read back from the Secret and the status, or
// starts again. The state table in docs/architecture.md lists it.
type stateStore struct {
	mu      sync.Mutex
	objects map[types.NamespacedName]*objectState
}

// objectState is what this process knows about one object. Only the one reconcile that runs for an object at a time uses it. It changes only in afterAct
// and when the status is written.
type objectState struct {
	uid    types.UID
	status lastStatus
	// secret is the version of the target Secret that was written or checked last.
	secret checkedSecret
	// pending is a token that was minted and could not be written yet.
	pending  *pendingToken
	received received
	// progress is how far the rollout of a new token is.
	progress rollout.Progress
	budget   *rate.Limiter                // of mints
	paidFor  targetsecret.RequestIdentity // the request that it has paid for and that failed
	repairs  *rate.Limiter
}

// checkedSecret is a version of the target Secret whose content was checked.
type checkedSecret struct {
	name            string
	resourceVersion string
}

// pendingToken is a minted token that is not in the Secret yet.
type pendingToken struct {
	identity targetsecret.RequestIdentity // that it answers

	token   reactor.Token
	tokenID string
}

// received is when this process received the token with this ID. The time carries Go's monotonic reading.
type received struct {
	tokenID string
	time    time.Time
}

func newStateStore() *stateStore {
	return &stateStore{objects: map[types.NamespacedName]*objectState{}}
}

// of returns the state of an object. An object that was deleted and created again under its name starts with an empty state, except for the status that
// it has.
func (m *stateStore) of(token *v1alpha1.ReactorToken) *objectState {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := types.NamespacedName{Namespace: token.Namespace, Name: token.Name}
	known, ok := m.objects[name]
	if !ok || known.uid != token.UID {
		known = &objectState{
			uid:     token.UID,
			budget:  rate.NewLimiter(rate.Every(budgetRefill), budgetBurst),
			repairs: rate.NewLimiter(rate.Every(repairRefill), repairBurst),
		}
		known.secret = checkedSecret{token.Status.SecretName, token.Status.SecretResourceVersion}
		m.objects[name] = known
	}
	return known
}

// at is when this process received the token that a record describes; zero if it did not receive it.
func (r received) at(of *targetsecret.Record) time.Time {
	if of == nil || of.TokenID != r.tokenID {
		return time.Time{}
	}
	return r.time
}

// afterAct updates the state with the result of a reconcile. now is when the reconcile observed the object.
func (r *objectState) afterAct(result actResult, now time.Time) {
	r.secret, r.pending, r.received, r.progress, r.paidFor = result.secret, result.pending, result.received, result.progress, result.paidFor
	if result.chargeMint {
		r.budget.AllowN(now, 1)
	}
	if result.chargeRepair {
		r.repairs.AllowN(now, 1)
	}
}

// forget drops the state of a deleted object.
func (m *stateStore) forget(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
}

// spentUntil returns when a budget allows one more; zero if it allows one now.
func spentUntil(budget *rate.Limiter, now time.Time) time.Time { return refilledTo(budget, 1, now) }

// refilledTo returns when a budget has this many tokens again; zero if it has them now.
func refilledTo(budget *rate.Limiter, many float64, now time.Time) time.Time {
	missing := many - budget.TokensAt(now)
	if missing <= 0 {
		return time.Time{}
	}
	return wholeSecond(now.Add(time.Duration(missing / float64(budget.Limit()) * float64(time.Second))))
}

// observation is all that a decision is made from.
type observation struct {
	clocks        clocks
	status        v1alpha1.ReactorTokenStatus // the newest: what was written last
	isDeleted     bool                        // the ReactorToken itself was deleted, and the cache does not show that yet
	target        targetsecret.State
	key           apikey.Key
	claimedBy     string        // the name of the other ReactorToken that may write the target Secret
	checked       checkedSecret // the version of the target Secret that does not have to be read live again
	pending       *pendingToken // minted, and not written yet
	received      received      // when this process received the token that it wrote last
	progress      rollout.Progress
	apiURL        string                       // where Reactor is called
	budgetUntil   time.Time                    // when the mint budget allows another mint that is not a renewal; zero: now
	paidFor       targetsecret.RequestIdentity // the request that the mint budget has paid for and that failed
	repairUntil   time.Time                    // when the repair budget allows another repair; zero: now
	contestEndsAt time.Time                    // when a fight over the Secret counts as over; zero: it is, or there was none
	leftovers     []leftoverSecret
}

// leftoverSecret is a Secret that this ReactorToken wrote and no longer writes, since spec.secret.name changed.
type leftoverSecret struct {
	name            string
	uid             types.UID
	resourceVersion string
	what            targetsecret.Leftover
}

// cause is why a new token is needed.
type cause string

// The causes, in the order in which they are looked for: the first one that is found is reported.
const (
	causeNone           cause = ""
	causeNew            cause = "first token"
	causeDeleted        cause = "Secret deleted"
	causeEdited         cause = "Secret edited"
	causeExpired        cause = "token expired"
	causeKeyChanged     cause = "API key changed"
	causeRequestChanged cause = "spec changed"
	causeRequested      cause = "renewal requested"
	causeDue            cause = "renewal due"
)

// write is what a plan does to the target Secret.
type write int

const (
	writeNothing write = iota
	writePending       // the pending token
	writeMint          // a new token
)

// plan is what a reconcile is going to do.
type plan struct {
	cause    cause
	write    write
	repair   bool      // repair what is around the token, unless a new one replaces it in this reconcile
	obstacle *obstacle // why it cannot be done
	requeue  []requeue.Entry
}

// failureKind is what happens after a failure. Every failure is of one of three kinds.
type failureKind int

const (
	userMustAct      failureKind = iota // retried slowly, and when a watch reports a change
	retryAtTime                         // at a known time
	retryWithBackoff                    // with backoff
)

// problem is something that went wrong, as a condition will show it.
type problem struct {
	reason, message string
}

// obstacle is why something is not done, as a condition shows it.
type obstacle struct {
	problem
	kind  failureKind
	until time.Time // by the operator's clock; zero: no time is known, a watch triggers the reconcile
}

// result is what happened when a plan was executed.
type actResult struct {
	clocks    clocks               // at the end: a call to Reactor may take 15 s
	record    *targetsecret.Record // of the token that is in the Secret now, if this reconcile wrote it
	version   string               // the resourceVersion of the Secret that this reconcile wrote
	issued    bool                 // the record is of a new token
	adopted   bool                 // and its Secret belongs to another owner that allows it
	repaired  bool                 // the Secret was repaired around the token that it has
	failed    *obstacle            // an attempt was made, and it failed
	unwritten bool                 // the API server refused the write of the Secret
	waiting   *obstacle            // no attempt was made: the request is queued, or the key is closed
	delivered bool                 // the token that is in the Secret has reached all programs that it is brought to
	changed   bool                 // an object changed during the reconcile: decide again
	notices   []notice.Notice      // to emit as events
	requeue   []requeue.Entry
	err       error // for the backoff of the controller's queue
	unread    error // why the API key could not be read; for the backoff of the controller's queue, too

	// What the operator remembers of the object from here on.
	pending      *pendingToken
	secret       checkedSecret
	received     received
	progress     rollout.Progress
	paidFor      targetsecret.RequestIdentity
	chargeMint   bool // a mint was paid by the budget
	chargeRepair bool // a repair was paid by the budget of repairs
}

// attempted reports whether the reconcile has written the Secret, or tried to, or has to decide again before it can.
func (o *actResult) attempted() bool {
	return o.record != nil || o.unwritten || o.changed || o.err != nil
}

// reported is what a reconcile reports: the status, the events that announce a change of it, and when the object is reconciled next.
type statusReport struct {
	now     time.Time
	status  v1alpha1.ReactorTokenStatus
	events  []notice.Notice
	requeue []requeue.Entry
}

// statusInput is what the status is derived from.
type statusInput struct {
	planned       plan
	result        actResult
	clocks        clocks
	current       *targetsecret.Record // of the token that the Secret holds now; nil if it holds none
	valid         bool                 // and it has not expired
	obstacle      *obstacle            // why the object does not have what it wants
	contestEndsAt time.Time            // when a fight over the Secret counts as over; zero: there is none
}

func newStatusInput(observed *observation, planned plan, result actResult) statusInput {
	v := statusInput{
		planned: planned, result: result, clocks: result.clocks, current: observed.target.Current(),
		obstacle: planned.obstacle, contestEndsAt: observed.contestEndsAt,
	}
	if result.record != nil {
		v.current = result.record
	}
	v.valid = v.current != nil && v.clocks.until(v.current.ExpiresAt, v.current) > 0
	switch {
	case result.failed != nil:
		v.obstacle = result.failed
	case result.waiting != nil:
		v.obstacle = result.waiting
	}
	return v
}

// lastStatus is the status that was reported last.
type lastStatus struct {
	status    *v1alpha1.ReactorTokenStatus // nil once the cache shows it
	version   string                       // the object's resourceVersion with it; empty while it is not written
	conflicts int                          // how often in a row the API server had a version that the cache did not show
	notices   []notice.Notice              // the events to emit after it is written
}
