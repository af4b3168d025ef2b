package reactortoken

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// callRequest is the request for a call to Reactor.
func callRequest(token *v1alpha1.ReactorToken, seen *observation, why cause) mintqueue.Request {
	request := mintqueue.Request{
		Object: types.NamespacedName{Namespace: token.Namespace, Name: token.Name}, Fingerprint: seen.key.Fingerprint, Priority: priorityOf(token, why, seen),
	}
	if current := seen.target.Current(); current != nil {
		request.Expires = seen.clocks.now.Add(seen.clocks.leftForProbe(current)).Round(time.Second)
	}
	return request
}

// priorityOf orders the requests when more tokens are due than the rate allows.
func priorityOf(token *v1alpha1.ReactorToken, why cause, seen *observation) mintqueue.Priority {
	if refusedBefore(token, seen) {
		return mintqueue.PriorityRefused
	}
	switch why {
	case causeNew:
		return mintqueue.PriorityNew
	case causeKeyChanged, causeRequestChanged, causeRequested:
		return mintqueue.PriorityChanged
	case causeDue:
		if untilExpiring(seen.clocks, seen.target.Record) > 0 {
			return mintqueue.PriorityRenewal
		}
		return mintqueue.PriorityExpiring
	case causeNone, causeDeleted, causeEdited, causeExpired:
		return mintqueue.PriorityExpiring
	default:
		return mintqueue.PriorityExpiring
	}
}

// expiringShare of the granted lifetime is left when a token counts as about to expire.
const expiringShare = 10

// untilExpiring is how long it is until a token counts as about to expire. It is negative when it does.
func untilExpiring(at clocks, current *targetsecret.Record) time.Duration {
	return at.until(current.ExpiresAt, current) - current.Granted()/expiringShare
}
