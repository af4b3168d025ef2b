package reactortoken

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/apikey"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/targetsecret"
)

// noon is the time of the tests of what is pure.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const goodKey = "0123456789abcdef" // a key's fingerprint

// aToken is a ReactorToken as the API server has it.
func aToken(changes ...func(*v1alpha1.ReactorToken)) *v1alpha1.ReactorToken {
	token := newToken("web", changes...)
	token.UID, token.Generation, token.CreationTimestamp = "5b6a4f6e-0000-4000-8000-000000000001", 1, metav1.NewTime(noon.Add(-time.Hour))
	return token
}

// aRecord is of a token that was issued an hour before noon, for the six hours that aToken asks for.
func aRecord(changes ...func(*targetsecret.Record)) *targetsecret.Record {
	written := &targetsecret.Record{
		TokenID: "token-1", IssuedAt: noon.Add(-time.Hour), ExpiresAt: noon.Add(5 * time.Hour),
		KeyFingerprint: goodKey, RequestHash: requestHash(&aToken().Spec),
	}
	for _, change := range changes {
		change(written)
	}
	written.Checksum = targetsecret.Checksum(aJWT, written)
	return written
}

const aJWT reactor.Secret = "eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjF9.c2lnbmF0dXJl"

// seeing is what a pass sees at noon when all is well, and then changed.
func observing(changes ...func(*observation)) *observation {
	observed := &observation{
		clocks: clocks{now: noon},
		status: v1alpha1.ReactorTokenStatus{IssuedTime: new(metav1.NewTime(noon.Add(-time.Hour))), ObservedGeneration: 1},
		target: targetsecret.State{Exists: true, UID: "secret-uid", ResourceVersion: "7", Ownership: targetsecret.Ours, Writer: "web", Record: aRecord()},
		key:    apikey.Key{Fingerprint: goodKey},
	}
	for _, change := range changes {
		change(observed)
	}
	return observed
}

// situation is what stands in the way, or what is wanted, and how it comes about.
type situation struct {
	name     string
	token    func(*v1alpha1.ReactorToken)
	observed func(*observation)
}

func (s situation) happen(token *v1alpha1.ReactorToken, observed *observation) {
	if s.token != nil {
		s.token(token)
	}
	if s.observed != nil {
		s.observed(observed)
	}
}

// failing is a last attempt that was just what would be attempted now.
func failing(reason string, until time.Time) func(*observation) {
	return func(observed *observation) {
		observed.status.LastFailure = &v1alpha1.FailedAttempt{
			Reason: reason, Message: "it failed", RequestHash: requestHash(&aToken().Spec), KeyFingerprint: observed.key.Fingerprint,
		}
		if !until.IsZero() {
			observed.status.NextAttemptTime = new(metav1.NewTime(until))
		}
	}
}

// paid is an attempt with a key that the mint budget has paid for, and that failed.
func paid(fingerprint string) func(*observation) {
	return func(observed *observation) {
		observed.paidFor = targetsecret.RequestIdentity{RequestHash: requestHash(&aToken().Spec), KeyFingerprint: fingerprint}
	}
}

// theObstacles are all that can stand before a mint, in the order in which they are told.
var theObstacles = []situation{
	{name: "Pending/later", observed: func(o *observation) { o.isDeleted = true }},
	{name: "SecretClaimed/user", observed: func(o *observation) { o.claimedBy = "older" }},
	{name: "SecretTerminating/later", observed: func(o *observation) { o.target.Terminating = true }},
	{name: "SecretNotOwned/user", observed: func(o *observation) { o.target.Ownership = targetsecret.Foreign }},
	{name: "SecretUnusable/user", observed: func(o *observation) { o.target.Unusable = "it is immutable" }},
	{name: "Suspended/later", token: func(token *v1alpha1.ReactorToken) { token.Spec.Suspend = new(true) }},
	{name: "APIKeyNotFound/user", observed: func(o *observation) {
		o.key = apikey.Key{Problem: &apikey.Problem{Reason: v1alpha1.ReasonAPIKeyNotFound, Message: "there is none"}}
	}},
	{name: "RequestRefused/user", observed: func(o *observation) { failing(v1alpha1.ReasonRequestRefused, noon.Add(time.Minute))(o) }},
	{name: "ReactorUnavailable/again", observed: func(o *observation) {
		if o.status.LastFailure == nil {
			failing(v1alpha1.ReasonReactorUnavailable, time.Time{})(o)
		}
		o.status.NextAttemptTime = new(metav1.NewTime(noon.Add(time.Minute)))
	}},
	{name: "MintBudgetSpent/later", observed: func(o *observation) { o.budgetUntil = noon.Add(time.Minute) }},
}

// obstacleName is an obstacle as theObstacles names it.
func obstacleName(found *obstacle) string {
	if found == nil {
		return ""
	}
	return found.reason + map[failureKind]string{userMustAct: "/user", retryAtTime: "/later", retryWithBackoff: "/again"}[found.kind]
}

func TestOfTwoObstaclesTheEarlierIsReported(t *testing.T) {
	for i, earlier := range theObstacles {
		for _, later := range append([]situation{{name: "nothing else"}}, theObstacles[i+1:]...) {
			t.Run(earlier.name+" before "+later.name, func(t *testing.T) {
				token, observed := aToken(), observing(func(o *observation) { o.target.Edited = true })
				earlier.happen(token, observed)
				later.happen(token, observed)
				got := decide(token, observed)
				if diff := cmp.Diff(earlier.name, obstacleName(got.obstacle)); diff != "" {
					t.Errorf("obstacle (-want +got):\n%s", diff)
				}
				if got.write != writeNothing {
					t.Errorf("something is written: %d", got.write)
				}
			})
		}
	}
}

// theCauses are why a new token is wanted while there is one, in the order in which they are told.
var theCauses = []situation{
	{name: string(causeEdited), observed: func(o *observation) { o.target.Edited = true }},
	{name: string(causeExpired), observed: func(o *observation) { o.target.Record.ExpiresAt = noon }},
	{name: string(causeKeyChanged), observed: func(o *observation) { o.key.Fingerprint = "another" }},
	{name: string(causeRequestChanged), token: lifetime("5h")},
	{name: string(causeRequested), token: annotate(v1alpha1.RenewRequestedAtAnnotation, "now")},
	{name: string(causeDue), observed: func(o *observation) { o.clocks.now = noon.Add(4 * time.Hour) }},
}

func TestOfTwoCausesTheEarlierIsReported(t *testing.T) {
	for i, earlier := range theCauses {
		for _, later := range append([]situation{{name: "nothing else"}}, theCauses[i+1:]...) {
			t.Run(earlier.name+" before "+later.name, func(t *testing.T) {
				token, observed := aToken(), observing()
				earlier.happen(token, observed)
				later.happen(token, observed)
				if diff := cmp.Diff(fmt.Sprint(writeMint, " ", earlier.name), describe(decide(token, observed))); diff != "" {
					t.Errorf("plan (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// describe writes a plan down: what it writes, why, and what stands in the way.
func describe(p plan) string {
	repair := ""
	if p.repair {
		repair = "repair"
	}
	return strings.Join(strings.Fields(fmt.Sprint(p.write, " ", repair, " ", p.cause, " ", obstacleName(p.obstacle))), " ")
}

func TestDecide(t *testing.T) {
	drifted := func(o *observation) { o.target.Drifted = true }
	absent := func(o *observation) { o.target = targetsecret.State{} }
	withPendingToken := func(o *observation) { o.pending = aPendingToken() }
	suspend := func(token *v1alpha1.ReactorToken) { token.Spec.Suspend = new(true) }
	noKey := theObstacles[6].observed
	due := func(token *v1alpha1.ReactorToken) { token.Spec.RenewBefore = "5h" }
	leaving := func(left time.Duration) func(*observation) {
		return func(o *observation) {
			o.target.Record = aRecord(func(r *targetsecret.Record) { r.ExpiresAt = noon.Add(left) })
		}
	}
	tests := []struct {
		name     string
		token    func(*v1alpha1.ReactorToken)
		observed []func(*observation)
		write    write
		want     string // the cause, and the obstacle
	}{
		{name: "a valid token that is not due needs nothing", write: writeNothing},
		{name: "a Secret that drifted is repaired", observed: []func(*observation){drifted}, write: writeNothing, want: "repair"},
		{name: "a Secret that drifted is repaired while suspended", token: suspend, observed: []func(*observation){drifted},
			write: writeNothing, want: "repair Suspended/later"},
		{name: "a Secret that drifted is repaired without an API key", observed: []func(*observation){drifted, noKey},
			write: writeNothing, want: "repair APIKeyNotFound/user"},
		{name: "a Secret that drifted is repaired when the mint that is due is held back", token: lifetime("1h"),
			observed: []func(*observation){drifted, noKey}, write: writeNothing, want: "repair spec changed APIKeyNotFound/user"},
		{name: "a mint takes the place of a repair, if it comes about", token: lifetime("1h"), observed: []func(*observation){drifted}, write: writeMint, want: "repair spec changed"},
		{name: "a repair that was refused waits", observed: []func(*observation){drifted, failing(v1alpha1.ReasonSecretWriteRefused, noon.Add(time.Second))},
			write: writeNothing, want: "SecretWriteRefused/again"},
		{name: "a repair that was refused is tried again at its instant", observed: []func(*observation){drifted, failing(v1alpha1.ReasonSecretWriteRefused, noon)},
			write: writeNothing, want: "repair"},
		{name: "a repair whose budget is spent waits", observed: []func(*observation){drifted, func(o *observation) { o.repairUntil = noon.Add(time.Second) }},
			write: writeNothing, want: "SecretContested/later"},
		{name: "a spent repair budget holds no mint", token: lifetime("1h"), observed: []func(*observation){drifted, func(o *observation) { o.repairUntil = noon.Add(time.Second) }},
			write: writeMint, want: "spec changed"},
		{name: "of a contested Secret and a suspended object the suspension is told", token: suspend,
			observed: []func(*observation){drifted, func(o *observation) { o.repairUntil = noon.Add(time.Second) }}, want: "Suspended/later"},

		{name: "a valid token of a suspended object stays", token: suspend, want: "Suspended/later"},
		{name: "a missing key is told before it hurts", observed: []func(*observation){noKey}, want: "APIKeyNotFound/user"},
		{name: "a missing key is not taken for a changed one", observed: []func(*observation){noKey}, want: "APIKeyNotFound/user"},

		{name: "a new object gets a token", observed: []func(*observation){absent, func(o *observation) { o.status = v1alpha1.ReactorTokenStatus{} }},
			write: writeMint, want: "first token"},
		{name: "a Secret that was adopted a moment ago gets its first token", observed: []func(*observation){func(o *observation) {
			o.status, o.target.Ownership, o.target.Record = v1alpha1.ReactorTokenStatus{}, targetsecret.Consenting, nil
		}}, write: writeMint, want: "first token"},
		{name: "a deleted Secret gets a token", observed: []func(*observation){absent}, write: writeMint, want: "Secret deleted"},
		{name: "a deleted Secret of an object that lost its token before is still a deleted one",
			observed: []func(*observation){absent, func(o *observation) { o.status = v1alpha1.ReactorTokenStatus{DeliveredTokenID: "token-1"} }},
			write:    writeMint, want: "Secret deleted"},
		{name: "a garbled record counts as an edit", observed: []func(*observation){func(o *observation) { o.target.Record = nil }}, write: writeMint, want: "Secret edited"},
		{name: "a request to renew that was answered is done with", token: annotate(v1alpha1.RenewRequestedAtAnnotation, "now"),
			observed: []func(*observation){func(o *observation) {
				o.target.Record = aRecord(func(r *targetsecret.Record) { r.RenewRequest = "now" })
			}}},
		{name: "an annotation that was taken away asks for nothing",
			observed: []func(*observation){func(o *observation) {
				o.target.Record = aRecord(func(r *targetsecret.Record) { r.RenewRequest = "then" })
			}}},
		{name: "a Secret of a deleted namesake is on its way out", observed: []func(*observation){func(o *observation) { o.target.Ownership = targetsecret.Stale }},
			want: "SecretTerminating/later"},

		{name: "a held token is written, whatever stands before a mint", observed: []func(*observation){absent, withPendingToken, theObstacles[7].observed, theObstacles[9].observed},
			write: writePending, want: "Secret deleted"},
		{name: "a held token is written without the key", observed: []func(*observation){absent, withPendingToken, noKey}, write: writePending, want: "Secret deleted"},
		{name: "a held token is not written while suspended", token: suspend, observed: []func(*observation){absent, withPendingToken}, want: "Secret deleted Suspended/later"},
		{name: "a held token waits for its next attempt", observed: []func(*observation){absent, withPendingToken, failing(v1alpha1.ReasonSecretWriteRefused, noon.Add(time.Second))},
			want: "Secret deleted SecretWriteRefused/again"},
		{name: "a held token is not written over a valid one that is not due", observed: []func(*observation){withPendingToken}, write: writeNothing},
		{name: "a held token for another request is not written", token: lifetime("1h"), observed: []func(*observation){absent, withPendingToken}, write: writeMint, want: "Secret deleted"},
		{name: "a held token of another key is not written", observed: []func(*observation){absent, withPendingToken, func(o *observation) { o.key.Fingerprint = "another" }},
			write: writeMint, want: "Secret deleted"},
		{name: "a held token from before a request to renew is not written", token: annotate(v1alpha1.RenewRequestedAtAnnotation, "now"),
			observed: []func(*observation){absent, withPendingToken}, write: writeMint, want: "Secret deleted"},
		{name: "a held token with ten seconds left is not written", observed: []func(*observation){absent, withPendingToken, func(o *observation) { o.clocks.now = noon.Add(6*time.Hour - minUsefulLifetime) }},
			write: writeMint, want: "Secret deleted"},
		{name: "a held token with eleven seconds left is written", observed: []func(*observation){absent, withPendingToken, func(o *observation) { o.clocks.now = noon.Add(6*time.Hour - minUsefulLifetime - time.Second) }},
			write: writePending, want: "Secret deleted"},

		{name: "a spent budget does not hold a renewal", observed: []func(*observation){theObstacles[9].observed, func(o *observation) { o.clocks.now = noon.Add(4 * time.Hour) }}, write: writeMint, want: "renewal due"},
		{name: "a spent budget does not hold the successor of an expired token", observed: []func(*observation){theObstacles[9].observed, func(o *observation) { o.target.Record.ExpiresAt = noon }},
			write: writeMint, want: "token expired"},
		{name: "a spent budget holds a first token", observed: []func(*observation){absent, theObstacles[9].observed, func(o *observation) { o.status = v1alpha1.ReactorTokenStatus{} }},
			want: "first token MintBudgetSpent/later"},
		{name: "a spent budget does not hold what it has paid for and failed", observed: []func(*observation){absent, theObstacles[9].observed, paid(goodKey)},
			write: writeMint, want: "Secret deleted"},
		{name: "what it has paid for with another key is not that", observed: []func(*observation){absent, theObstacles[9].observed, paid("another")},
			want: "Secret deleted MintBudgetSpent/later"},
		{name: "nor is what has but waited for its key", observed: []func(*observation){absent, theObstacles[9].observed, failing(v1alpha1.ReasonRateLimited, noon)},
			want: "Secret deleted MintBudgetSpent/later"},

		{name: "an instant that a fast clock has set does not count", observed: []func(*observation){absent, failing(v1alpha1.ReasonReactorUnavailable, noon.Add(mintBackoffCap+2*time.Second))},
			write: writeMint, want: "Secret deleted"},
		{name: "the longest backoff counts", observed: []func(*observation){absent, failing(v1alpha1.ReasonReactorUnavailable, noon.Add(mintBackoffCap+time.Second))},
			want: "Secret deleted ReactorUnavailable/again"},
		{name: "an instant further away than half of what the token has left does not count", token: due,
			observed: []func(*observation){leaving(time.Minute), failing(v1alpha1.ReasonReactorUnavailable, noon.Add(32*time.Second))},
			write:    writeMint, want: "renewal due"},
		{name: "half of what the token has left counts", token: due,
			observed: []func(*observation){leaving(time.Minute), failing(v1alpha1.ReasonReactorUnavailable, noon.Add(31*time.Second))},
			want:     "renewal due ReactorUnavailable/again"},
		{name: "a refused write waits a minute at most", observed: []func(*observation){absent, withPendingToken, failing(v1alpha1.ReasonSecretWriteRefused, noon.Add(writeBackoffCap+2*time.Second))},
			write: writePending, want: "Secret deleted"},
		{name: "a backoff ends at its instant", observed: []func(*observation){absent, failing(v1alpha1.ReasonReactorUnavailable, noon)}, write: writeMint, want: "Secret deleted"},
		{name: "a changed key ends a backoff", observed: []func(*observation){failing(v1alpha1.ReasonReactorUnavailable, noon.Add(time.Hour)), func(o *observation) { o.key.Fingerprint = "another" }},
			write: writeMint, want: "API key changed"},
		{name: "a changed request ends a backoff", token: lifetime("1h"), observed: []func(*observation){failing(v1alpha1.ReasonReactorUnavailable, noon.Add(time.Hour))},
			write: writeMint, want: "spec changed"},
		{name: "a request to renew ends a backoff", token: annotate(v1alpha1.RenewRequestedAtAnnotation, "now"),
			observed: []func(*observation){failing(v1alpha1.ReasonReactorUnavailable, noon.Add(time.Hour))}, write: writeMint, want: "renewal requested"},
		{name: "a changed key frees what is parked", observed: []func(*observation){failing(v1alpha1.ReasonRequestRefused, noon.Add(time.Minute)), func(o *observation) { o.key.Fingerprint = "another" }},
			write: writeMint, want: "API key changed"},
		{name: "the wait for a refused key is the gate's", observed: []func(*observation){absent, failing(v1alpha1.ReasonAPIKeyRefused, noon.Add(time.Hour))},
			write: writeMint, want: "Secret deleted"},
		{name: "the wait for a limited key is the gate's", observed: []func(*observation){absent, failing(v1alpha1.ReasonRateLimited, noon.Add(time.Hour))},
			write: writeMint, want: "Secret deleted"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			token := aToken()
			if test.token != nil {
				test.token(token)
			}
			want := strings.TrimSpace(fmt.Sprint(test.write, " ", test.want))
			got := describe(decide(token, observing(test.observed...)))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// aPendingToken was minted at noon for aToken, and lives for six hours.
func aPendingToken() *pendingToken {
	return &pendingToken{
		token:    reactor.Token{JWT: aJWT, IssuedAt: noon, ExpiresAt: noon.Add(6 * time.Hour), ReceivedAt: noon},
		tokenID:  "token-2",
		identity: targetsecret.RequestIdentity{RequestHash: requestHash(&aToken().Spec), KeyFingerprint: goodKey},
	}
}

// What is told says what to do: these are the sentences that people read in kubectl describe.
func TestObstaclesSayWhatToDo(t *testing.T) {
	for i, want := range []string{
		`this ReactorToken is being deleted`,
		`Secret "web" is written by the older ReactorToken "older". Set a different spec.secret.name`,
		`Secret "web" is being deleted. The operator creates it again as soon as it is deleted`,
		`Secret "web" exists and was not created by this operator. Set a different spec.secret.name, delete the Secret, or allow the operator to write to it with ` +
			`kubectl annotate secret web reactor.inc/allow-adoption-by=web`,
		`Secret "web" cannot be written: it is immutable. Delete it, or set a different spec.secret.name`,
		`spec.suspend is true. The operator requests no token until it is false`,
		`there is none`,
		`it failed`,
		`it failed`,
		`10 tokens were requested in a short time because the Secret, the API key or the spec keeps changing. Find the client that changes it. The operator requests one more token every 3m`,
	} {
		t.Run(theObstacles[i].name, func(t *testing.T) {
			token, observed := aToken(), observing(func(o *observation) { o.target.Edited = true })
			theObstacles[i].happen(token, observed)
			if diff := cmp.Diff(want, decide(token, observed).obstacle.message); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUrgencyOfACause(t *testing.T) {
	leaving := func(left time.Duration) func(*observation) {
		return func(o *observation) { o.target.Record.ExpiresAt = noon.Add(left) }
	}
	tests := []struct {
		name     string
		why      cause
		observed *observation
		want     mintqueue.Priority
	}{
		{"a first token", causeNew, observing(), mintqueue.PriorityNew},
		{"a changed key", causeKeyChanged, observing(), mintqueue.PriorityChanged},
		{"a changed request", causeRequestChanged, observing(), mintqueue.PriorityChanged},
		{"a request to renew", causeRequested, observing(), mintqueue.PriorityChanged},
		{"a deleted Secret", causeDeleted, observing(), mintqueue.PriorityExpiring},
		{"an edited token", causeEdited, observing(), mintqueue.PriorityExpiring},
		{"an expired token", causeExpired, observing(), mintqueue.PriorityExpiring},
		{"a renewal with a third of its life in hand", causeDue, observing(leaving(30 * time.Minute)), mintqueue.PriorityRenewal},
		{"a renewal with more than a tenth in hand", causeDue, observing(leaving(7 * time.Minute)), mintqueue.PriorityRenewal},
		{"a renewal with less than a tenth in hand", causeDue, observing(leaving(6 * time.Minute)), mintqueue.PriorityExpiring},
		{"an expired token whose request Reactor refused", causeExpired, observing(failing(v1alpha1.ReasonRequestRefused, noon)), mintqueue.PriorityRefused},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := priorityOf(aToken(), test.why, test.observed); got != test.want {
				t.Errorf("priority %d, want %d", got, test.want)
			}
		})
	}
}

func recordOfPending(pendingMint *pendingToken) *targetsecret.Record {
	return targetsecret.NewRecord(pendingMint.token, pendingMint.tokenID, pendingMint.identity)
}
