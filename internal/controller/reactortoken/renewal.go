package reactortoken

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

const (
	// defaultRenewBeforeShare of the granted lifetime is left when a token is renewed: the last third, as cert-manager
	// does for certificates.
	defaultRenewBeforeShare = 3
	// jitterShare of the granted lifetime is the span over which the renewals of a crowd are spread.
	jitterShare = 10
	// leastWorkShare of the granted lifetime, and at least leastWork, passes before a token is renewed, whatever
	// renewBefore says: it keeps an extreme renewBefore from becoming a loop of requests.
	minTimeToRenewalShare = 4
	minTimeToRenewal      = 5 * time.Second
	// clampTolerance is how much shorter than the wish a grant may be without being called clamped: whole seconds on
	// either side, and a server that counts from when the request arrived.
	clampTolerance = 5 * time.Second
)

// grant is what became of the wish for a lifetime.
type grant struct {
	requested, granted time.Duration
	clamped            bool
	renewBefore        time.Duration // in effect
	renewBeforeIgnored bool          // the spec's renewBefore does not fit into the granted lifetime
}

// grantOf compares the wish in the spec with the token that Reactor granted. Only the grant counts from here on.
func grantOf(spec *v1alpha1.ReactorTokenSpec, written *targetsecret.Record) grant {
	result := grant{requested: spec.EffectiveLifetime(), granted: written.Granted()}
	result.clamped = result.granted+clampTolerance < result.requested
	result.renewBefore = spec.RenewBefore.Std()
	if result.renewBefore >= result.granted {
		result.renewBeforeIgnored = true
		result.renewBefore = 0
	}
	if result.renewBefore == 0 {
		result.renewBefore = result.granted / defaultRenewBeforeShare
	}
	return result
}

// renewalTime is when the next token is due, by Reactor's clock, in whole seconds: status stores seconds, and a decision
// on finer grains would disagree with it.
//
// The jitter comes from the object's UID: it needs no storage, a person can explain it, and since it gives every token a
// period of its own, a crowd that was created in one burst drifts apart cycle by cycle.
func renewalTime(spec *v1alpha1.ReactorTokenSpec, uid types.UID, written *targetsecret.Record) time.Time {
	terms := grantOf(spec, written)
	jitter := spread(uid, terms.granted/jitterShare)
	due := written.ExpiresAt.Add(-terms.renewBefore - jitter)
	earliest := written.IssuedAt.Add(max(terms.granted/minTimeToRenewalShare, minTimeToRenewal))
	if due.Before(earliest) {
		due = earliest
	}
	return due.Truncate(time.Second)
}

// spread maps a UID evenly onto [0, span), also when UIDs differ in little more than a number at their end.
func spread(uid types.UID, span time.Duration) time.Duration {
	hash := sha256.Sum256([]byte(uid))
	share := float64(binary.BigEndian.Uint64(hash[:8])) / math.MaxUint64
	return time.Duration(float64(span) * share).Truncate(time.Second)
}

const (
	// mintBackoffBase and mintBackoffCap bound the wait after failed attempts to obtain a token.
	mintBackoffBase = 5 * time.Second
	mintBackoffCap  = 5 * time.Minute
	// mintBackoffShare of the wanted lifetime bounds it too: a wait of five minutes would be absurd for a token that lives one,
	// and the many attempts just before its expiry must not count against those after it.
	mintBackoffShare = 10
	// writeBackoffCap bounds the wait after the API server refused a write: asking it again is cheap, and nothing tells us
	// when a quota or a policy has changed.
	writeBackoffCap = time.Minute
	// backoffFloor keeps a token close to its expiry from being tried in a hot loop.
	backoffFloor = time.Second
)

// longestMintBackoff is the longest wait between two attempts to obtain a token that is to live so long.
func maxMintBackoff(lifetime time.Duration) time.Duration {
	return min(max(lifetime/mintBackoffShare, mintBackoffBase), mintBackoffCap)
}

// backoff is how long to wait after the given number of consecutive failures (at least 1). It doubles, bounded by cap;
// up to a fifth less by the object's UID, so that a crowd that failed together does not return together; and, while a
// token is still valid, at most a quarter of what is left, so that it never expires untried.
func backoff(failures int32, limit time.Duration, uid types.UID, left time.Duration) time.Duration {
	doublings := min(max(failures-1, 0), 16)
	wait := min(mintBackoffBase<<doublings, limit)
	wait = lessByUID(wait, uid)
	if left > 0 {
		wait = min(wait, left/4)
	}
	return max(wait, backoffFloor).Round(time.Second)
}

// lessByUID makes a wait up to a fifth shorter, by the object's UID, so that objects that failed at the same time do not
// return at the same time.
func lessByUID(wait time.Duration, uid types.UID) time.Duration {
	return wait - time.Duration(float64(wait)/5*float64(spread(uid, time.Hour))/float64(time.Hour))
}

const (
	// A request that Reactor refused is retried after refusalRetryInterval. After refusalPatience it is retried after
	// slowRefusalRetryInterval: the cause may be outside of the cluster, such as a rollout at Reactor, and nothing tells the
	// operator when that is over.
	refusalRetryInterval     = 15 * time.Minute
	slowRefusalRetryAfter    = 6 * time.Hour
	slowRefusalRetryInterval = time.Hour
	// lastRetryWait is how long to wait at least when the token is about to expire.
	lastRetryWait = 30 * time.Second
)
