package mintqueue

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

func objectNamed(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// A script reads: "a?" a asks, "a?20" a asks with a token that lives 20 more minutes; "a=accepted" a has its answer; "a-" a wants
// no token any more; "+15m" time passes.
func TestKey(t *testing.T) {
	tests := []struct {
		name   string
		script string
		want   string // the answers to the questions, and which objects must be reconciled
	}{
		{"an unknown key admits one, and the others wait for its answer",
			"a?,b?,c?,a=accepted,b?,c?", "a:yes,b:no,c:no,requeued:b+c,b:yes,c:yes"},
		{"the one that was Admitted may ask again", "a?,a?", "a:yes,a:yes"},
		{"a good key admits all", "a?,a=accepted,b?,c?", "a:yes,b:yes,c:yes"},
		{"one bad request says nothing bad about the key", "a?,b?,a=accepted,b?", "a:yes,b:no,requeued:b,b:yes"},
		{"a refused key admits no object", "a?,b?,a=refused,b?,+29s,b?", "a:yes,b:no,requeued:b,b:no,b:no"},
		{"a refused key is tried by one after 30 seconds", "a?,a=refused,+30s,b?,a?", "a:yes,b:yes,a:no"},
		{"each further refusal doubles the wait",
			"a?,a=refused,+30s,a?,a=refused,+59s,a?,+1s,a?,a=refused,+119s,a?,+1s,a?", "a:yes,a:yes,a:no,a:yes,a:no,a:yes"},
		{"the wait is 15 minutes at most",
			"a?,a=refused,+15m,a?,a=refused,+15m,a?,a=refused,+15m,a?,a=refused,+15m,a?,a=refused,+15m,a?,a=refused,+15m,a?,a=refused,+15m,a?",
			"a:yes,a:yes,a:yes,a:yes,a:yes,a:yes,a:yes,a:yes"},
		{"a success starts the doubling again", "a?,a=refused,+30s,a?,a=refused,+1m,a?,a=accepted,a?,a=refused,+30s,a?", "a:yes,a:yes,a:yes,a:yes,a:yes"},
		{"a refused key is tried when a quarter of the token's life has passed", "a?1,a=refused,+14s,a?,+1s,a?", "a:yes,a:no,a:yes"},
		{"the shortest life among the tokens that wait counts", "a?60,b?1,a=refused,+14s,a?,+1s,b?", "a:yes,b:no,requeued:b,a:no,b:yes"},
		{"a token that comes later and lives shorter brings the next try forward",
			"a?60,a=refused,+30s,a?60,a=refused,b?2,+29s,b?,+1s,b?", "a:yes,a:yes,b:no,b:no,b:yes"},
		{"a token that is about to expire does not try a refused key in a hot loop", "a?0.1,a=refused,+4s,a?,+1s,a?", "a:yes,a:no,a:yes"},
		{"tries that a token close to its expiry brought forward do not make the next wait longer",
			"a?0.4,a=refused,+6s,a?0.3,a=refused,+5s,a?0.2,a=refused,+5s,a?0.1,a=refused,+5s,a?,a=refused,+50s,b?,+1s,b?",
			"a:yes,a:yes,a:yes,a:yes,a:yes,b:no,b:yes"},
		{"a refused key that is good again admits all", "a?,a=refused,+15m,b?,a?,b=accepted,a?,c?", "a:yes,b:yes,a:no,requeued:a,a:yes,c:yes"},
		{"a further refusal requeues no object that reported it", "a?,b?,c?,a=refused,b?,c?,+30s,a?,a=refused", "a:yes,b:no,c:no,requeued:b+c,b:no,c:no,a:yes"},
		{"an object that came during the try is requeued by its answer", "a?,a=refused,+30s,a?,b?,a=refused", "a:yes,a:yes,b:no,requeued:b"},
		{"when the one that tries the key leaves, another one does", "a?,b?,a=refused,b?,a-", "a:yes,b:no,requeued:b,b:no,requeued:1"},
		{"when another one leaves, nothing changes", "a?,b?,a=refused,b?,b-", "a:yes,b:no,requeued:b,b:no"},
		{"a limited key admits no object until the time", "a?,b?,a=limited:2m,b?,+1m59s,b?,+1s,b?,a?", "a:yes,b:no,requeued:b,b:no,b:no,b:yes,a:no"},
		{"a limit without a time lasts half a minute", "a?,a=limited,b?,+29s,b?,+1s,b?", "a:yes,b:no,b:no,b:yes"},
		{"each further limit without a time lasts twice as long", "a?,a=limited,+30s,a?,a=limited,+59s,a?,+1s,a?", "a:yes,a:yes,a:no,a:yes"},
		{"a success starts the doubling of limits again", "a?,a=limited,+30s,a?,a=limited,+1m,a?,a=accepted,a?,a=limited,+30s,a?", "a:yes,a:yes,a:yes,a:yes,a:yes"},
		{"a shorter limit does not end a longer one", "a?,a=accepted,a?,b?,a=limited:10m,b=limited:1m,+2m,a?,+8m,a?", "a:yes,a:yes,b:yes,a:no,a:yes"},
		{"a limit comes after a refusal", "a?,a=refused,+15m,a?,a=limited:1m,+59s,a?,+1s,a?", "a:yes,a:yes,a:no,a:yes"},
		{"an outage teaches nothing: one after the other tries", "a?,b?,c?,a=none,b?,c?,b=none,c?", "a:yes,b:no,c:no,requeued:1,b:yes,c:no,requeued:1,c:yes"},
		{"an outage leaves a good key good", "a?,a=accepted,b?,b=none,a?,b?", "a:yes,b:yes,a:yes,b:yes"},
		{"an outage during a try of a refused key lets another one try immediately", "a?,a=refused,+15m,a?,b?,a=none,b?", "a:yes,a:yes,b:no,requeued:1,b:yes"},
		{"a call that never came back gives its place away after a minute", "a?,b?,+59s,b?,+1s,b?", "a:yes,b:no,b:no,b:yes"},
		{"an answer to another call frees no place", "a?,b=none,c?", "a:yes,c:no"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, play(t, test.script)); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
		})
	}
}

// play plays a script against a new key.
func play(t *testing.T, script string) string {
	t.Helper()
	k, now, requests := newKey("k", MinProbeWait), noon, map[string]Request{}
	var got []string
	woken := func(requests []Request, whichever bool) {
		names := make([]string, len(requests))
		for i := range requests {
			names[i] = requests[i].Object.Name
		}
		slices.Sort(names)
		switch {
		case len(names) == 0:
		case whichever:
			got = append(got, "requeued:"+strconv.Itoa(len(names)))
		default:
			got = append(got, "requeued:"+strings.Join(names, "+"))
		}
	}
	for step := range strings.SplitSeq(script, ",") {
		name, answer, isAnswer := strings.Cut(step, "=")
		asks, minutes, isQuestion := strings.Cut(step, "?")
		switch {
		case strings.HasPrefix(step, "+"):
			d, err := time.ParseDuration(step[1:])
			if err != nil {
				t.Fatal(err)
			}
			now = now.Add(d)
		case strings.HasSuffix(step, "-"):
			woken(k.abandon(objectNamed(strings.TrimSuffix(step, "-"))), true)
		case isAnswer:
			answer, wait, _ := strings.Cut(answer, ":")
			retryAfter, _ := time.ParseDuration(wait)
			what := map[string]Answer{"accepted": AnswerAccepted, "refused": AnswerRejected, "limited": AnswerRateLimited, "none": AnswerNone}[answer]
			woken(k.recordAnswer(requests[name], Outcome{what, retryAfter}, now), what == AnswerNone)
		case isQuestion:
			asking := Request{Object: objectNamed(asks)}
			if life, err := strconv.ParseFloat(minutes, 64); err == nil {
				asking.Expires = now.Add(time.Duration(life * float64(time.Minute)))
			}
			requests[asks] = asking
			if k.allows(asking.Object, now) {
				k.recordCall(asking.Object, now)
				delete(k.waiting, asking.Object)
				got = append(got, asks+":yes")
			} else {
				k.wait(asking, now)
				got = append(got, asks+":no")
			}
		}
	}
	return strings.Join(got, ",")
}

func TestTheFirstObjectThatWaitsAfterTheProberLeftHasTheDutyToTryTheKey(t *testing.T) {
	k, first, second := newKey("k", MinProbeWait), Request{Object: objectNamed("first")}, Request{Object: objectNamed("second")}
	k.recordAnswer(first, Outcome{AnswerRateLimited, 5 * time.Minute}, noon)
	k.abandon(first.Object)
	k.wait(second, noon.Add(time.Minute))
	want := KeyStatus{KeyRateLimited, true, noon.Add(5 * time.Minute)}
	if got := k.status(second.Object, noon.Add(time.Minute)); got != want {
		t.Errorf("the key is %+v, want %+v", got, want)
	}
}

func TestTheStatusOfAKeyIsWhatAConditionShows(t *testing.T) {
	until := noon.Add(time.Minute)
	me, other := objectNamed("me"), objectNamed("other")
	tests := []struct {
		name string
		key  key
		want KeyStatus
	}{
		{"an unknown one", key{}, KeyStatus{State: KeyUnknown}},
		{"an open one", key{state: KeyAccepted}, KeyStatus{State: KeyAccepted}},
		{"a limited one names its time to the object that tries it", key{state: KeyRateLimited, until: until, prober: me}, KeyStatus{KeyRateLimited, true, until}},
		{"a refused one names its time to the object that tries it", key{state: KeyRejected, until: until, prober: me}, KeyStatus{KeyRejected, true, until}},
		{"a limited one names no time to another object", key{state: KeyRateLimited, until: until, prober: other}, KeyStatus{KeyRateLimited, true, time.Time{}}},
		{"a refused one names no time to another object", key{state: KeyRejected, until: until, prober: other}, KeyStatus{KeyRejected, true, time.Time{}}},
		{"a limit that is over names none", key{state: KeyRateLimited, until: noon, prober: me}, KeyStatus{State: KeyRateLimited}},
		{"a refusal that is being tried names none", key{state: KeyRejected, until: noon, prober: me}, KeyStatus{State: KeyRejected}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.key.status(me, noon)); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAWaitIsReportedByTheCurrentWallClock(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		stored time.Time
		left   time.Duration // by the monotonic clock
		want   time.Time
	}{
		"clocks that agree leave it as it was stored":                      {now.Add(10 * time.Minute), 10 * time.Minute, now.Add(10 * time.Minute)},
		"a small difference does not make it flap":                         {now.Add(10 * time.Minute), 10*time.Minute - 900*time.Millisecond, now.Add(10 * time.Minute)},
		"on a host that was suspended it has passed, and the wait has not": {now.Add(-time.Hour), 10 * time.Minute, now.Add(10 * time.Minute)},
		"after a jump back it is far away, and the wait is not":            {now.Add(24 * time.Hour), 10 * time.Minute, now.Add(10 * time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := onWallClock(test.stored, now, test.left); !got.Equal(test.want) {
				t.Errorf("it is reported as %s, want %s", got, test.want)
			}
		})
	}
}
