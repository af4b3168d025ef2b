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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
	"github.com/reactor-operator/reactor-operator/internal/mintqueue"
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
	const wait = 5 * time.Second // the first backoff, at most
	page := new("<html>Attention required</html>")
	tests := []struct {
		status int
		body   *string // nil: Reactor's own
		key    mintqueue.Answer
		reason string
		kind   failureKind
		until  time.Duration // the next attempt, at most
	}{
		{201, nil, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait}, // and no token in it
		{301, nil, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait},
		{302, nil, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait},
		{307, nil, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait},
		{400, nil, mintqueue.AnswerAccepted, v1alpha1.ReasonRequestRefused, userMustAct, refusalRetryInterval},
		{400, page, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait},
		{401, nil, mintqueue.AnswerRejected, v1alpha1.ReasonAPIKeyRefused, userMustAct, mintqueue.MinProbeWait},
		{401, page, mintqueue.AnswerRejected, v1alpha1.ReasonAPIKeyRefused, userMustAct, mintqueue.MinProbeWait},
		{403, nil, mintqueue.AnswerAccepted, v1alpha1.ReasonRequestRefused, userMustAct, refusalRetryInterval},
		{403, page, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait},
		{404, nil, mintqueue.AnswerAccepted, v1alpha1.ReasonRequestRefused, userMustAct, refusalRetryInterval},
		{404, page, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait},
		{405, page, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait},
		{407, page, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait},
		{408, nil, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait},
		{409, nil, mintqueue.AnswerAccepted, v1alpha1.ReasonRequestRefused, userMustAct, refusalRetryInterval},
		{410, nil, mintqueue.AnswerAccepted, v1alpha1.ReasonRequestRefused, userMustAct, refusalRetryInterval},
		{418, nil, mintqueue.AnswerAccepted, v1alpha1.ReasonRequestRefused, userMustAct, refusalRetryInterval},
		{422, nil, mintqueue.AnswerAccepted, v1alpha1.ReasonRequestRefused, userMustAct, refusalRetryInterval},
		{429, nil, mintqueue.AnswerRateLimited, v1alpha1.ReasonRateLimited, retryAtTime, mintqueue.MinLimitWait},
		{500, nil, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait},
		{502, page, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait},
		{503, nil, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait},
		{504, nil, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait},
		{0, nil, mintqueue.AnswerNone, v1alpha1.ReasonReactorUnavailable, retryWithBackoff, wait}, // no answer
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.status, " ", http.StatusText(test.status), " by Reactor ", test.body == nil), func(t *testing.T) {
			var transport http.RoundTripper = brokenTransport{errors.New("connection refused")}
			if test.status != 0 {
				api := emulator.New(emulator.Options{Keys: []string{firstKey}})
				api.SetFaults(emulator.Fault{Status: test.status, Body: test.body})
				transport = api.Transport()
			}
			err := asked(t, transport)
			if got := answerOf(err); got != test.key {
				t.Errorf("for the key it means %d, want %d", got, test.key)
			}
			queue := mintqueue.New(mintqueue.Options{Limits: mintqueue.Limits{QPS: 1, Burst: 1}, Clock: clock.RealClock{}, Requeue: func(int, ...types.NamespacedName) {}})
			key := queue.Done(mintqueue.Request{Object: objectNamed("web"), Fingerprint: goodKey}, outcomeOf(err), noon)
			got := mintObstacle(aToken(), &failedMint{err: err, key: key, failures: 1, now: noon})
			if got.reason != test.reason || got.kind != test.kind {
				t.Errorf("the object is told %s/%d, want %s/%d", got.reason, got.kind, test.reason, test.kind)
			}
			if wait := got.until.Sub(noon); wait <= test.until/2 || wait > test.until {
				t.Errorf("it is tried again after %s, want about %s", wait, test.until)
			}
			if !strings.Contains(got.message, fmt.Sprint(test.status)) && test.status != 0 {
				t.Errorf("the message does not name the status: %s", got.message)
			}
		})
	}
	t.Run("200 OK", func(t *testing.T) {
		err := asked(t, emulator.New(emulator.Options{Keys: []string{firstKey}}).Transport())
		if err != nil || answerOf(err) != mintqueue.AnswerAccepted {
			t.Error(err)
		}
	})
}

func TestMintRetryDelay(t *testing.T) {
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
		{"at most half of what is left", unavailable(2 * time.Minute), time.Minute, mintqueue.MinProbeWait},
		{"the backoff, for an error of other origin", errors.New("odd"), 0, plain},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, mintRetryDelay(token, &failedMint{err: test.err, failures: 1, left: test.left})); diff != "" {
				t.Errorf("patience (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhenARefusedRequestIsRetried(t *testing.T) {
	uid := aToken().UID
	plain := func(d time.Duration) time.Duration { return lessByUID(d, uid) }
	for name, test := range map[string]struct {
		failed failedMint
		want   time.Duration
	}{
		"the first time":                              {failedMint{}, plain(15 * time.Minute)},
		"in the first six hours":                      {failedMint{since: noon.Add(-slowRefusalRetryAfter + time.Second)}, plain(15 * time.Minute)},
		"after six hours":                             {failedMint{since: noon.Add(-slowRefusalRetryAfter)}, plain(time.Hour)},
		"once more when the token is about to expire": {failedMint{untilExpiring: time.Minute, left: 2 * time.Minute}, time.Minute},
		"not sooner when there is time":               {failedMint{untilExpiring: time.Hour, left: 2 * time.Hour}, plain(15 * time.Minute)},
		"after six hours, too":                        {failedMint{since: noon.Add(-24 * time.Hour), untilExpiring: time.Minute}, time.Minute},
		"as slowly after the expiry":                  {failedMint{untilExpiring: -time.Second, left: -time.Second}, plain(15 * time.Minute)},
		"before the expiry when little is left":       {failedMint{untilExpiring: -time.Second, left: 3 * time.Minute}, 90 * time.Second},
		"at last after half a minute":                 {failedMint{untilExpiring: -time.Second, left: 20 * time.Second}, lastRetryWait},
		"not in a hot loop":                           {failedMint{untilExpiring: time.Millisecond, left: time.Minute}, backoffFloor},
	} {
		t.Run(name, func(t *testing.T) {
			test.failed.now = noon
			if got := refusalRetryWait(uid, &test.failed); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestTheReportedReasonOfAWait(t *testing.T) {
	until := noon.Add(1500 * time.Millisecond)
	failedWith := func(reason string) func(*observation) { return failing(reason, noon.Add(-time.Minute)) }
	failedWithKey := func(fingerprint string) func(*observation) {
		return func(observed *observation) {
			failedWith(v1alpha1.ReasonAPIKeyRefused)(observed)
			observed.status.LastFailure.KeyFingerprint = fingerprint
		}
	}
	tests := []struct {
		name     string
		before   func(*observation)
		decision mintqueue.Decision
		key      mintqueue.KeyStatus
		reason   string
		until    time.Time
	}{
		{"for a refused key", nil, mintqueue.WaitForKey, mintqueue.KeyStatus{State: mintqueue.KeyRejected, Closed: true, Until: until}, v1alpha1.ReasonAPIKeyRefused, noon.Add(2 * time.Second)},
		{"for a limited key", nil, mintqueue.WaitForKey, mintqueue.KeyStatus{State: mintqueue.KeyRateLimited, Closed: true, Until: until}, v1alpha1.ReasonRateLimited, noon.Add(2 * time.Second)},
		{"for a refused key that another object tries again", nil, mintqueue.WaitForKey, mintqueue.KeyStatus{State: mintqueue.KeyRejected, Closed: true}, v1alpha1.ReasonAPIKeyRefused, time.Time{}},
		{"for a slot to retry what Reactor refused", failedWith(v1alpha1.ReasonRequestRefused), mintqueue.WaitForSlot, mintqueue.KeyStatus{State: mintqueue.KeyAccepted}, v1alpha1.ReasonRequestRefused, time.Time{}},
		{"for the first answer to a key", nil, mintqueue.WaitForKey, mintqueue.KeyStatus{}, v1alpha1.ReasonPending, time.Time{}},
		{"for a refused key that is being tried", nil, mintqueue.WaitForKey, mintqueue.KeyStatus{State: mintqueue.KeyRejected}, v1alpha1.ReasonPending, time.Time{}},
		{"for a limited key that is being tried", nil, mintqueue.WaitForKey, mintqueue.KeyStatus{State: mintqueue.KeyRateLimited}, v1alpha1.ReasonPending, time.Time{}},
		{
			"for a refused key that is being tried, as before",
			failedWith(v1alpha1.ReasonAPIKeyRefused), mintqueue.WaitForKey, mintqueue.KeyStatus{State: mintqueue.KeyRejected}, v1alpha1.ReasonAPIKeyRefused, time.Time{},
		},
		{
			"for a limited key that is being tried, as before",
			failedWith(v1alpha1.ReasonRateLimited), mintqueue.WaitForKey, mintqueue.KeyStatus{State: mintqueue.KeyRateLimited}, v1alpha1.ReasonRateLimited, time.Time{},
		},
		{
			"for the first answer to a key since the start, and it was refused before",
			failedWith(v1alpha1.ReasonAPIKeyRefused), mintqueue.WaitForKey, mintqueue.KeyStatus{}, v1alpha1.ReasonAPIKeyRefused, time.Time{},
		},
		{"for a key that is being tried, and another was refused", failedWithKey("another"), mintqueue.WaitForKey, mintqueue.KeyStatus{State: mintqueue.KeyRejected}, v1alpha1.ReasonPending, time.Time{}},
		{
			"for a key that is being tried, after a failure that was not the key's",
			failedWith(v1alpha1.ReasonReactorUnavailable), mintqueue.WaitForKey, mintqueue.KeyStatus{State: mintqueue.KeyRejected}, v1alpha1.ReasonPending, time.Time{},
		},
		{"for a slot", nil, mintqueue.WaitForSlot, mintqueue.KeyStatus{State: mintqueue.KeyAccepted}, v1alpha1.ReasonQueued, time.Time{}},
		{"for a slot to try a refused key", nil, mintqueue.WaitForSlot, mintqueue.KeyStatus{State: mintqueue.KeyRejected}, v1alpha1.ReasonQueued, time.Time{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			observed := observing()
			if test.before != nil {
				test.before(observed)
			}
			got := waitObstacle(aToken(), observed, test.decision, test.key)
			if got.reason != test.reason || !got.until.Equal(test.until) {
				t.Errorf("%s until %s, want %s until %s", got.reason, got.until, test.reason, test.until)
			}
		})
	}
}

func TestTimesAreRoundedUpToWholeSeconds(t *testing.T) {
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
	got := reactor.RedactError(fmt.Errorf("writing: %w", cause), aJWT)
	if strings.Contains(got.Error(), aJWT.Reveal()) || !apierrors.IsForbidden(got) {
		t.Errorf("%v", got)
	}
}
