package capacity

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const model = "only/one"

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// waitingSession is a session of a namespace, which is older the smaller its number is.
func waitingSession(in string, number int) Session {
	return Session{
		UID: types.UID(fmt.Sprintf("%s-%d", in, number)), Name: types.NamespacedName{Namespace: in, Name: fmt.Sprintf("night-%d", number)},
		Model: model, Created: noon.Add(time.Duration(number) * time.Second),
	}
}

func unchanged(key string) KeyUse { return KeyUse{key, key} }

func TestMemoryDoesNotGrowWithKeysThatAreGone(t *testing.T) {
	slots := New(2, 10, func(...types.NamespacedName) {})
	now := noon
	for number := range 1000 {
		session, key := waitingSession("media", number), unchanged(fmt.Sprintf("key-%d", number))
		if slots.Admit(session, key, nil, now) != nil {
			t.Fatal("a key without users has no slot")
		}
		slots.Acquire(session, KeyUse{key.Fingerprint, "the next key"})
		slots.Lower(session, key, false, now)
		slots.Release(session.UID)
		slots.Forget(session.UID)
		now = now.Add(10 * time.Minute)
	}
	if kept := len(slots.keys) + len(slots.keyOf) + len(slots.rotated) + len(slots.reconciled); kept > 4 {
		t.Errorf("%d entries are kept", kept)
	}
}

// A chain of rotations: what runs with the first key, and the last one, share the slots while the programs between them run.
func TestAKeyThatIsRotatedSeveralTimesHasOnePool(t *testing.T) {
	var requeued []types.NamespacedName
	slots := New(2, 0, func(names ...types.NamespacedName) { requeued = append(requeued, names...) })
	first, second, third := waitingSession("media", 1), waitingSession("media", 2), waitingSession("media", 3)
	slots.Acquire(first, KeyUse{"a", "c"})
	slots.Acquire(second, KeyUse{"b", "c"})
	if slots.Admit(third, unchanged("c"), nil, noon) == nil {
		t.Error("a third session runs")
	}
	slots.Release(first.UID)
	if len(requeued) != 1 || requeued[0] != third.Name {
		t.Errorf("requeued: %v", requeued)
	}
	if slots.Admit(third, unchanged("c"), nil, noon) != nil {
		t.Error("the slot of the one that left is not given")
	}
	if slots.Admit(waitingSession("other", 4), unchanged("a"), nil, noon) != nil {
		t.Error("the first key is still in the pool of the last one, and no program has it")
	}
}

// The starts of a minute are the account's too.
func TestARotatedKeySharesTheStartsOfItsPredecessor(t *testing.T) {
	slots := New(10, 10, func(...types.NamespacedName) {})
	for number := range startBurst {
		session := waitingSession("media", number)
		if slots.Admit(session, unchanged("a"), nil, noon) != nil {
			t.Fatal("the burst is not given")
		}
		slots.Acquire(session, KeyUse{"a", "b"})
	}
	next := waitingSession("media", 9)
	waits := slots.Admit(next, unchanged("b"), nil, noon)
	if waits == nil || waits.Until.IsZero() {
		t.Fatalf("the next one waits as %+v", waits)
	}
	if slots.Admit(next, unchanged("b"), nil, waits.Until) != nil {
		t.Error("it still waits when its time has come")
	}
}

func TestAReportedQuotaLowersTheShareOfItsNamespaceAlone(t *testing.T) {
	slots := New(5, 0, func(...types.NamespacedName) {})
	key := unchanged("key")
	running := []Session{waitingSession("media", 1), waitingSession("media", 2), waitingSession("media", 3)}
	for _, session := range running {
		slots.Acquire(session, key)
	}
	slots.Release(running[2].UID) // Reactor refused it
	slots.Lower(running[2], key, false, noon)

	waits := slots.Admit(running[2], key, nil, noon)
	if waits == nil || waits.Limit != 2 || !waits.Until.Equal(noon.Add(RaiseInterval)) {
		t.Fatalf("the session that was refused waits as %+v", waits)
	}
	for number := range 3 { // although they are younger
		if slots.Admit(waitingSession("shop", 10+number), key, nil, noon) != nil {
			t.Errorf("session %d of another namespace waits", number)
		}
	}
	slots.Release("shop-10")
	if slots.Admit(running[2], key, nil, noon.Add(RaiseInterval-time.Second)) == nil {
		t.Error("the limit was raised too early")
	}
	if waits := slots.Admit(running[2], key, nil, noon.Add(RaiseInterval)); waits != nil {
		t.Errorf("the limit was not raised: %+v", waits)
	}
	slots.Release("shop-11")
	if slots.Admit(waitingSession("media", 4), key, nil, noon.Add(RaiseInterval)) == nil {
		t.Error("the limit was raised by more than one")
	}
	if slots.Admit(waitingSession("media", 4), key, nil, noon.Add(2*RaiseInterval)) != nil {
		t.Error("it was not raised again")
	}
	slots.pool("key").raise(noon.Add(3*RaiseInterval), 5)
	if lowered := slots.keys["key"].lowered; len(lowered) != 0 {
		t.Errorf("what is no limit any more is kept: %v", lowered)
	}
}

func TestAQuotaOfAModelLowersTheShareOfTheModelAlone(t *testing.T) {
	slots := New(5, 0, func(...types.NamespacedName) {})
	key := unchanged("key")
	refused, same, other := waitingSession("media", 1), waitingSession("media", 2), waitingSession("media", 3)
	other.Model = "reactor/other"
	slots.Acquire(same, key)
	slots.Lower(refused, key, true, noon)
	if waits := slots.Admit(refused, key, nil, noon); waits == nil || waits.Limit != 1 || waits.Model != model {
		t.Errorf("it waits as %+v", waits)
	}
	if waits := slots.Admit(other, key, nil, noon); waits != nil {
		t.Errorf("a session of another model waits as %+v", waits)
	}
}

// The clock of the host is set back by a day after a limit was lowered.
func TestALoweredLimitDoesNotOutliveAClockThatWasAhead(t *testing.T) {
	slots := New(2, 0, func(...types.NamespacedName) {})
	key, runs, waits := unchanged("key"), waitingSession("media", 1), waitingSession("media", 2)
	slots.Acquire(runs, key)
	slots.Lower(waits, key, false, noon.Add(24*time.Hour))
	if full := slots.Admit(waits, key, nil, noon); full == nil || !full.Until.Equal(noon.Add(RaiseInterval)) {
		t.Errorf("it waits as %+v", full)
	}
	if slots.Admit(waits, key, nil, noon.Add(RaiseInterval)) != nil {
		t.Error("it waits longer")
	}
}

// wokenBy is a capacity that records the names of the sessions that it requeues.
func wokenBy(sessions int) (slots *Limiter, requeued *[]string) {
	requeued = &[]string{}
	return New(sessions, 0, func(names ...types.NamespacedName) {
		for _, name := range names {
			*requeued = append(*requeued, name.Name)
		}
	}), requeued
}

// Two Secrets of different namespaces hold the same key, and one of them is changed again.
func TestAKeyThatIsRotatedAgainLeavesItsPool(t *testing.T) {
	for name, change := range map[string]func(*Limiter, Session){
		"and its session is reconciled": func(slots *Limiter, runs Session) { slots.Acquire(runs, KeyUse{"a", "c"}) },
		"and another one is": func(slots *Limiter, runs Session) {
			slots.Admit(waitingSession("media", 3), unchanged("c"), []Holder{{runs, KeyUse{"a", "c"}}}, noon)
		},
	} {
		t.Run(name, func(t *testing.T) {
			slots, requeued := wokenBy(1)
			runs, waits := waitingSession("media", 1), waitingSession("shop", 2)
			slots.Acquire(runs, KeyUse{"a", "b"})
			if slots.Admit(waits, unchanged("b"), nil, noon) == nil {
				t.Fatal("a key that is rotated does not share the slots of its successor")
			}
			change(slots, runs)
			if !slices.Contains(*requeued, waits.Name.Name) {
				t.Error("the pool of the session that waits is empty, and nothing requeues it")
			}
		})
	}
}

// The session that is next may not run because of a quota that was reported in its namespace.
func TestALoweredLimitRequeuesTheSessionsOfOtherNamespaces(t *testing.T) {
	slots, requeued := wokenBy(2)
	key, refused := unchanged("key"), waitingSession("media", 2)
	slots.Acquire(waitingSession("media", 1), key)
	slots.Acquire(refused, key)
	slots.Admit(waitingSession("media", 3), key, nil, noon)
	other := waitingSession("shop", 4)
	slots.Admit(other, key, nil, noon)
	slots.Release(refused.UID)
	slots.Lower(refused, key, false, noon)
	if !slices.Contains(*requeued, other.Name.Name) {
		t.Errorf("a slot is free, and only %v are requeued", *requeued)
	}
}

// A limit was lowered while older sessions waited for a slot, and is over when the younger one asks that was refused.
func TestASessionThatIsNotNextRequeuesTheOneThatIs(t *testing.T) {
	slots, requeued := wokenBy(3)
	key, older, refused := unchanged("key"), waitingSession("media", 4), waitingSession("media", 9)
	slots.Acquire(waitingSession("media", 1), key)
	slots.Acquire(waitingSession("media", 2), key)
	slots.Acquire(refused, key)
	slots.Admit(older, key, nil, noon)
	slots.Release(refused.UID)
	slots.Lower(refused, key, false, noon)
	*requeued = nil
	if slots.Admit(refused, key, nil, noon.Add(RaiseInterval)) == nil {
		t.Fatal("the younger one has the slot")
	}
	if !slices.Contains(*requeued, older.Name.Name) {
		t.Error("a slot is free, and nothing requeues the session that is next")
	}
}
