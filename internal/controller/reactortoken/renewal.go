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
	// jitterShare of the granted lifetime is the span over which the renewals of a burst of objects are spread.
	jitterShare = 10
	// At least minTimeToRenewalShare of the granted lifetime, and minTimeToRenewal, elapse before a token is renewed, whatever renewBefore is. Otherwise
	// an extreme renewBefore would cause a loop of requests.
	minTimeToRenewalShare = 4
	minTimeToRenewal      = 5 * time.Second
	// clampTolerance is how much shorter than requested a granted lifetime may be without being reported as clamped: whole seconds on
	// either side, and a server that counts from when the request arrived.
	clampTolerance = 5 * time.Second
)

// grant compares the requested lifetime with the granted one.
type grant struct {
	requested, granted time.Duration
	clamped            bool
	renewBefore        time.Duration // in effect
	renewBeforeIgnored bool          // the spec's renewBefore does not fit into the granted lifetime
}

// grantOf compares the lifetime that the spec requests with the one that Reactor granted. Only the granted one counts after that.
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
// The jitter comes from the object's UID: it needs no storage and is easy to explain. It also gives every token
// a period of its own, so that the renewals of a burst of objects drift apart cycle by cycle.
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

// spread maps a UID evenly onto [0, span), even when UIDs differ only in a number at their end.
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
	// writeBackoffCap bounds the wait after the API server refused a write: a repeated write is cheap, and no watch
	// reports when a quota or a policy changes.
	writeBackoffCap = time.Minute
	// backoffFloor keeps a token close to its expiry from being tried in a hot loop.
	backoffFloor = time.Second
)

// maxMintBackoff is the maximum wait between two attempts to obtain a token with this lifetime.
func maxMintBackoff(lifetime time.Duration) time.Duration {
	return min(max(lifetime/mintBackoffShare, mintBackoffBase), mintBackoffCap)
}

// backoff is how long to wait after the given number of consecutive failures (at least 1). It doubles, bounded by cap;
// up to a fifth less by the object's UID, so that objects that failed at the same time are not retried at the same time; and, while a
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
	// A request that Reactor refused is retried after refusalRetryInterval. After slowRefusalRetryAfter it is retried after
	// slowRefusalRetryInterval: the cause may be outside of the cluster, such as a rollout at Reactor, and nothing
	// reports when that is over.
	refusalRetryInterval     = 15 * time.Minute
	slowRefusalRetryAfter    = 6 * time.Hour
	slowRefusalRetryInterval = time.Hour
	// lastRetryWait is how long to wait at least when the token is about to expire.
	lastRetryWait = 30 * time.Second
)
