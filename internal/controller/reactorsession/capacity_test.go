package reactorsession

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// waitingSession is a session of a namespace, which is older the smaller its number is.
func waitingSession(in string, number int) *v1alpha1.ReactorSession {
	session := newSession(fmt.Sprintf("night-%d", number))
	session.Namespace, session.UID = in, types.UID(fmt.Sprintf("%s-%d", in, number))
	session.CreationTimestamp = metav1.NewTime(noon.Add(time.Duration(number) * time.Second))
	return session
}

func unchanged(key string) keyUse { return keyUse{key, key} }

func TestMemoryDoesNotGrowWithKeysThatAreGone(t *testing.T) {
	slots := newCapacity(2, 10, func(...types.NamespacedName) {})
	now := noon
	for number := range 1000 {
		session, key := waitingSession("media", number), unchanged(fmt.Sprintf("key-%d", number))
		if slots.admit(session, key, nil, now) != nil {
			t.Fatal("a key that nobody uses has no slot")
		}
		slots.hold(session, keyUse{key.fingerprint, "the next key"})
		slots.lower(session, key, false, now)
		slots.leave(session.UID)
		slots.forget(session.UID)
		now = now.Add(10 * time.Minute)
	}
	if kept := len(slots.keys) + len(slots.of) + len(slots.rotated) + len(slots.passed); kept > 4 {
		t.Errorf("%d entries are kept", kept)
	}
}

// A chain of rotations: what runs with the first key, and the last one, share the slots while the programs between them run.
func TestAKeyThatIsRotatedSeveralTimesHasOnePool(t *testing.T) {
	var woken []types.NamespacedName
	slots := newCapacity(2, 0, func(names ...types.NamespacedName) { woken = append(woken, names...) })
	first, second, third := waitingSession("media", 1), waitingSession("media", 2), waitingSession("media", 3)
	slots.hold(first, keyUse{"a", "c"})
	slots.hold(second, keyUse{"b", "c"})
	if slots.admit(third, unchanged("c"), nil, noon) == nil {
		t.Error("a third session runs")
	}
	slots.leave(first.UID)
	if len(woken) != 1 || woken[0].Name != third.Name {
		t.Errorf("woken: %v", woken)
	}
	if slots.admit(third, unchanged("c"), nil, noon) != nil {
		t.Error("the slot of the one that left is not given")
	}
	if slots.admit(waitingSession("other", 4), unchanged("a"), nil, noon) != nil {
		t.Error("the first key is still in the pool of the last one, and no program has it")
	}
}

// The starts of a minute are the account's too.
func TestARotatedKeySharesTheStartsOfItsPredecessor(t *testing.T) {
	slots := newCapacity(10, 10, func(...types.NamespacedName) {})
	for number := range startBurst {
		session := waitingSession("media", number)
		if slots.admit(session, unchanged("a"), nil, noon) != nil {
			t.Fatal("the burst is not given")
		}
		slots.hold(session, keyUse{"a", "b"})
	}
	next := waitingSession("media", 9)
	waits := slots.admit(next, unchanged("b"), nil, noon)
	if waits == nil || waits.until.IsZero() {
		t.Fatalf("the next one waits as %+v", waits)
	}
	if slots.admit(next, unchanged("b"), nil, waits.until) != nil {
		t.Error("it still waits when its time has come")
	}
}

func TestAReportedQuotaLowersTheShareOfItsNamespaceAlone(t *testing.T) {
	slots := newCapacity(5, 0, func(...types.NamespacedName) {})
	key := unchanged("key")
	running := []*v1alpha1.ReactorSession{waitingSession("media", 1), waitingSession("media", 2), waitingSession("media", 3)}
	for _, session := range running {
		slots.hold(session, key)
	}
	slots.leave(running[2].UID) // Reactor refused it
	slots.lower(running[2], key, false, noon)

	waits := slots.admit(running[2], key, nil, noon)
	if waits == nil || waits.limit != 2 || !waits.until.Equal(noon.Add(raiseEvery)) {
		t.Fatalf("the session that was refused waits as %+v", waits)
	}
	for number := range 3 { // although they are younger
		if slots.admit(waitingSession("shop", 10+number), key, nil, noon) != nil {
			t.Errorf("session %d of another namespace waits", number)
		}
	}
	slots.leave("shop-10")
	if slots.admit(running[2], key, nil, noon.Add(raiseEvery-time.Second)) == nil {
		t.Error("the limit was raised too early")
	}
	if waits := slots.admit(running[2], key, nil, noon.Add(raiseEvery)); waits != nil {
		t.Errorf("the limit was not raised: %+v", waits)
	}
	slots.leave("shop-11")
	if slots.admit(waitingSession("media", 4), key, nil, noon.Add(raiseEvery)) == nil {
		t.Error("the limit was raised by more than one")
	}
	if slots.admit(waitingSession("media", 4), key, nil, noon.Add(2*raiseEvery)) != nil {
		t.Error("it was not raised again")
	}
	slots.pool("key").raise(noon.Add(3*raiseEvery), 5)
	if lowered := slots.keys["key"].lowered; len(lowered) != 0 {
		t.Errorf("what is no limit any more is kept: %v", lowered)
	}
}

func TestAQuotaOfAModelLowersTheShareOfTheModelAlone(t *testing.T) {
	slots := newCapacity(5, 0, func(...types.NamespacedName) {})
	key := unchanged("key")
	refused, same, other := waitingSession("media", 1), waitingSession("media", 2), waitingSession("media", 3)
	other.Spec.Model = "reactor/other"
	slots.hold(same, key)
	slots.lower(refused, key, true, noon)
	if waits := slots.admit(refused, key, nil, noon); waits == nil || waits.limit != 1 || waits.model != model {
		t.Errorf("it waits as %+v", waits)
	}
	if waits := slots.admit(other, key, nil, noon); waits != nil {
		t.Errorf("a session of another model waits as %+v", waits)
	}
}

// The clock of the host is set back by a day after a limit was lowered.
func TestALoweredLimitDoesNotOutliveAClockThatWasAhead(t *testing.T) {
	slots := newCapacity(2, 0, func(...types.NamespacedName) {})
	key, runs, waits := unchanged("key"), waitingSession("media", 1), waitingSession("media", 2)
	slots.hold(runs, key)
	slots.lower(waits, key, false, noon.Add(24*time.Hour))
	if full := slots.admit(waits, key, nil, noon); full == nil || !full.until.Equal(noon.Add(raiseEvery)) {
		t.Errorf("it waits as %+v", full)
	}
	if slots.admit(waits, key, nil, noon.Add(raiseEvery)) != nil {
		t.Error("it waits longer")
	}
}

// wokenBy is a capacity that records the names of the sessions that it wakes.
func wokenBy(sessions int) (slots *capacity, woken *[]string) {
	woken = &[]string{}
	return newCapacity(sessions, 0, func(names ...types.NamespacedName) {
		for _, name := range names {
			*woken = append(*woken, name.Name)
		}
	}), woken
}

// Two Secrets of different namespaces hold the same key, and one of them is changed again.
func TestAKeyThatIsRotatedAgainLeavesItsPool(t *testing.T) {
	for name, again := range map[string]func(*capacity, *v1alpha1.ReactorSession){
		"and its session is reconciled": func(slots *capacity, runs *v1alpha1.ReactorSession) { slots.hold(runs, keyUse{"a", "c"}) },
		"and another one is": func(slots *capacity, runs *v1alpha1.ReactorSession) {
			slots.admit(waitingSession("media", 3), unchanged("c"), []holder{{runs.UID, shareOf(runs), keyUse{"a", "c"}}}, noon)
		},
	} {
		t.Run(name, func(t *testing.T) {
			slots, woken := wokenBy(1)
			runs, waits := waitingSession("media", 1), waitingSession("shop", 2)
			slots.hold(runs, keyUse{"a", "b"})
			if slots.admit(waits, unchanged("b"), nil, noon) == nil {
				t.Fatal("a key that is rotated does not share the slots of its successor")
			}
			again(slots, runs)
			if !slices.Contains(*woken, waits.Name) {
				t.Error("the pool of the session that waits is empty, and nothing wakes it")
			}
		})
	}
}

// The session whose turn it is may not run because of a quota that was reported in its namespace.
func TestALoweredLimitWakesTheSessionsOfOtherNamespaces(t *testing.T) {
	slots, woken := wokenBy(2)
	key, refused := unchanged("key"), waitingSession("media", 2)
	slots.hold(waitingSession("media", 1), key)
	slots.hold(refused, key)
	slots.admit(waitingSession("media", 3), key, nil, noon)
	other := waitingSession("shop", 4)
	slots.admit(other, key, nil, noon)
	slots.leave(refused.UID)
	slots.lower(refused, key, false, noon)
	if !slices.Contains(*woken, other.Name) {
		t.Errorf("a slot is free, and only %v are woken", *woken)
	}
}

// A limit was lowered while older sessions waited for a slot, and is over when the younger one asks that was refused.
func TestASessionThatIsNotNextWakesTheOneThatIs(t *testing.T) {
	slots, woken := wokenBy(3)
	key, older, refused := unchanged("key"), waitingSession("media", 4), waitingSession("media", 9)
	slots.hold(waitingSession("media", 1), key)
	slots.hold(waitingSession("media", 2), key)
	slots.hold(refused, key)
	slots.admit(older, key, nil, noon)
	slots.leave(refused.UID)
	slots.lower(refused, key, false, noon)
	*woken = nil
	if slots.admit(refused, key, nil, noon.Add(raiseEvery)) == nil {
		t.Fatal("the younger one has the slot")
	}
	if !slices.Contains(*woken, older.Name) {
		t.Error("a slot is free, and nothing wakes the session whose turn it is")
	}
}
