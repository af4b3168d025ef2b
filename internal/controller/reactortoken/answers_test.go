package reactortoken

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
)

// asked is what the real client makes of an answer of Reactor.
func asked(t *testing.T, transport http.RoundTripper) error {
	t.Helper()
	api, err := reactor.NewClient(reactor.Options{BaseURL: "https://reactor.test", Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.Mint(t.Context(), reactor.MintRequest{APIKey: firstKey, Lifetime: time.Hour})
	return err
}

type brokenTransport struct{ err error }

func (b brokenTransport) RoundTrip(*http.Request) (*http.Response, error) { return nil, b.err }

// The total table: what each answer means for the key, and for the object.
func TestAnswersOfReactor(t *testing.T) {
	const (
		wait = 5 * time.Second // the first backoff, at most
		park = 0
	)
	tests := []struct {
		status   int
		key      answer
		reason   string
		kind     kind
		until    time.Duration // the next attempt, at most; 0 for none
		stalling bool
	}{
		{201, answerNone, v1alpha1.ReasonReactorUnavailable, kindAgain, wait, false}, // and no token in it
		{301, answerAccepted, v1alpha1.ReasonRequestRefused, kindUserMustAct, park, true},
		{302, answerAccepted, v1alpha1.ReasonRequestRefused, kindUserMustAct, park, true},
		{307, answerAccepted, v1alpha1.ReasonRequestRefused, kindUserMustAct, park, true},
		{400, answerAccepted, v1alpha1.ReasonRequestRefused, kindUserMustAct, park, true},
		{401, answerRefused, v1alpha1.ReasonAPIKeyRefused, kindUserMustAct, refusedProbeInterval, true},
		{403, answerAccepted, v1alpha1.ReasonRequestRefused, kindUserMustAct, park, true},
		{404, answerAccepted, v1alpha1.ReasonRequestRefused, kindUserMustAct, park, true},
		{408, answerNone, v1alpha1.ReasonReactorUnavailable, kindAgain, wait, false},
		{409, answerAccepted, v1alpha1.ReasonRequestRefused, kindUserMustAct, park, true},
		{410, answerAccepted, v1alpha1.ReasonRequestRefused, kindUserMustAct, park, true},
		{418, answerAccepted, v1alpha1.ReasonRequestRefused, kindUserMustAct, park, true},
		{422, answerAccepted, v1alpha1.ReasonRequestRefused, kindUserMustAct, park, true},
		{429, answerLimited, v1alpha1.ReasonRateLimited, kindLater, defaultHold, false},
		{500, answerNone, v1alpha1.ReasonReactorUnavailable, kindAgain, wait, false},
		{502, answerNone, v1alpha1.ReasonReactorUnavailable, kindAgain, wait, false},
		{503, answerNone, v1alpha1.ReasonReactorUnavailable, kindAgain, wait, false},
		{504, answerNone, v1alpha1.ReasonReactorUnavailable, kindAgain, wait, false},
		{0, answerNone, v1alpha1.ReasonReactorUnavailable, kindAgain, wait, false}, // no answer
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.status, " ", http.StatusText(test.status)), func(t *testing.T) {
			var transport http.RoundTripper = brokenTransport{errors.New("connection refused")}
			if test.status != 0 {
				api := emulator.New(emulator.Options{Keys: []string{firstKey}})
				api.SetFaults(emulator.Fault{Status: test.status})
				transport = api.Transport()
			}
			err := asked(t, transport)
			if got := answerOf(err); got != test.key {
				t.Errorf("for the key it means %d, want %d", got, test.key)
			}
			g := &gate{}
			g.answered(objectNamed("web"), answerOf(err), retryAfterOf(err), noon)
			got := mintObstacle(aToken(), err, g.view(noon), 1, noon, 0)
			if got.reason != test.reason || got.kind != test.kind {
				t.Errorf("the object is told %s/%d, want %s/%d", got.reason, got.kind, test.reason, test.kind)
			}
			switch wait := got.until.Sub(noon); {
			case test.until == park && !got.until.IsZero():
				t.Errorf("it is tried again after %s, and it is parked", wait)
			case test.until != park && (wait <= test.until/2 || wait > test.until):
				t.Errorf("it is tried again after %s, want about %s", wait, test.until)
			}
			if !strings.Contains(got.message, fmt.Sprint(test.status)) && test.status != 0 {
				t.Errorf("the message does not name the status: %s", got.message)
			}
		})
	}
	t.Run("200 OK", func(t *testing.T) {
		err := asked(t, emulator.New(emulator.Options{Keys: []string{firstKey}}).Transport())
		if err != nil || answerOf(err) != answerAccepted {
			t.Error(err)
		}
	})
}

func TestPatience(t *testing.T) {
	unavailable := func(retryAfter time.Duration) error {
		return fmt.Errorf("wrapped: %w", &reactor.Error{Class: reactor.ClassUnavailable, StatusCode: 503, RetryAfter: retryAfter})
	}
	token := aToken()
	plain := backoff(1, mintBackoffCap, token.UID, 0)
	tests := []struct {
		name string
		err  error
		left time.Duration
		want time.Duration
	}{
		{"the backoff, when Reactor names nothing", unavailable(0), 0, plain},
		{"the backoff, when Reactor names less", unavailable(time.Second), 0, plain},
		{"what Reactor names, when that is more", unavailable(2 * time.Minute), 0, 2 * time.Minute},
		{"at most five minutes", unavailable(24 * time.Hour), 0, mintBackoffCap},
		{"at most half of what is left", unavailable(2 * time.Minute), time.Minute, 30 * time.Second},
		{"the backoff, for an error of other origin", errors.New("odd"), 0, plain},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, patience(token, test.err, 1, test.left)); diff != "" {
				t.Errorf("patience (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsToldToThoseWhoWait(t *testing.T) {
	until := noon.Add(1500 * time.Millisecond)
	told := func(reason string) func(*observation) { return failing(reason, noon.Add(-time.Minute)) }
	toldOf := func(fingerprint string) func(*observation) {
		return func(seen *observation) {
			told(v1alpha1.ReasonAPIKeyRefused)(seen)
			seen.status.LastFailure.KeyFingerprint = fingerprint
		}
	}
	tests := []struct {
		name   string
		before func(*observation)
		said   verdict
		gate   gateView
		reason string
		until  time.Time
	}{
		{"for a refused key", nil, waitForKey, gateView{gateRefused, until}, v1alpha1.ReasonAPIKeyRefused, noon.Add(2 * time.Second)},
		{"for a limited key", nil, waitForKey, gateView{gateHeld, until}, v1alpha1.ReasonRateLimited, noon.Add(2 * time.Second)},
		{"for the first answer to a key", nil, waitForKey, gateView{}, v1alpha1.ReasonPending, time.Time{}},
		{"for a refused key that is being tried", nil, waitForKey, gateView{state: gateRefused}, v1alpha1.ReasonPending, time.Time{}},
		{"for a limited key that is being tried", nil, waitForKey, gateView{state: gateHeld}, v1alpha1.ReasonPending, time.Time{}},
		{
			"for a refused key that is being tried, as before",
			told(v1alpha1.ReasonAPIKeyRefused), waitForKey, gateView{state: gateRefused}, v1alpha1.ReasonAPIKeyRefused, time.Time{},
		},
		{
			"for a limited key that is being tried, as before",
			told(v1alpha1.ReasonRateLimited), waitForKey, gateView{state: gateHeld}, v1alpha1.ReasonRateLimited, time.Time{},
		},
		{
			"for the first answer to a key since the start, and it was refused before",
			told(v1alpha1.ReasonAPIKeyRefused), waitForKey, gateView{}, v1alpha1.ReasonAPIKeyRefused, time.Time{},
		},
		{"for a key that is being tried, and another was refused", toldOf("another"), waitForKey, gateView{state: gateRefused}, v1alpha1.ReasonPending, time.Time{}},
		{
			"for a key that is being tried, after a failure that was not the key's",
			told(v1alpha1.ReasonReactorUnavailable), waitForKey, gateView{state: gateRefused}, v1alpha1.ReasonPending, time.Time{},
		},
		{"for a turn", nil, waitForTurn, gateView{state: gateOpen}, v1alpha1.ReasonQueued, time.Time{}},
		{"for a turn to try a refused key", nil, waitForTurn, gateView{state: gateRefused}, v1alpha1.ReasonQueued, time.Time{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			seen := seeing()
			if test.before != nil {
				test.before(seen)
			}
			got := waitObstacle(aToken(), seen, test.said, test.gate)
			if got.reason != test.reason || !got.until.Equal(test.until) {
				t.Errorf("%s until %s, want %s until %s", got.reason, got.until, test.reason, test.until)
			}
		})
	}
}

func TestInstantsAreRoundedUpToWholeSeconds(t *testing.T) {
	for add, want := range map[time.Duration]time.Duration{
		0: 0, 1: time.Second, time.Second - 1: time.Second, time.Second: time.Second, time.Second + 1: 2 * time.Second,
	} {
		if got := wholeSecond(noon.Add(add)); !got.Equal(noon.Add(want)) {
			t.Errorf("noon and %s becomes %s", add, got)
		}
	}
	if !wholeSecond(time.Time{}).IsZero() {
		t.Error("no instant becomes one")
	}
}

func TestARedactedErrorKeepsItsCause(t *testing.T) {
	cause := apierrors.NewForbidden(schema.GroupResource{}, "web", errors.New("no "+aJWT.Reveal()))
	got := redact(fmt.Errorf("writing: %w", cause), aJWT)
	if strings.Contains(got.Error(), aJWT.Reveal()) || !apierrors.IsForbidden(got) {
		t.Errorf("%v", got)
	}
}
