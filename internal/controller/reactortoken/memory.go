package reactortoken

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/controller/notice"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
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

// remembered is the memory of one object. Only the one pass that runs for an object at a time touches it.
type remembered struct {
	uid types.UID
	// status is what was reported last, and statusVersion the object's resourceVersion with it. The version is empty while the
	// status could not be written; untold are then the events that are to follow it.
	status        *v1alpha1.ReactorTokenStatus
	statusVersion string
	conflicts     int // how often in a row the API server had a version that the cache did not show
	untold        []notice.Notice
	// secret is the version of the target Secret that was written or checked last.
	secret checkedSecret
	// held is a token that was minted and could not be written yet.
	held *heldToken
	// received is when this process received the token with this id; the time carries Go's monotonic reading.
	received received
	// delivering is how far the delivery of a new token has come.
	delivering delivering
	budget     *rate.Limiter                // of mints
	paid       targetsecret.RequestIdentity // what it has paid for, and failed since
	repairs    *rate.Limiter
}

// checkedSecret is a version of the target Secret whose content was seen to be right.
type checkedSecret struct {
	name            string
	resourceVersion string
}

// heldToken is a minted token on its way to the Secret.
type heldToken struct {
	targetsecret.RequestIdentity // that it answers

	token   reactor.Token
	tokenID string
}

type received struct {
	tokenID string
	at      time.Time
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

// receivedAt is when this process received the token that the record speaks of; zero when it did not.
func (r *remembered) receivedAt(of *targetsecret.Record) time.Time {
	if of == nil || of.TokenID != r.received.tokenID {
		return time.Time{}
	}
	return r.received.at
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
