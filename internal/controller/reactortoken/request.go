package reactortoken

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// mintRequestOf is what the spec asks of Reactor.
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
// an upgrade of the operator would mint every token anew: the golden hashes in the tests hold that.
type hashedRequest struct {
	LifetimeSeconds int64        `json:"lifetimeSeconds"`
	Scope           *hashedScope `json:"scope,omitempty"`
}

type hashedScope struct {
	Models                    []string `json:"models"`
	MaxSessions               int32    `json:"maxSessions,omitempty"`
	MaxSessionDurationSeconds int64    `json:"maxSessionDurationSeconds,omitempty"`
}

// requestHash identifies what is asked of Reactor. The order of the models means nothing to Reactor, and so it does not
// count here either.
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

// longestRenewRequest is how long a value of the renew annotation may be, in bytes, to be echoed as it is.
const longestRenewRequest = 256

// renewRequestOf is the value of the renew annotation; of a very long one, a hash.
func renewRequestOf(token *v1alpha1.ReactorToken) string {
	value := token.Annotations[v1alpha1.RenewRequestedAtAnnotation]
	if len(value) <= longestRenewRequest {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// demandOf identifies the request that a call to Reactor in this reconcile would make.
func demandOf(token *v1alpha1.ReactorToken, seen *observation) targetsecret.RequestIdentity {
	return targetsecret.RequestIdentity{RequestHash: requestHash(&token.Spec), KeyFingerprint: seen.key.Fingerprint, RenewRequest: renewRequestOf(token)}
}
