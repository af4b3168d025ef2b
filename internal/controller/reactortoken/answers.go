package reactortoken

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// This file decides what each answer of Reactor, and each refusal of the API server, means for the object: which of the three kinds of failure it is,
// what the condition reports, and when the next attempt is due. Which status code belongs to which class is decided by the client (internal/reactor).

// outcomeOf is what the end of a call means for the API key, and so for all the objects that use it.
func outcomeOf(err error) mintqueue.Outcome {
	return mintqueue.Outcome{Answer: answerOf(err), RetryAfter: retryAfterOf(err)}
}

func answerOf(err error) mintqueue.Answer {
	if err == nil {
		return mintqueue.AnswerAccepted
	}
	switch reactor.ClassOf(err) {
	case reactor.ClassKeyRefused:
		return mintqueue.AnswerRejected
	case reactor.ClassKeyLimited:
		return mintqueue.AnswerRateLimited
	case reactor.ClassRequestRefused:
		return mintqueue.AnswerAccepted // one tenant's bad request delays no other object
	case reactor.ClassUnavailable:
		return mintqueue.AnswerNone
	default:
		return mintqueue.AnswerNone
	}
}

func retryAfterOf(err error) time.Duration {
	if answered, ok := errors.AsType[*reactor.Error](err); ok {
		return answered.RetryAfter
	}
	return 0
}

// failedMint is what the obstacle after a failed call to Reactor depends on.
type failedMint struct {
	err      error
	key      mintqueue.KeyStatus // after the call
	failures int32               // in a row, this one included
	since    time.Time           // when Reactor first refused this request; zero when it did not before
	now      time.Time
	// left is how long the token in the Secret still lives, and untilExpiring how long it is until it counts as about to
	// expire; zero or less without a valid token.
	left, untilExpiring time.Duration
}

// mintObstacle decides how the object continues after a failed call to Reactor.
func mintObstacle(token *v1alpha1.ReactorToken, failed *failedMint) *obstacle {
	switch reactor.ClassOf(failed.err) {
	case reactor.ClassKeyRefused:
		return keyRefused(token, failed.key.Until)
	case reactor.ClassKeyLimited:
		return keyLimited(token, failed.key.Until)
	case reactor.ClassRequestRefused:
		found := mustAct(v1alpha1.ReasonRequestRefused,
			"%v. Change spec.lifetime, spec.scope or the API key. The operator retries every 15 minutes, and after six hours about every hour. To retry immediately, set the annotation %s to a new value",
			failed.err, v1alpha1.RenewRequestedAtAnnotation)
		found.until = wholeSecond(failed.now.Add(refusalRetryWait(token.UID, failed)))
		return found
	case reactor.ClassUnavailable:
		return retryObstacle(v1alpha1.ReasonReactorUnavailable, failed.err, failed.now.Add(mintRetryDelay(token, failed)))
	default:
		return retryObstacle(v1alpha1.ReasonReactorUnavailable, failed.err, failed.now.Add(mintRetryDelay(token, failed)))
	}
}

// refusalRetryWait is how long to wait before a request that Reactor refused is retried. It is shorter where the token in the
// Secret would be about to expire untried. Up to a fifth less by the object's UID spreads the retries of objects that Reactor
// refused at the same time.
func refusalRetryWait(uid types.UID, failed *failedMint) time.Duration {
	wait := refusalRetryInterval
	if !failed.since.IsZero() && failed.now.Sub(failed.since) >= slowRefusalRetryAfter {
		wait = slowRefusalRetryInterval
	}
	wait = lessByUID(wait, uid)
	switch {
	case failed.untilExpiring > 0:
		wait = min(wait, failed.untilExpiring)
	case failed.left > 0: // a short renewBefore leaves no more
		wait = min(wait, max(failed.left/2, lastRetryWait))
	}
	return max(wait, backoffFloor)
}

// mintRetryDelay is the backoff, or the Retry-After that an unavailable Reactor sent if it is longer and the token lives long enough.
func mintRetryDelay(token *v1alpha1.ReactorToken, failed *failedMint) time.Duration {
	lifetime := token.Spec.EffectiveLifetime()
	if granted := token.Status.GrantedLifetime.Std(); granted > 0 { // the last time, and it may have been less
		lifetime = min(lifetime, granted)
	}
	wait := backoff(failed.failures, maxMintBackoff(lifetime), token.UID, failed.left)
	asked := min(retryAfterOf(failed.err), mintBackoffCap)
	if failed.left > 0 {
		asked = min(asked, failed.left/2)
	}
	return max(wait, asked)
}

// writeObstacle is a write that the API server refused: of a pending token, or of what is around the token that the Secret has.
func writeObstacle(token *v1alpha1.ReactorToken, err error, isPending bool, failures int32, now time.Time, left time.Duration) *obstacle {
	wait := backoff(failures, writeBackoffCap, token.UID, left)
	found := retryObstacle(v1alpha1.ReasonSecretWriteRefused, err, now.Add(wait))
	if isPending {
		found.message = fmt.Sprintf("the token is kept in memory until the API server accepts it: %v", err)
	} else {
		found.message = fmt.Sprintf("the operator repairs the Secret as soon as the API server accepts it: %v", err)
	}
	return found
}

func retryObstacle(reason string, err error, until time.Time) *obstacle {
	return &obstacle{kind: retryWithBackoff, until: wholeSecond(until), problem: problem{reason, err.Error()}}
}

// waitObstacle is why an object was not admitted. While one call tries a key, it is not known whether the key is valid. An object whose status
// reports an invalid key keeps reporting it until the answer, because conditions must not flap. No other object reports it.
func waitObstacle(token *v1alpha1.ReactorToken, observed *observation, decision mintqueue.Decision, key mintqueue.KeyStatus) *obstacle {
	state := key.State
	if !key.Closed {
		state = reportedOfKey(token, observed)
	}
	switch {
	case decision == mintqueue.WaitForSlot && refusedBefore(token, observed):
		return &obstacle{kind: userMustAct, problem: problem{v1alpha1.ReasonRequestRefused, observed.status.LastFailure.Message}}
	case decision == mintqueue.WaitForSlot:
		return &obstacle{kind: retryAtTime, problem: problem{v1alpha1.ReasonQueued,
			"more tokens are due than --mint-qps allows: the request for this one is queued"}}
	case state == mintqueue.KeyRejected:
		return keyRefused(token, key.Until)
	case state == mintqueue.KeyRateLimited:
		return keyLimited(token, key.Until)
	default:
		return &obstacle{kind: retryAtTime, problem: problem{v1alpha1.ReasonPending,
			"another ReactorToken is currently trying the same API key"}}
	}
}

// reportedOfKey is what status reports about the key that is used now.
func reportedOfKey(token *v1alpha1.ReactorToken, observed *observation) mintqueue.KeyState {
	switch {
	case !lastFailureCounts(token, observed):
		return mintqueue.KeyUnknown
	case observed.status.LastFailure.Reason == v1alpha1.ReasonAPIKeyRefused:
		return mintqueue.KeyRejected
	case observed.status.LastFailure.Reason == v1alpha1.ReasonRateLimited:
		return mintqueue.KeyRateLimited
	default:
		return mintqueue.KeyUnknown
	}
}

func keyRefused(token *v1alpha1.ReactorToken, until time.Time) *obstacle {
	found := mustAct(v1alpha1.ReasonAPIKeyRefused,
		"Reactor rejected the API key in Secret %q (401 Unauthorized). Update the Secret with a valid key. The operator then requests new tokens, at the rate of --mint-qps",
		token.Spec.APIKeySecretRef.Name)
	found.until = wholeSecond(until)
	return found
}

func keyLimited(token *v1alpha1.ReactorToken, until time.Time) *obstacle {
	return &obstacle{kind: retryAtTime, until: wholeSecond(until), problem: problem{v1alpha1.ReasonRateLimited, fmt.Sprintf(
		"Reactor limits the requests with the API key in Secret %q (429 Too Many Requests): all its tokens wait",
		token.Spec.APIKeySecretRef.Name)}}
}
