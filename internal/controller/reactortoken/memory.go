package reactortoken

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/rollout"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// A mint that is not an ordinary renewal costs one of the object's budget: a burst of budgetBurst, and one more every
// budgetRefill. It keeps a fight with another writer, or a spec that two controllers keep changing, cheap.
const (
	budgetBurst  = 10
	budgetRefill = 3 * time.Minute
)

// A repair costs a read and a write, and no mint; it has a budget of its own. A fight over the Secret that has spent it is over
// when there was nothing to repair for so long that the budget has repairCalm again.
const (
	repairBurst  = 20
	repairRefill = 10 * time.Second
	repairCalm   = repairBurst / 2
)

// memory is what this process knows of each object and may forget: after a restart everything is read back from the Secret
// and the status, or begins anew. The state table in docs/architecture.md lists it.
type memory struct {
	mu      sync.Mutex
	objects map[types.NamespacedName]*remembered
}

// remembered is the memory of one object. Only the one reconcile that runs for an object at a time uses it. It changes in record and recordWrite
// alone.
type remembered struct {
	uid    types.UID
	status lastStatus
	// secret is the version of the target Secret that was written or checked last.
	secret checkedSecret
	// held is a token that was minted and could not be written yet.
	held     *heldToken
	received received
	// progress is how far the rollout of a new token is.
	progress rollout.Progress
	budget   *rate.Limiter                // of mints
	paid     targetsecret.RequestIdentity // what it has paid for, and failed since
	repairs  *rate.Limiter
}

// checkedSecret is a version of the target Secret whose content was seen to be right.
type checkedSecret struct {
	name            string
	resourceVersion string
}

// heldToken is a minted token on its way to the Secret.
type heldToken struct {
	demand targetsecret.RequestIdentity // that it answers

	token   reactor.Token
	tokenID string
}

// received is when this process received the token with this ID. The time carries Go's monotonic reading.
type received struct {
	tokenID string
	time    time.Time
}

func newMemory() *memory { return &memory{objects: map[types.NamespacedName]*remembered{}} }

// of returns the memory of an object. One that was deleted and created anew under its name begins with none, except for the
// status that it has.
func (m *memory) of(token *v1alpha1.ReactorToken) *remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := types.NamespacedName{Namespace: token.Namespace, Name: token.Name}
	known, ok := m.objects[name]
	if !ok || known.uid != token.UID {
		known = &remembered{
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

// record remembers what a reconcile did. now is when it observed the object.
func (r *remembered) record(done result, now time.Time) {
	r.secret, r.held, r.received, r.progress, r.paid = done.secret, done.held, done.received, done.progress, done.paid
	if done.budgetSpent {
		r.budget.AllowN(now, 1)
	}
	if done.repairSpent {
		r.repairs.AllowN(now, 1)
	}
}

// forget drops the memory of an object that is gone.
func (m *memory) forget(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
}

// spentUntil is when a budget allows one more; zero when it does now.
func spentUntil(budget *rate.Limiter, now time.Time) time.Time { return refilledTo(budget, 1, now) }

// refilledTo is when a budget has so many again; zero when it has.
func refilledTo(budget *rate.Limiter, many float64, now time.Time) time.Time {
	missing := many - budget.TokensAt(now)
	if missing <= 0 {
		return time.Time{}
	}
	return wholeSecond(now.Add(time.Duration(missing / float64(budget.Limit()) * float64(time.Second))))
}
