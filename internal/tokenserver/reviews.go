package tokenserver

import (
	"errors"
	"time"

	"golang.org/x/time/rate"
)

// How many tokens the cluster is asked about in a second, and at a time. A genuine token is reviewed once a minute at most.
const (
	genuinePerSecond, genuineAtATime = 100, 100
	othersPerSecond, othersAtATime   = 5, 5
)

// errManyReviews is why the cluster is not asked about a token now.
var errManyReviews = errors.New("the cluster is asked about enough tokens of this kind")

// reviewBudget bounds the questions to the cluster. A request that finds it spent is answered immediately and can be repeated: if it
// waited, a flood would fill the server with waiting requests.
type reviewBudget struct {
	perSecond *rate.Limiter
	atATime   chan struct{}
}

func newReviewBudget(perSecond, atATime int) *reviewBudget {
	return &reviewBudget{perSecond: rate.NewLimiter(rate.Limit(perSecond), perSecond), atATime: make(chan struct{}, atATime)}
}

// take takes one question from the budget, if there is one. The caller gives its place back when the question is answered.
func (b *reviewBudget) take(now time.Time) bool {
	select {
	case b.atATime <- struct{}{}:
	default:
		return false
	}
	if !b.perSecond.AllowN(now, 1) {
		b.giveBack()
		return false
	}
	return true
}

func (b *reviewBudget) giveBack() { <-b.atATime }
