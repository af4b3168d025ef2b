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
func seeing(changes ...func(*observation)) *observation {
	seen := &observation{
		clocks: clocks{now: noon},
		status: v1alpha1.ReactorTokenStatus{IssuedTime: new(metav1.NewTime(noon.Add(-time.Hour))), ObservedGeneration: 1},
		target: targetsecret.State{Exists: true, UID: "secret-uid", ResourceVersion: "7", Ownership: targetsecret.Ours, Writer: "web", Record: aRecord()},
		key:    apikey.Key{Fingerprint: goodKey},
	}
	for _, change := range changes {
		change(seen)
	}
	return seen
}

// situation is what stands in the way, or what is wanted, and how it comes about.
type situation struct {
	name  string
	token func(*v1alpha1.ReactorToken)
	seen  func(*observation)
}

func (s situation) happen(token *v1alpha1.ReactorToken, seen *observation) {
	if s.token != nil {
		s.token(token)
	}
	if s.seen != nil {
		s.seen(seen)
	}
}

// failing is a last attempt that was just what would be attempted now.
func failing(reason string, until time.Time) func(*observation) {
	return func(seen *observation) {
		seen.status.LastFailure = &v1alpha1.FailedAttempt{
			Reason: reason, Message: "it failed", RequestHash: requestHash(&aToken().Spec), KeyFingerprint: seen.key.Fingerprint,
		}
		if !until.IsZero() {
			seen.status.NextAttemptTime = new(metav1.NewTime(until))
		}
	}
}

// paid is an attempt with a key that the mint budget has paid for, and that failed.
func paid(fingerprint string) func(*observation) {
	return func(seen *observation) {
		seen.paidFor = targetsecret.RequestIdentity{RequestHash: requestHash(&aToken().Spec), KeyFingerprint: fingerprint}
	}
}

// theObstacles are all that can stand before a mint, in the order in which they are told.
var theObstacles = []situation{
	{name: "Pending/later", seen: func(o *observation) { o.isDeleted = true }},
	{name: "SecretClaimed/user", seen: func(o *observation) { o.claimedBy = "older" }},
	{name: "SecretTerminating/later", seen: func(o *observation) { o.target.Terminating = true }},
	{name: "SecretNotOwned/user", seen: func(o *observation) { o.target.Ownership = targetsecret.Foreign }},
	{name: "SecretUnusable/user", seen: func(o *observation) { o.target.Unusable = "it is immutable" }},
	{name: "Suspended/later", token: func(token *v1alpha1.ReactorToken) { token.Spec.Suspend = new(true) }},
	{name: "APIKeyNotFound/user", seen: func(o *observation) {
		o.key = apikey.Key{Problem: &apikey.Problem{Reason: v1alpha1.ReasonAPIKeyNotFound, Message: "there is none"}}
	}},
	{name: "RequestRefused/user", seen: func(o *observation) { failing(v1alpha1.ReasonRequestRefused, noon.Add(time.Minute))(o) }},
	{name: "ReactorUnavailable/again", seen: func(o *observation) {
		if o.status.LastFailure == nil {
			failing(v1alpha1.ReasonReactorUnavailable, time.Time{})(o)
		}
		o.status.NextAttemptTime = new(metav1.NewTime(noon.Add(time.Minute)))
	}},
	{name: "MintBudgetSpent/later", seen: func(o *observation) { o.budgetUntil = noon.Add(time.Minute) }},
}

// obstacleName is an obstacle as theObstacles names it.
func obstacleName(found *obstacle) string {
	if found == nil {
		return ""
	}
	return found.reason + map[failureKind]string{userMustAct: "/user", retryAtTime: "/later", retryWithBackoff: "/again"}[found.kind]
}

func TestOfTwoObstaclesTheEarlierIsTold(t *testing.T) {
	for i, earlier := range theObstacles {
		for _, later := range append([]situation{{name: "nothing else"}}, theObstacles[i+1:]...) {
			t.Run(earlier.name+" before "+later.name, func(t *testing.T) {
				token, seen := aToken(), seeing(func(o *observation) { o.target.Edited = true })
				earlier.happen(token, seen)
				later.happen(token, seen)
				got := decide(token, seen)
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
	{name: string(causeEdited), seen: func(o *observation) { o.target.Edited = true }},
	{name: string(causeExpired), seen: func(o *observation) { o.target.Record.ExpiresAt = noon }},
	{name: string(causeKeyChanged), seen: func(o *observation) { o.key.Fingerprint = "another" }},
	{name: string(causeRequestChanged), token: lifetime("5h")},
	{name: string(causeRequested), token: annotate(v1alpha1.RenewRequestedAtAnnotation, "now")},
	{name: string(causeDue), seen: func(o *observation) { o.clocks.now = noon.Add(4 * time.Hour) }},
}

func TestOfTwoCausesTheEarlierIsTold(t *testing.T) {
	for i, earlier := range theCauses {
		for _, later := range append([]situation{{name: "nothing else"}}, theCauses[i+1:]...) {
			t.Run(earlier.name+" before "+later.name, func(t *testing.T) {
				token, seen := aToken(), seeing()
				earlier.happen(token, seen)
				later.happen(token, seen)
				if diff := cmp.Diff(fmt.Sprint(writeMint, " ", earlier.name), describe(decide(token, seen))); diff != "" {
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
	heldToken := func(o *observation) { o.pending = aHeldToken() }
	suspend := func(token *v1alpha1.ReactorToken) { token.Spec.Suspend = new(true) }
	noKey := theObstacles[6].seen
	due := func(token *v1alpha1.ReactorToken) { token.Spec.RenewBefore = "5h" }
	leaving := func(left time.Duration) func(*observation) {
		return func(o *observation) {
			o.target.Record = aRecord(func(r *targetsecret.Record) { r.ExpiresAt = noon.Add(left) })
		}
	}
	tests := []struct {
		name  string
		token func(*v1alpha1.ReactorToken)
		seen  []func(*observation)
		write write
		want  string // the cause, and the obstacle
	}{
		{name: "a valid token that is not due needs nothing", write: writeNothing},
		{name: "a Secret that drifted is repaired", seen: []func(*observation){drifted}, write: writeNothing, want: "repair"},
		{name: "a Secret that drifted is repaired while suspended", token: suspend, seen: []func(*observation){drifted},
			write: writeNothing, want: "repair Suspended/later"},
		{name: "a Secret that drifted is repaired without an API key", seen: []func(*observation){drifted, noKey},
			write: writeNothing, want: "repair APIKeyNotFound/user"},
		{name: "a Secret that drifted is repaired when the mint that is due is held back", token: lifetime("1h"),
			seen: []func(*observation){drifted, noKey}, write: writeNothing, want: "repair spec changed APIKeyNotFound/user"},
		{name: "a mint takes the place of a repair, if it comes about", token: lifetime("1h"), seen: []func(*observation){drifted}, write: writeMint, want: "repair spec changed"},
		{name: "a repair that was refused waits", seen: []func(*observation){drifted, failing(v1alpha1.ReasonSecretWriteRefused, noon.Add(time.Second))},
			write: writeNothing, want: "SecretWriteRefused/again"},
		{name: "a repair that was refused is tried again at its instant", seen: []func(*observation){drifted, failing(v1alpha1.ReasonSecretWriteRefused, noon)},
			write: writeNothing, want: "repair"},
		{name: "a repair whose budget is spent waits", seen: []func(*observation){drifted, func(o *observation) { o.repairUntil = noon.Add(time.Second) }},
			write: writeNothing, want: "SecretContested/later"},
		{name: "a spent repair budget holds no mint", token: lifetime("1h"), seen: []func(*observation){drifted, func(o *observation) { o.repairUntil = noon.Add(time.Second) }},
			write: writeMint, want: "spec changed"},
		{name: "of a contested Secret and a suspended object the suspension is told", token: suspend,
			seen: []func(*observation){drifted, func(o *observation) { o.repairUntil = noon.Add(time.Second) }}, want: "Suspended/later"},

		{name: "a valid token of a suspended object stays", token: suspend, want: "Suspended/later"},
		{name: "a missing key is told before it hurts", seen: []func(*observation){noKey}, want: "APIKeyNotFound/user"},
		{name: "a missing key is not taken for a changed one", seen: []func(*observation){noKey}, want: "APIKeyNotFound/user"},

		{name: "a new object gets a token", seen: []func(*observation){absent, func(o *observation) { o.status = v1alpha1.ReactorTokenStatus{} }},
			write: writeMint, want: "first token"},
		{name: "a Secret that was adopted a moment ago gets its first token", seen: []func(*observation){func(o *observation) {
			o.status, o.target.Ownership, o.target.Record = v1alpha1.ReactorTokenStatus{}, targetsecret.Consenting, nil
		}}, write: writeMint, want: "first token"},
		{name: "a deleted Secret gets a token", seen: []func(*observation){absent}, write: writeMint, want: "Secret deleted"},
		{name: "a deleted Secret of an object that lost its token before is still a deleted one",
			seen:  []func(*observation){absent, func(o *observation) { o.status = v1alpha1.ReactorTokenStatus{DeliveredTokenID: "token-1"} }},
			write: writeMint, want: "Secret deleted"},
		{name: "a garbled record counts as an edit", seen: []func(*observation){func(o *observation) { o.target.Record = nil }}, write: writeMint, want: "Secret edited"},
		{name: "a request to renew that was answered is done with", token: annotate(v1alpha1.RenewRequestedAtAnnotation, "now"),
			seen: []func(*observation){func(o *observation) {
				o.target.Record = aRecord(func(r *targetsecret.Record) { r.RenewRequest = "now" })
			}}},
		{name: "an annotation that was taken away asks for nothing",
			seen: []func(*observation){func(o *observation) {
				o.target.Record = aRecord(func(r *targetsecret.Record) { r.RenewRequest = "then" })
			}}},
		{name: "a Secret of a deleted namesake is on its way out", seen: []func(*observation){func(o *observation) { o.target.Ownership = targetsecret.Stale }},
			want: "SecretTerminating/later"},

		{name: "a held token is written, whatever stands before a mint", seen: []func(*observation){absent, heldToken, theObstacles[7].seen, theObstacles[9].seen},
			write: writePending, want: "Secret deleted"},
		{name: "a held token is written without the key", seen: []func(*observation){absent, heldToken, noKey}, write: writePending, want: "Secret deleted"},
		{name: "a held token is not written while suspended", token: suspend, seen: []func(*observation){absent, heldToken}, want: "Secret deleted Suspended/later"},
		{name: "a held token waits for its next attempt", seen: []func(*observation){absent, heldToken, failing(v1alpha1.ReasonSecretWriteRefused, noon.Add(time.Second))},
			want: "Secret deleted SecretWriteRefused/again"},
		{name: "a held token is not written over a valid one that is not due", seen: []func(*observation){heldToken}, write: writeNothing},
		{name: "a held token for another request is not written", token: lifetime("1h"), seen: []func(*observation){absent, heldToken}, write: writeMint, want: "Secret deleted"},
		{name: "a held token of another key is not written", seen: []func(*observation){absent, heldToken, func(o *observation) { o.key.Fingerprint = "another" }},
			write: writeMint, want: "Secret deleted"},
		{name: "a held token from before a request to renew is not written", token: annotate(v1alpha1.RenewRequestedAtAnnotation, "now"),
			seen: []func(*observation){absent, heldToken}, write: writeMint, want: "Secret deleted"},
		{name: "a held token with ten seconds left is not written", seen: []func(*observation){absent, heldToken, func(o *observation) { o.clocks.now = noon.Add(6*time.Hour - minUsefulLifetime) }},
			write: writeMint, want: "Secret deleted"},
		{name: "a held token with eleven seconds left is written", seen: []func(*observation){absent, heldToken, func(o *observation) { o.clocks.now = noon.Add(6*time.Hour - minUsefulLifetime - time.Second) }},
			write: writePending, want: "Secret deleted"},

		{name: "a spent budget does not hold a renewal", seen: []func(*observation){theObstacles[9].seen, func(o *observation) { o.clocks.now = noon.Add(4 * time.Hour) }}, write: writeMint, want: "renewal due"},
		{name: "a spent budget does not hold the successor of an expired token", seen: []func(*observation){theObstacles[9].seen, func(o *observation) { o.target.Record.ExpiresAt = noon }},
			write: writeMint, want: "token expired"},
		{name: "a spent budget holds a first token", seen: []func(*observation){absent, theObstacles[9].seen, func(o *observation) { o.status = v1alpha1.ReactorTokenStatus{} }},
			want: "first token MintBudgetSpent/later"},
		{name: "a spent budget does not hold what it has paid for and failed", seen: []func(*observation){absent, theObstacles[9].seen, paid(goodKey)},
			write: writeMint, want: "Secret deleted"},
		{name: "what it has paid for with another key is not that", seen: []func(*observation){absent, theObstacles[9].seen, paid("another")},
			want: "Secret deleted MintBudgetSpent/later"},
		{name: "nor is what has but waited for its key", seen: []func(*observation){absent, theObstacles[9].seen, failing(v1alpha1.ReasonRateLimited, noon)},
			want: "Secret deleted MintBudgetSpent/later"},

		{name: "an instant that a fast clock has set does not count", seen: []func(*observation){absent, failing(v1alpha1.ReasonReactorUnavailable, noon.Add(mintBackoffCap+2*time.Second))},
			write: writeMint, want: "Secret deleted"},
		{name: "the longest backoff counts", seen: []func(*observation){absent, failing(v1alpha1.ReasonReactorUnavailable, noon.Add(mintBackoffCap+time.Second))},
			want: "Secret deleted ReactorUnavailable/again"},
		{name: "an instant further away than half of what the token has left does not count", token: due,
			seen:  []func(*observation){leaving(time.Minute), failing(v1alpha1.ReasonReactorUnavailable, noon.Add(32*time.Second))},
			write: writeMint, want: "renewal due"},
		{name: "half of what the token has left counts", token: due,
			seen: []func(*observation){leaving(time.Minute), failing(v1alpha1.ReasonReactorUnavailable, noon.Add(31*time.Second))},
			want: "renewal due ReactorUnavailable/again"},
		{name: "a refused write waits a minute at most", seen: []func(*observation){absent, heldToken, failing(v1alpha1.ReasonSecretWriteRefused, noon.Add(writeBackoffCap+2*time.Second))},
			write: writePending, want: "Secret deleted"},
		{name: "a backoff ends at its instant", seen: []func(*observation){absent, failing(v1alpha1.ReasonReactorUnavailable, noon)}, write: writeMint, want: "Secret deleted"},
		{name: "a changed key ends a backoff", seen: []func(*observation){failing(v1alpha1.ReasonReactorUnavailable, noon.Add(time.Hour)), func(o *observation) { o.key.Fingerprint = "another" }},
			write: writeMint, want: "API key changed"},
		{name: "a changed request ends a backoff", token: lifetime("1h"), seen: []func(*observation){failing(v1alpha1.ReasonReactorUnavailable, noon.Add(time.Hour))},
			write: writeMint, want: "spec changed"},
		{name: "a request to renew ends a backoff", token: annotate(v1alpha1.RenewRequestedAtAnnotation, "now"),
			seen: []func(*observation){failing(v1alpha1.ReasonReactorUnavailable, noon.Add(time.Hour))}, write: writeMint, want: "renewal requested"},
		{name: "a changed key frees what is parked", seen: []func(*observation){failing(v1alpha1.ReasonRequestRefused, noon.Add(time.Minute)), func(o *observation) { o.key.Fingerprint = "another" }},
			write: writeMint, want: "API key changed"},
		{name: "the wait for a refused key is the gate's", seen: []func(*observation){absent, failing(v1alpha1.ReasonAPIKeyRefused, noon.Add(time.Hour))},
			write: writeMint, want: "Secret deleted"},
		{name: "the wait for a limited key is the gate's", seen: []func(*observation){absent, failing(v1alpha1.ReasonRateLimited, noon.Add(time.Hour))},
			write: writeMint, want: "Secret deleted"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			token := aToken()
			if test.token != nil {
				test.token(token)
			}
			want := strings.TrimSpace(fmt.Sprint(test.write, " ", test.want))
			got := describe(decide(token, seeing(test.seen...)))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// aHeldToken was minted at noon for aToken, and lives for six hours.
func aHeldToken() *pendingToken {
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
			token, seen := aToken(), seeing(func(o *observation) { o.target.Edited = true })
			theObstacles[i].happen(token, seen)
			if diff := cmp.Diff(want, decide(token, seen).obstacle.message); diff != "" {
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
		name string
		why  cause
		seen *observation
		want mintqueue.Priority
	}{
		{"a first token", causeNew, seeing(), mintqueue.PriorityNew},
		{"a changed key", causeKeyChanged, seeing(), mintqueue.PriorityChanged},
		{"a changed request", causeRequestChanged, seeing(), mintqueue.PriorityChanged},
		{"a request to renew", causeRequested, seeing(), mintqueue.PriorityChanged},
		{"a deleted Secret", causeDeleted, seeing(), mintqueue.PriorityExpiring},
		{"an edited token", causeEdited, seeing(), mintqueue.PriorityExpiring},
		{"an expired token", causeExpired, seeing(), mintqueue.PriorityExpiring},
		{"a renewal with a third of its life in hand", causeDue, seeing(leaving(30 * time.Minute)), mintqueue.PriorityRenewal},
		{"a renewal with more than a tenth in hand", causeDue, seeing(leaving(7 * time.Minute)), mintqueue.PriorityRenewal},
		{"a renewal with less than a tenth in hand", causeDue, seeing(leaving(6 * time.Minute)), mintqueue.PriorityExpiring},
		{"an expired token whose request Reactor refused", causeExpired, seeing(failing(v1alpha1.ReasonRequestRefused, noon)), mintqueue.PriorityRefused},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := priorityOf(aToken(), test.why, test.seen); got != test.want {
				t.Errorf("priority %d, want %d", got, test.want)
			}
		})
	}
}

func recordOfHeld(held *pendingToken) *targetsecret.Record {
	return targetsecret.NewRecord(held.token, held.tokenID, held.identity)
}
