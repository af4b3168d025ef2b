package mintqueue

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Priority orders the requests when more are due than the rate allows. A smaller one goes first.
type Priority int

// The priorities.
const (
	// PriorityExpiring: the token is about to expire, has expired, or is missing. Pods have no valid token, or will have none soon.
	PriorityExpiring Priority = iota
	// PriorityChanged: the key or the request changed, or a user requested a renewal.
	PriorityChanged
	// PriorityNew: the object is new. No program relies on its token yet.
	PriorityNew
	// PriorityRenewal: an ordinary renewal, long before the token expires.
	PriorityRenewal
	// PriorityRefused: Reactor refused this request before, and is likely to refuse it again.
	PriorityRefused

	priorities = int(PriorityRefused) + 1
)

// Request is the request of an object for one call to Reactor.
type Request struct {
	Object      types.NamespacedName
	Fingerprint string // of the API key
	Priority    Priority
	Expires     time.Time // when the token that the object has expires, by the operator's wall clock, in whole seconds; zero without a token
}

// requests is the queue of the requests that wait for a slot: by priority first; then round robin over namespaces, so that a thousand tokens of
// one tenant do not delay the only one of another; then by the expiry of the token that the object has. The order of arrival says little:
// after a change of the leader all come at the same time, and the first ones have to wait for the first answer to their key.
type requests struct {
	byPriority [priorities]roundRobin
	byObject   map[types.NamespacedName]Request
}

// push adds a request, or replaces the object's earlier one. A request that did not change keeps its place.
func (q *requests) push(r Request) {
	if r.Priority == PriorityRefused {
		r.Expires = time.Time{} // in the order of arrival. Otherwise those that expire first would be first after each refusal, and others would never be retried
	}
	if earlier, ok := q.byObject[r.Object]; ok {
		if earlier == r {
			return
		}
		q.remove(r.Object)
	}
	if q.byObject == nil {
		q.byObject = map[types.NamespacedName]Request{}
	}
	q.byObject[r.Object] = r
	q.byPriority[r.Priority].push(r)
}

// remove removes the request of an object, if there is one.
func (q *requests) remove(object types.NamespacedName) {
	if r, ok := q.byObject[object]; ok {
		delete(q.byObject, object)
		q.byPriority[r.Priority].remove(r)
	}
}

// removeKey removes the requests with an API key, and returns them in the order of the names of their objects.
func (q *requests) removeKey(fingerprint string) []Request {
	var removed []Request
	for object, r := range q.byObject {
		if r.Fingerprint == fingerprint {
			delete(q.byObject, object)
			removed = append(removed, r)
		}
	}
	for priority := range q.byPriority {
		q.byPriority[priority].removeKey(fingerprint)
	}
	slices.SortFunc(removed, func(one, other Request) int { return strings.Compare(one.Object.String(), other.Object.String()) })
	return removed
}

// peek returns the request that goes first.
func (q *requests) peek() (Request, bool) {
	for priority := range q.byPriority {
		if r, ok := q.byPriority[priority].peek(); ok {
			return r, true
		}
	}
	return Request{}, false
}

// pop removes and returns the request that goes first.
func (q *requests) pop() (Request, bool) {
	r, ok := q.peek()
	if ok {
		delete(q.byObject, r.Object)
		q.byPriority[r.Priority].pop()
	}
	return r, ok
}

// roundRobin are requests of one priority. It serves their namespaces in turn.
type roundRobin struct {
	namespaces  []string // the next one first
	byNamespace map[string][]Request
}

func (q *roundRobin) push(r Request) {
	if q.byNamespace == nil {
		q.byNamespace = map[string][]Request{}
	}
	namespace := r.Object.Namespace
	if len(q.byNamespace[namespace]) == 0 {
		q.namespaces = append(q.namespaces, namespace)
	}
	requests := q.byNamespace[namespace]
	at, _ := slices.BinarySearchFunc(requests, r, func(other, r Request) int {
		if other.Expires.After(r.Expires) {
			return 1
		}
		return -1 // what expires at the same time came before
	})
	q.byNamespace[namespace] = slices.Insert(requests, at, r)
}

// pop removes the request that goes first. There must be one.
func (q *roundRobin) pop() {
	namespace := q.namespaces[0]
	q.namespaces = q.namespaces[1:]
	rest := q.byNamespace[namespace][1:]
	q.keep(namespace, rest)
	if len(rest) > 0 {
		q.namespaces = append(q.namespaces, namespace)
	}
}

func (q *roundRobin) remove(r Request) {
	namespace := r.Object.Namespace
	q.keep(namespace, slices.DeleteFunc(q.byNamespace[namespace], func(other Request) bool { return other.Object == r.Object }))
	if len(q.byNamespace[namespace]) == 0 {
		q.dropEmpty()
	}
}

// removeKey removes the requests with an API key. It goes through all of them once: to remove them one by one would take the
// square of that.
func (q *roundRobin) removeKey(fingerprint string) {
	for namespace, requests := range q.byNamespace {
		q.keep(namespace, slices.DeleteFunc(requests, func(r Request) bool { return r.Fingerprint == fingerprint }))
	}
	q.dropEmpty()
}

func (q *roundRobin) keep(namespace string, rest []Request) {
	if len(rest) == 0 {
		delete(q.byNamespace, namespace)
		return
	}
	q.byNamespace[namespace] = rest
}

// dropEmpty drops the namespaces that have no request any more.
func (q *roundRobin) dropEmpty() {
	q.namespaces = slices.DeleteFunc(q.namespaces, func(namespace string) bool { return len(q.byNamespace[namespace]) == 0 })
}

func (q *roundRobin) peek() (Request, bool) {
	if len(q.namespaces) == 0 {
		return Request{}, false
	}
	return q.byNamespace[q.namespaces[0]][0], true
}
