package reactortoken

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

// A gate is told what happens, minute by minute, and answers who may call. A script reads: "a?" a asks, "a=accepted" a has its
// answer; "+15m" time passes.
func TestGate(t *testing.T) {
	tests := []struct {
		name   string
		script string
		want   string // the answers to the questions, and who was woken
	}{
		{"an unknown key admits one, and the others wait for its answer",
			"a?,b?,c?,a=accepted,b?,c?", "a:yes,b:no,c:no,woken:b+c,b:yes,c:yes"},
		{"the one that was admitted may ask again", "a?,a?", "a:yes,a:yes"},
		{"a good key admits all", "a?,a=accepted,b?,c?", "a:yes,b:yes,c:yes"},
		{"one bad request says nothing bad about the key", "a?,b?,a=accepted,b?", "a:yes,b:no,woken:b,b:yes"},
		{"a refused key admits nobody", "a?,b?,a=refused,b?,+14m59s,b?", "a:yes,b:no,woken:b,b:no,b:no"},
		{"a refused key is tried by one after 15 minutes", "a?,a=refused,b?,+15m,b?,a?", "a:yes,b:no,b:yes,a:no"},
		{"a refused key that is refused again waits another 15 minutes", "a?,a=refused,+15m,b?,b=refused,a?,+14m,a?,+1m,a?", "a:yes,b:yes,a:no,a:no,a:yes"},
		{"a refused key that is good again admits all", "a?,a=refused,+15m,b?,a?,b=accepted,a?,c?", "a:yes,b:yes,a:no,woken:a,a:yes,c:yes"},
		{"a limited key admits nobody until the instant", "a?,b?,a=limited:2m,b?,+1m59s,b?,+1s,b?,a?", "a:yes,b:no,woken:b,b:no,b:no,b:yes,a:no"},
		{"a limit without an instant lasts half a minute", "a?,a=limited,b?,+29s,b?,+1s,b?", "a:yes,b:no,b:no,b:yes"},
		{"each further limit without an instant lasts twice as long", "a?,a=limited,+30s,a?,a=limited,+59s,a?,+1s,a?", "a:yes,a:yes,a:no,a:yes"},
		{"a success begins the doubling anew", "a?,a=limited,+30s,a?,a=limited,+1m,a?,a=accepted,a?,a=limited,+30s,a?", "a:yes,a:yes,a:yes,a:yes,a:yes"},
		{"a shorter limit does not end a longer one", "a?,a=accepted,a?,b?,a=limited:10m,b=limited:1m,+2m,a?,+8m,a?", "a:yes,a:yes,b:yes,a:no,a:yes"},
		{"a limit comes after a refusal", "a?,a=refused,+15m,a?,a=limited:1m,+59s,a?,+1s,a?", "a:yes,a:yes,a:no,a:yes"},
		{"an outage teaches nothing: one after the other tries", "a?,b?,c?,a=none,b?,c?,b=none,c?", "a:yes,b:no,c:no,woken:1,b:yes,c:no,woken:1,c:yes"},
		{"an outage leaves a good key good", "a?,a=accepted,b?,b=none,a?,b?", "a:yes,b:yes,a:yes,b:yes"},
		{"an outage during a probe of a refused key lets another try at once", "a?,a=refused,+15m,a?,b?,a=none,b?", "a:yes,a:yes,b:no,woken:1,b:yes"},
		{"a probe that never came back gives its place away after a minute", "a?,b?,+59s,b?,+1s,b?", "a:yes,b:no,b:no,b:yes"},
		{"an answer of one that was not the probe frees nobody's place", "a?,b=none,c?", "a:yes,c:no"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, play(t, test.script)); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
		})
	}
}

// play plays a script against a new gate.
func play(t *testing.T, script string) string {
	t.Helper()
	g, now := &gate{waiting: map[types.NamespacedName]struct{}{}}, noon
	var told []string
	for step := range strings.SplitSeq(script, ",") {
		name, said, isAnswer := strings.Cut(step, "=")
		switch {
		case strings.HasPrefix(step, "+"):
			d, err := time.ParseDuration(step[1:])
			if err != nil {
				t.Fatal(err)
			}
			now = now.Add(d)
		case isAnswer:
			said, wait, _ := strings.Cut(said, ":")
			retryAfter, _ := time.ParseDuration(wait)
			what := map[string]answer{"accepted": answerAccepted, "refused": answerRefused, "limited": answerLimited, "none": answerNone}[said]
			if woken := g.answered(objectNamed(name), what, retryAfter, now); len(woken) > 0 {
				told = append(told, "woken:"+describeWoken(what, woken))
			}
		default:
			object := objectNamed(strings.TrimSuffix(step, "?"))
			if g.lets(object, now) {
				g.calls(object, now)
				delete(g.waiting, object)
				told = append(told, object.Name+":yes")
			} else {
				g.waiting[object] = struct{}{}
				told = append(told, object.Name+":no")
			}
		}
	}
	return strings.Join(told, ",")
}

// describeWoken names who was woken; or says how many, when it may be anyone.
func describeWoken(what answer, woken []types.NamespacedName) string {
	if what == answerNone {
		return strconv.Itoa(len(woken))
	}
	names := make([]string, len(woken))
	for i := range woken {
		names[i] = woken[i].Name
	}
	slices.Sort(names)
	return strings.Join(names, "+")
}

func TestTheViewOfAGateIsWhatAConditionShows(t *testing.T) {
	until := noon.Add(time.Minute)
	tests := []struct {
		name string
		gate gate
		want gateView
	}{
		{"an unknown one", gate{}, gateView{state: gateUnknown}},
		{"an open one", gate{state: gateOpen}, gateView{state: gateOpen}},
		{"a held one names its instant", gate{state: gateHeld, until: until}, gateView{gateHeld, until}},
		{"a refused one names its instant", gate{state: gateRefused, until: until}, gateView{gateRefused, until}},
		{"a hold that is over names none", gate{state: gateHeld, until: noon}, gateView{state: gateHeld}},
		{"a refusal that is being tried names none", gate{state: gateRefused, until: noon}, gateView{state: gateRefused}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.gate.view(noon), cmp.AllowUnexported(gateView{})); diff != "" {
				t.Errorf("view (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAWaitIsToldByTheWallClockOfNow(t *testing.T) {
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
				t.Errorf("it is told as %s, want %s", got, test.want)
			}
		})
	}
}
