package reactortoken

import (
	"errors"
	"fmt"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// This file says what each answer of Reactor, and each refusal of the API server, means for the object: which of the three
// kinds it is, what the condition says, and when the next attempt is due. Which status code is of which class is the
// client's table (internal/reactor).

// answerOf is what an answer says about the API key, for all the objects that use it.
func answerOf(err error) answer {
	if err == nil {
		return answerAccepted
	}
	switch reactor.ClassOf(err) {
	case reactor.ClassKeyRefused:
		return answerRefused
	case reactor.ClassKeyLimited:
		return answerLimited
	case reactor.ClassRequestRefused:
		return answerAccepted // one tenant's bad request holds nobody else
	case reactor.ClassUnavailable:
		return answerNone
	default:
		return answerNone
	}
}

func retryAfterOf(err error) time.Duration {
	if answered, ok := errors.AsType[*reactor.Error](err); ok {
		return answered.RetryAfter
	}
	return 0
}

// mintObstacle is a failed mint: gate is the key's gate after it, and left what a token that is still valid has to live.
func mintObstacle(token *v1alpha1.ReactorToken, err error, gate gateView, failures int32, now time.Time, left time.Duration) *obstacle {
	switch reactor.ClassOf(err) {
	case reactor.ClassKeyRefused:
		return keyRefused(token, gate.until)
	case reactor.ClassKeyLimited:
		return keyLimited(token, gate.until)
	case reactor.ClassRequestRefused:
		return mustAct(v1alpha1.ReasonRequestRefused,
			"Reactor refused this request; change spec.lifetime, spec.scope or the API key, or ask again with the annotation %s: %v",
			v1alpha1.RenewRequestedAtAnnotation, err)
	case reactor.ClassUnavailable:
		return again(v1alpha1.ReasonReactorUnavailable, err, now.Add(patience(token, err, failures, left)))
	default:
		return again(v1alpha1.ReasonReactorUnavailable, err, now.Add(patience(token, err, failures, left)))
	}
}

// patience is the backoff, or the Retry-After that an unavailable Reactor asked for when it is longer and the token lives
// long enough.
func patience(token *v1alpha1.ReactorToken, err error, failures int32, left time.Duration) time.Duration {
	lifetime := token.Spec.EffectiveLifetime()
	if granted := token.Status.GrantedLifetime.Std(); granted > 0 { // the last time, and it may have been less
		lifetime = min(lifetime, granted)
	}
	wait := backoff(failures, longestMintBackoff(lifetime), token.UID, left)
	asked := min(retryAfterOf(err), mintBackoffCap)
	if left > 0 {
		asked = min(asked, left/2)
	}
	return max(wait, asked)
}

// writeObstacle is a write that the API server refused: of a token that is held until it is accepted, or of what stands around
// the token that the Secret has.
func writeObstacle(token *v1alpha1.ReactorToken, err error, held bool, failures int32, now time.Time, left time.Duration) *obstacle {
	wait := backoff(failures, writeBackoffCap, token.UID, left)
	found := again(v1alpha1.ReasonSecretWriteRefused, err, now.Add(wait))
	if held {
		found.message = fmt.Sprintf("the token is kept in memory until the API server accepts it: %v", err)
	} else {
		found.message = fmt.Sprintf("the Secret is put right as soon as the API server accepts it: %v", err)
	}
	return found
}

func again(reason string, err error, until time.Time) *obstacle {
	return &obstacle{kind: kindAgain, until: wholeSecond(until), problem: problem{reason, err.Error()}}
}

// waitObstacle is why an object was not admitted. While one call tries a key, it is open whether the key is good: who has been
// told that it is not is told so until the answer, because conditions must not flap, and nobody else is.
func waitObstacle(token *v1alpha1.ReactorToken, seen *observation, said verdict, gate gateView) *obstacle {
	state := gate.state
	if gate.until.IsZero() {
		state = toldOfKey(token, seen)
	}
	switch {
	case said == waitForTurn:
		return &obstacle{kind: kindLater, problem: problem{v1alpha1.ReasonQueued,
			"more tokens are due at once than the installation requests in a second (--mint-qps): this one waits its turn"}}
	case state == gateRefused:
		return keyRefused(token, gate.until)
	case state == gateHeld:
		return keyLimited(token, gate.until)
	default:
		return &obstacle{kind: kindLater, problem: problem{v1alpha1.ReasonPending,
			"another ReactorToken with the same API key is trying it just now"}}
	}
}

// toldOfKey is what status says of the key that is there now.
func toldOfKey(token *v1alpha1.ReactorToken, seen *observation) gateState {
	switch {
	case !lastFailureCounts(token, seen):
		return gateUnknown
	case seen.status.LastFailure.Reason == v1alpha1.ReasonAPIKeyRefused:
		return gateRefused
	case seen.status.LastFailure.Reason == v1alpha1.ReasonRateLimited:
		return gateHeld
	default:
		return gateUnknown
	}
}

func keyRefused(token *v1alpha1.ReactorToken, until time.Time) *obstacle {
	found := mustAct(v1alpha1.ReasonAPIKeyRefused,
		"Reactor refused the API key in Secret %q (401 Unauthorized): put a valid key there, and a token follows at once",
		token.Spec.APIKeySecretRef.Name)
	found.until = wholeSecond(until)
	return found
}

func keyLimited(token *v1alpha1.ReactorToken, until time.Time) *obstacle {
	return &obstacle{kind: kindLater, until: wholeSecond(until), problem: problem{v1alpha1.ReasonRateLimited, fmt.Sprintf(
		"Reactor limits the requests with the API key in Secret %q (429 Too Many Requests): all its tokens wait",
		token.Spec.APIKeySecretRef.Name)}}
}

// wholeSecond rounds up: status stores whole seconds, and a pass at an instant that was rounded down would come too early.
func wholeSecond(instant time.Time) time.Time {
	return instant.Add(time.Second - 1).Truncate(time.Second)
}
