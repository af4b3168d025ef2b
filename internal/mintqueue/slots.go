package mintqueue

import (
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
)

// retryShare limits the requests that Reactor refused before: at most one in retryShare calls of the rate is for such a request.
const retryShare = 10

// slots are the calls that may be made at the same time, and the rate at which they start.
//
// An object has a slot from the moment that it is first in the queue until the reconcile that calls Reactor is over. There are fewer slots than
// workers, for two goals:
//   - What expires first goes first. More slots than workers would wait in the queue of the controller, where no request that comes later can
//     overtake them.
//   - A quarter of the workers is left to the objects that need no call: their Secrets are repaired, and their status is written, even if Reactor
//     or the API server takes long to answer.
//
// A slot that is released when the call has ended, before the writes, does not reach the second goal:
//
//  1. The API server takes a second for each write, and 400 renewals are due.
//  2. The slot of a call that has ended goes to the next object, which waits in the queue of the controller before all others.
//  3. All workers write tokens, for as long as tokens are due. The Secret of another object is not repaired meanwhile.
type slots struct {
	max   int
	inUse map[types.NamespacedName]bool // true: the object was admitted

	rate      *rate.Limiter
	retryRate *rate.Limiter // of the requests that Reactor refused, which use the other rate, too
}

// SlotsFor returns the number of slots for a number of workers. A quarter of the workers, and at least one, remains for objects without a
// slot.
func SlotsFor(workers int) int { return max(1, workers-max(1, workers/4)) }

// reserve takes one call from the rate for a request, or returns how long it is until the rate allows it. A request that Reactor refused needs
// one of retryRate, too: an account of which Reactor refuses 10,000 requests must not use up the rate of those that it grants.
func (s *slots) reserve(r Request, now time.Time) time.Duration {
	reservations := []*rate.Reservation{s.rate.ReserveN(now, 1)}
	if r.Priority == PriorityRefused {
		reservations = append(reservations, s.retryRate.ReserveN(now, 1))
	}
	var wait time.Duration
	for _, reservation := range reservations {
		wait = max(wait, reservation.DelayFrom(now))
	}
	if wait > 0 {
		for _, reservation := range reservations {
			reservation.CancelAt(now)
		}
	}
	return wait
}
