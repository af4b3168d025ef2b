package reactortoken

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// mintRequestOf is what the spec requests from Reactor.
func mintRequestOf(spec *v1alpha1.ReactorTokenSpec, key reactor.Secret) reactor.MintRequest {
	request := reactor.MintRequest{APIKey: key, Lifetime: spec.EffectiveLifetime()}
	if spec.Scope == nil {
		return request
	}
	request.Scope = &reactor.Scope{
		MaxSessions:        spec.Scope.MaxSessions,
		MaxSessionDuration: spec.Scope.MaxSessionDuration.Std(),
	}
	for _, model := range spec.Scope.Models {
		request.Scope.Models = append(request.Scope.Models, string(model))
	}
	return request
}

// hashedRequest is what the request hash is taken over. A field that is added must be omitted while it is not used, or
// an upgrade of the operator would mint every token again: the golden hashes in the tests check that.
type hashedRequest struct {
	LifetimeSeconds int64        `json:"lifetimeSeconds"`
	Scope           *hashedScope `json:"scope,omitempty"`
}

type hashedScope struct {
	Models                    []string `json:"models"`
	MaxSessions               int32    `json:"maxSessions,omitempty"`
	MaxSessionDurationSeconds int64    `json:"maxSessionDurationSeconds,omitempty"`
}

// requestHash identifies what is requested from Reactor. The order of the models has no meaning for Reactor, so it does not change the hash.
func requestHash(spec *v1alpha1.ReactorTokenSpec) string {
	request := mintRequestOf(spec, "")
	hashed := hashedRequest{LifetimeSeconds: int64(request.Lifetime / time.Second)}
	if scope := request.Scope; scope != nil {
		hashed.Scope = &hashedScope{
			Models:                    slices.Sorted(slices.Values(scope.Models)),
			MaxSessions:               scope.MaxSessions,
			MaxSessionDurationSeconds: int64(scope.MaxSessionDuration / time.Second),
		}
	}
	text, err := json.Marshal(hashed)
	if err != nil {
		panic("strings and integers always marshal: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// maxRenewRequest is how long a value of the renew annotation may be, in bytes, to be echoed as it is.
const maxRenewRequest = 256

// renewRequestOf is the value of the renew annotation; of a very long one, a hash.
func renewRequestOf(token *v1alpha1.ReactorToken) string {
	value := token.Annotations[v1alpha1.RenewRequestedAtAnnotation]
	if len(value) <= maxRenewRequest {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// identityOf identifies the request that a call to Reactor in this reconcile would make.
func identityOf(token *v1alpha1.ReactorToken, observed *observation) targetsecret.RequestIdentity {
	return targetsecret.RequestIdentity{RequestHash: requestHash(&token.Spec), KeyFingerprint: observed.key.Fingerprint, RenewRequest: renewRequestOf(token)}
}

// callRequest is the request for a call to Reactor.
func callRequest(token *v1alpha1.ReactorToken, observed *observation, why cause) mintqueue.Request {
	request := mintqueue.Request{
		Object: types.NamespacedName{Namespace: token.Namespace, Name: token.Name}, Fingerprint: observed.key.Fingerprint, Priority: priorityOf(token, why, observed),
	}
	if current := observed.target.Current(); current != nil {
		request.Expires = observed.clocks.now.Add(observed.clocks.leftForProbe(current)).Round(time.Second)
	}
	return request
}

// priorityOf orders the requests when more tokens are due than the rate allows.
func priorityOf(token *v1alpha1.ReactorToken, why cause, observed *observation) mintqueue.Priority {
	if refusedBefore(token, observed) {
		return mintqueue.PriorityRefused
	}
	switch why {
	case causeNew:
		return mintqueue.PriorityNew
	case causeKeyChanged, causeRequestChanged, causeRequested:
		return mintqueue.PriorityChanged
	case causeDue:
		if untilExpiring(observed.clocks, observed.target.Record) > 0 {
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

// lastFailureCounts reports whether the attempt that failed last is the same that would be made now. A changed key, a
// changed request, another API URL or a new request to renew ends every wait: a user who fixed something must not wait for
// the end of an old backoff.
func lastFailureCounts(token *v1alpha1.ReactorToken, observed *observation) bool {
	failed := observed.status.LastFailure
	if failed == nil || failed.APIURL != observed.apiURL {
		return false
	}
	attempted := targetsecret.RequestIdentity{RequestHash: failed.RequestHash, KeyFingerprint: failed.KeyFingerprint, RenewRequest: failed.RenewRequest}
	return attempted == identityOf(token, observed)
}

// failuresWith is how many attempts in a row have failed, together with the one that has just failed. What failed with another
// key or for another request is not counted.
func failuresWith(token *v1alpha1.ReactorToken, observed *observation) int32 {
	if !lastFailureCounts(token, observed) {
		return 1
	}
	return observed.status.ConsecutiveFailures + 1
}

// refusedBefore reports whether Reactor refused this request, with this key, the last time.
func refusedBefore(token *v1alpha1.ReactorToken, observed *observation) bool {
	return lastFailureCounts(token, observed) && observed.status.LastFailure.Reason == v1alpha1.ReasonRequestRefused
}

// isOfKey reports whether a reason concerns the API key, and so all objects that use it. The gate of the key decides when they
// continue.
func isOfKey(reason string) bool {
	return reason == v1alpha1.ReasonAPIKeyRefused || reason == v1alpha1.ReasonRateLimited
}
