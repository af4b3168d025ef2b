package reactortoken

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// urgency orders the mints when more are due than the rate allows. A smaller one goes first.
type urgency int

const (
	// urgencyExpiring: the token is about to expire, or has, or is gone: pods are without a valid token, or soon will be.
	urgencyExpiring urgency = iota
	// urgencyChanged: the key or the request changed, or a person asked.
	urgencyChanged
	// urgencyNew: the object is new; nobody can rely on its token yet.
	urgencyNew
	// urgencyRenewal: an ordinary renewal, with a third of the token's life in hand.
	urgencyRenewal
	// urgencyRefused: Reactor refused this request before, and is likely to refuse it again.
	urgencyRefused

	urgencyLevels = int(urgencyRefused) + 1
)

// urgencyOf orders the mints when more are due than the rate allows.
func urgencyOf(token *v1alpha1.ReactorToken, why cause, seen *observation) urgency {
	if refusedBefore(token, seen) {
		return urgencyRefused
	}
	switch why {
	case causeNew:
		return urgencyNew
	case causeKeyChanged, causeRequestChanged, causeRequested:
		return urgencyChanged
	case causeDue:
		held := seen.target.record
		if untilExpiring(seen.clocks, held) > 0 {
			return urgencyRenewal
		}
		return urgencyExpiring
	case causeNone, causeDeleted, causeEdited, causeExpired:
		return urgencyExpiring
	default:
		return urgencyExpiring
	}
}

// expiringShare of the granted lifetime is left when a token counts as about to expire.
const expiringShare = 10

// untilExpiring is how long it is until a token counts as about to expire. It is negative when it does.
func untilExpiring(at clocks, held *record) time.Duration {
	return at.until(held.ExpiresAt, held) - held.granted()/expiringShare
}

// ticket is an object's place in the line.
type ticket struct {
	object      types.NamespacedName
	fingerprint string // of the API key
	urgency     urgency
	expires     time.Time // of the token that it has, by the operator's wall clock, in whole seconds; zero without one
}

// line is the line of the objects that wait for the rate: by urgency first, then round-robin over namespaces, so that one
// tenant's thousand tokens do not starve another's one, then by the expiry of the token that there is. The order of arrival says
// little: after a change of the leader all come at once, and those that were the first have to wait for the first answer to their key.
type line struct {
	levels  [urgencyLevels]roundRobin
	tickets map[types.NamespacedName]ticket
}

// roundRobin takes namespaces in turn.
type roundRobin struct {
	turns       []string // namespaces, the next one first
	byNamespace map[string][]ticket
}

// join adds a ticket, or replaces the object's earlier one when the urgency changed.
func (l *line) join(t ticket) {
	if earlier, ok := l.tickets[t.object]; ok {
		if earlier == t {
			return
		}
		l.leave(t.object)
	}
	if l.tickets == nil {
		l.tickets = map[types.NamespacedName]ticket{}
	}
	l.tickets[t.object] = t
	l.levels[t.urgency].push(t)
}

// leave takes the object out of the line, if it stands there.
func (l *line) leave(object types.NamespacedName) {
	if t, ok := l.tickets[object]; ok {
		delete(l.tickets, object)
		l.levels[t.urgency].remove(t)
	}
}

// leaveAll takes those who wait to call with an API key out of the line, and returns them in the order of their names.
func (l *line) leaveAll(fingerprint string) []ticket {
	var left []ticket
	for object, t := range l.tickets {
		if t.fingerprint == fingerprint {
			delete(l.tickets, object)
			left = append(left, t)
		}
	}
	for level := range l.levels {
		l.levels[level].removeAll(fingerprint)
	}
	slices.SortFunc(left, func(one, other ticket) int { return strings.Compare(one.object.String(), other.object.String()) })
	return left
}

// next takes the most urgent ticket out of the line.
func (l *line) next() (ticket, bool) {
	for level := range l.levels {
		if t, ok := l.levels[level].pop(); ok {
			delete(l.tickets, t.object)
			return t, true
		}
	}
	return ticket{}, false
}

func (l *line) empty() bool { return len(l.tickets) == 0 }

func (l *line) has(object types.NamespacedName) bool {
	_, ok := l.tickets[object]
	return ok
}

func (r *roundRobin) push(t ticket) {
	if r.byNamespace == nil {
		r.byNamespace = map[string][]ticket{}
	}
	namespace := t.object.Namespace
	if len(r.byNamespace[namespace]) == 0 {
		r.turns = append(r.turns, namespace)
	}
	tickets := r.byNamespace[namespace]
	at, _ := slices.BinarySearchFunc(tickets, t, func(other, t ticket) int {
		if other.expires.After(t.expires) {
			return 1
		}
		return -1 // what expires at the same time came before
	})
	r.byNamespace[namespace] = slices.Insert(tickets, at, t)
}

func (r *roundRobin) pop() (ticket, bool) {
	if len(r.turns) == 0 {
		return ticket{}, false
	}
	namespace := r.turns[0]
	r.turns = r.turns[1:]
	tickets := r.byNamespace[namespace]
	first, rest := tickets[0], tickets[1:]
	if len(rest) == 0 {
		delete(r.byNamespace, namespace)
		return first, true
	}
	r.byNamespace[namespace] = rest
	r.turns = append(r.turns, namespace)
	return first, true
}

func (r *roundRobin) remove(t ticket) {
	namespace := t.object.Namespace
	r.keep(namespace, slices.DeleteFunc(r.byNamespace[namespace], func(other ticket) bool { return other.object == t.object }))
	if len(r.byNamespace[namespace]) == 0 {
		r.dropTurns()
	}
}

// removeAll removes the tickets with an API key. It goes through all of them once: to remove them one by one would take the
// square of that.
func (r *roundRobin) removeAll(fingerprint string) {
	for namespace, tickets := range r.byNamespace {
		r.keep(namespace, slices.DeleteFunc(tickets, func(t ticket) bool { return t.fingerprint == fingerprint }))
	}
	r.dropTurns()
}

func (r *roundRobin) keep(namespace string, rest []ticket) {
	if len(rest) == 0 {
		delete(r.byNamespace, namespace)
		return
	}
	r.byNamespace[namespace] = rest
}

// dropTurns drops the turns of namespaces that have no ticket any more.
func (r *roundRobin) dropTurns() {
	r.turns = slices.DeleteFunc(r.turns, func(namespace string) bool { return len(r.byNamespace[namespace]) == 0 })
}
