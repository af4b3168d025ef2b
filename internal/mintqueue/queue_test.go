package mintqueue

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

const (
	namespace = "team-a"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// fixture is a Queue at work in a bubble, and the objects that it requeued.
type fixture struct {
	*Queue
	lock     sync.Mutex
	requeued []string
	urgent   []string // of those, the ones that go before all others
}

func newFixture(t *testing.T, qps float64, burst int) *fixture {
	t.Helper()
	f := &fixture{}
	f.Queue = New(Options{Limits: Limits{QPS: qps, Burst: burst}, Clock: clock.RealClock{}, Requeue: func(priority int, objects ...types.NamespacedName) {
		f.lock.Lock()
		defer f.lock.Unlock()
		for _, object := range objects {
			f.requeued = append(f.requeued, object.Name)
			if priority == RequeueUrgent {
				f.urgent = append(f.urgent, object.Name)
			}
		}
	}})
	f.SetWorkers(3)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f
}

// newlyRequeued returns the objects that were requeued since the last call.
func (f *fixture) newlyRequeued() []string {
	synctest.Wait()
	f.lock.Lock()
	defer f.lock.Unlock()
	requeued := f.requeued
	f.requeued = nil
	return requeued
}

func request(name, key string, priority Priority) Request {
	return Request{Object: objectNamed(name), Fingerprint: key, Priority: priority}
}

// expiringIn is the request of a renewal with the key "k".
func expiringIn(name string, left time.Duration) Request {
	renewal := request(name, "k", PriorityRenewal)
	renewal.Expires = time.Now().Add(left)
	return renewal
}

// ask requests a call. If it is admitted, the call ends, and nothing is known of its outcome yet.
func (f *fixture) ask(r Request) Decision {
	decision, _ := f.Admit(r, time.Now())
	f.endCall(r.Object)
	return decision
}

func (f *fixture) endCall(object types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.release(object)
}

// accept makes a key known as valid.
func (f *fixture) accept(fingerprint string) {
	k, _ := f.useKey(Request{Object: objectNamed("opener of " + fingerprint), Fingerprint: fingerprint})
	k.state = KeyAccepted
}

func TestAdmissionKeepsTheRateAndRequeuesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1, 2)
		f.accept("k")
		var got []Decision
		for _, name := range []string{"first", "second"} {
			got = append(got, f.ask(request(name, "k", PriorityNew)))
		}
		for _, waiting := range []Request{request("renewal", "k", PriorityRenewal), request("new", "k", PriorityNew), request("expiring", "k", PriorityExpiring)} {
			got = append(got, f.ask(waiting))
		}
		if diff := cmp.Diff([]Decision{Admitted, Admitted, WaitForSlot, WaitForSlot, WaitForSlot}, got); diff != "" {
			t.Errorf("decisions (-want +got):\n%s", diff)
		}
		for i, want := range []string{"expiring", "new", "renewal"} {
			time.Sleep(999 * time.Millisecond)
			if early := f.newlyRequeued(); len(early) != 0 {
				t.Errorf("%q were requeued before the second was over", early)
			}
			time.Sleep(time.Millisecond)
			if diff := cmp.Diff([]string{want}, f.newlyRequeued()); diff != "" {
				t.Errorf("requeued after %d s (-want +got):\n%s", i+1, diff)
			}
			if decision := f.ask(request(want, "k", PriorityNew)); decision != Admitted {
				t.Errorf("%s was requeued, and then got the decision %d", want, decision)
			}
		}
		time.Sleep(time.Minute)
		if late := f.newlyRequeued(); len(late) != 0 {
			t.Errorf("%q were requeued for nothing", late)
		}
	})
}

func TestALaterRequestThatIsMoreUrgentIsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 0.1, 1)
		f.accept("k")
		f.ask(request("first", "k", PriorityRenewal))
		f.ask(request("second", "k", PriorityRenewal))
		time.Sleep(5 * time.Second)
		f.ask(request("urgent", "k", PriorityExpiring))
		time.Sleep(5 * time.Second)
		if diff := cmp.Diff([]string{"urgent"}, f.newlyRequeued()); diff != "" {
			t.Errorf("requeued (-want +got):\n%s", diff)
		}
	})
}

// A new leader knows nothing of the keys. Of the first to ask, one for each key calls, and the others have to wait for its answer, while
// all others are queued.
func TestAnObjectThatWaitedForTheFirstAnswerToTheKeyIsNotBehindThoseWhoseTokensLiveLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1, 1)
		expiring := func(name string, left time.Duration) Request {
			renewal := request(name, "k", PriorityRenewal)
			renewal.Expires = time.Now().Add(left)
			return renewal
		}
		probe, first, late := expiring("probe", time.Minute), expiring("first", time.Minute), expiring("late", time.Hour)
		if decision := f.ask(probe); decision != Admitted {
			t.Fatalf("the first to ask got the decision %d", decision)
		}
		if decision := f.ask(first); decision != WaitForKey {
			t.Fatalf("the second got the decision %d", decision)
		}
		f.Done(probe, Outcome{AnswerAccepted, 0}, time.Now())
		for _, waiting := range []Request{late, first} { // first was requeued, and is reconciled a moment later
			if decision := f.ask(waiting); decision != WaitForSlot {
				t.Fatalf("%s got the decision %d", waiting.Object.Name, decision)
			}
		}
		f.newlyRequeued()
		for _, want := range []string{"first", "late"} {
			time.Sleep(time.Second)
			if diff := cmp.Diff([]string{want}, f.newlyRequeued()); diff != "" {
				t.Errorf("requeued (-want +got):\n%s", diff)
			}
		}
	})
}

// A machine that does not keep up with the rate: an object that has a slot waits for a worker, and no priority helps those that come then.
func TestNoMoreSlotsAreGivenThanTheWorkersKeepUpWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1000, 1)
		f.accept("k")
		for _, name := range []string{"first", "a", "b", "c", "d"} {
			f.ask(request(name, "k", PriorityRenewal))
		}
		wants := func(when string, want ...string) {
			t.Helper()
			time.Sleep(time.Second)
			if diff := cmp.Diff(want, f.newlyRequeued()); diff != "" {
				t.Errorf("requeued %s (-want +got):\n%s", when, diff)
			}
		}
		wants("before any call ended", "a", "b")
		f.ask(request("urgent", "k", PriorityExpiring))
		if decision, _ := f.Admit(request("a", "k", PriorityRenewal), time.Now()); decision != Admitted {
			t.Errorf("the decision on an object with a slot is %d", decision)
		}
		wants("during the call")
		f.Done(request("a", "k", PriorityRenewal), Outcome{AnswerAccepted, 0}, time.Now())
		wants("during the writes after the call")
		f.Release(objectNamed("a"))
		wants("after the reconcile", "urgent")
		f.Release(objectNamed("urgent"))
		wants("when an object that has not used its slot yet was reconciled")
		f.Cancel(objectNamed("b"))
		wants("when an object that had a slot wanted it no more", "c")
		f.Forget(objectNamed("c"))
		wants("when an object that had a slot was deleted", "d")
	})
}

// An API server that is slow, as after an outage: the workers are the limit and not the rate, and what waits for them in the queue of the
// controller is in no order.
func TestRenewalsBeyondWhatTheWorkersKeepUpWithAreQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1000, 1000)
		f.accept("k")
		var got []Decision
		for _, r := range []Request{
			expiringIn("a", time.Hour), expiringIn("b", time.Hour), request("new", "k", PriorityNew), expiringIn("late", time.Hour), expiringIn("soon", time.Minute),
		} {
			decision, _ := f.Admit(r, time.Now()) // and the call continues
			got = append(got, decision)
		}
		if diff := cmp.Diff([]Decision{Admitted, Admitted, Admitted, WaitForSlot, WaitForSlot}, got); diff != "" {
			t.Errorf("two renewals, a new token, two more renewals (-want +got):\n%s", diff)
		}
		time.Sleep(time.Second)
		if early := f.newlyRequeued(); len(early) != 0 {
			t.Errorf("%q were requeued during two calls", early)
		}
		f.Done(expiringIn("a", time.Hour), Outcome{AnswerAccepted, 0}, time.Now())
		f.Release(objectNamed("a"))
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"soon"}, f.newlyRequeued()); diff != "" {
			t.Errorf("requeued after a call (-want +got):\n%s", diff)
		}
	})
}

func TestSomeWorkersAreLeftToObjectsWithoutASlot(t *testing.T) {
	f := New(Options{Limits: Limits{QPS: 1, Burst: 1}, Clock: clock.RealClock{}})
	for workers, want := range map[int]int{1: 1, 2: 1, 3: 2, 4: 3, 8: 6, 32: 24} {
		if f.SetWorkers(workers); f.slots.max != want {
			t.Errorf("%d workers have %d slots, want %d", workers, f.slots.max, want)
		}
	}
}

func TestWhenAKeyIsRefusedItsObjectsTakeNoSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 0.1, 1)
		f.accept("bad")
		f.accept("good")
		probe := request("probe", "bad", PriorityExpiring)
		f.ask(probe)
		f.ask(request("one", "bad", PriorityExpiring))
		f.ask(request("two", "bad", PriorityExpiring))
		f.ask(request("other", "good", PriorityRenewal))
		f.Done(probe, Outcome{AnswerRejected, 0}, time.Now())
		synctest.Wait()
		if diff := cmp.Diff([]string{"one", "two"}, f.newlyRequeued()); diff != "" {
			t.Errorf("requeued, to report that the key is refused (-want +got):\n%s", diff)
		}
		for _, name := range []string{"one", "two"} {
			if decision := f.ask(request(name, "bad", PriorityExpiring)); decision != WaitForKey {
				t.Errorf("%s got the decision %d", name, decision)
			}
		}
		time.Sleep(10 * time.Second)
		if diff := cmp.Diff([]string{"other"}, f.newlyRequeued()); diff != "" {
			t.Errorf("whose turn came first (-want +got):\n%s", diff)
		}
	})
}

func TestASlotIsNotSpentByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1, 1)
		f.accept("k")
		f.ask(request("first", "k", PriorityNew))
		f.ask(request("second", "k", PriorityNew))
		time.Sleep(time.Second)
		f.newlyRequeued() // it has a slot
		if decision := f.ask(request("third", "k", PriorityNew)); decision != WaitForSlot {
			t.Errorf("the decision on the third is %d", decision)
		}
		if decision := f.ask(request("second", "k", PriorityNew)); decision != Admitted {
			t.Errorf("the decision on the second is %d", decision)
		}
	})
}

func TestAnObjectThatLeavesIsNeitherRequeuedNorCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1, 1)
		f.accept("k")
		f.ask(request("first", "k", PriorityNew))
		f.ask(request("leaver", "k", PriorityExpiring))
		f.ask(request("stayer", "k", PriorityNew))
		f.Cancel(objectNamed("leaver"))
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"stayer"}, f.newlyRequeued()); diff != "" {
			t.Errorf("requeued (-want +got):\n%s", diff)
		}
	})
}

func TestTheObjectsThatWaitForAKeyAreRequeuedByItsAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		what      Answer
		wantWoken int
		wantState KeyState
	}{
		"a token":          {AnswerAccepted, 3, KeyAccepted},
		"a refused key":    {AnswerRejected, 3, KeyRejected},
		"a limit":          {AnswerRateLimited, 3, KeyRateLimited},
		"no usable answer": {AnswerNone, 1, KeyUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, 100, 100)
				probe := request("probe", "k", PriorityNew)
				if decision := f.ask(probe); decision != Admitted {
					t.Fatalf("the first got the decision %d", decision)
				}
				for i := range 3 {
					if decision := f.ask(request(fmt.Sprint("waiting-", i), "k", PriorityNew)); decision != WaitForKey {
						t.Errorf("a later one got the decision %d", decision)
					}
				}
				if decision := f.ask(request("other", "another key", PriorityNew)); decision != Admitted {
					t.Errorf("one with another key got the decision %d", decision)
				}
				status := f.Done(probe, Outcome{test.what, 0}, time.Now())
				if status.State != test.wantState {
					t.Errorf("the gate is in state %d, want %d", status.State, test.wantState)
				}
				if got := len(f.newlyRequeued()); got != test.wantWoken {
					t.Errorf("%d were requeued, want %d", got, test.wantWoken)
				}
			})
		})
	}
}

func TestOfTheObjectsThatWaitForAKeyTheUrgentContinueFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 100, 100)
		probe := request("probe", "k", PriorityNew)
		f.ask(probe)
		for _, waiting := range []Request{request("new", "k", PriorityNew), request("expiring", "k", PriorityExpiring), request("renewal", "k", PriorityRenewal)} {
			f.ask(waiting)
		}
		f.Done(probe, Outcome{AnswerAccepted, 0}, time.Now())
		if got := len(f.newlyRequeued()); got != 3 {
			t.Errorf("%d were requeued", got)
		}
		if diff := cmp.Diff([]string{"expiring"}, f.urgent); diff != "" {
			t.Errorf("the object that is first (-want +got):\n%s", diff)
		}
	})
}

func TestAnObjectWithAnotherKeyDoesNotWaitForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 100, 100)
		probe := request("probe", "old", PriorityNew)
		f.ask(probe)
		f.ask(request("mover", "old", PriorityNew))
		if decision := f.ask(request("mover", "new", PriorityChanged)); decision != Admitted {
			t.Errorf("with the new key it got the decision %d", decision)
		}
		f.Done(probe, Outcome{AnswerAccepted, 0}, time.Now())
		if requeued := f.newlyRequeued(); slices.Contains(requeued, "mover") {
			t.Error("it was requeued for the old key")
		}
	})
}

func TestAClosedKeyUsesNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 0.001, 2)
		probe := request("probe", "bad", PriorityNew)
		f.ask(probe)
		f.Done(probe, Outcome{AnswerRejected, 0}, time.Now())
		for i := range 10 {
			if decision := f.ask(request(fmt.Sprint(i), "bad", PriorityNew)); decision != WaitForKey {
				t.Errorf("got the decision %d", decision)
			}
		}
		if decision := f.ask(request("good", "good", PriorityNew)); decision != Admitted {
			t.Errorf("those with the refused key have used up the rate: the good one got the decision %d", decision)
		}
	})
}

// What is kept of a key leaves with the last object that uses it.
func TestNothingIsKeptOfKeysThatNoObjectUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1, 1)
		var objects []Request
		for i := range 10_000 {
			of := fmt.Sprint(i)
			objects = append(objects,
				Request{Object: types.NamespacedName{Namespace: of, Name: "web"}, Fingerprint: of, Priority: PriorityNew},
				Request{Object: types.NamespacedName{Namespace: of, Name: "bot"}, Fingerprint: of, Priority: PriorityRefused})
		}
		for _, t := range objects {
			f.ask(t)
		}
		if len(f.keys) != 10_000 {
			t.Fatalf("%d keys are known, want 10000", len(f.keys))
		}
		for _, t := range objects {
			f.Forget(t.Object)
		}
		if got := len(f.keys) + len(f.keyOf) + len(f.slots.inUse) + len(f.waiting.byObject); got != 0 {
			t.Errorf("%d entries are left", got)
		}
	})
}

func TestAKeyIsForgottenWhenItsObjectsUseAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 100, 100)
		f.ask(request("web", "old", PriorityNew))
		f.ask(request("web", "new", PriorityChanged))
		if _, known := f.keys["old"]; known || len(f.keys) != 1 {
			t.Errorf("%d keys are known, the old one: %v", len(f.keys), known)
		}
	})
}

func TestAKeyThatMayNotBeTriedIsNotForgottenWithTheObjectThatUsedIt(t *testing.T) {
	for name, test := range map[string]struct {
		what    Answer
		refused int // answers, a minute apart
		left    time.Duration
	}{
		"limited":                  {AnswerRateLimited, 1, 5*time.Minute - 10*time.Second},
		"refused":                  {AnswerRejected, 1, MinProbeWait - 10*time.Second},
		"refused for five minutes": {AnswerRejected, 6, MinProbeWait - 10*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, 10, 10)
				first, second := request("first", "k", PriorityNew), request("second", "k", PriorityNew)
				for i := range test.refused {
					if i > 0 {
						time.Sleep(time.Minute)
					}
					f.ask(first)
					f.Done(first, Outcome{test.what, 5 * time.Minute}, time.Now())
				}
				f.Forget(first.Object)
				time.Sleep(10 * time.Second)
				if decision, key := f.Admit(second, time.Now()); decision != WaitForKey || time.Until(key.Until) != test.left {
					t.Errorf("it decision %v, and the key is tried again at %s, want in %s", decision, key.Until, test.left)
				}
				f.Forget(second.Object)
				time.Sleep(5 * time.Minute)
				f.ask(request("third", "other", PriorityNew))
				f.Forget(objectNamed("third"))
				if got := len(f.keys) + len(f.unused) + len(f.keyOf); got != 0 {
					t.Errorf("%d entries remain after the wait", got)
				}
			})
		})
	}
}

// A request that Reactor refused waits for its retry, and then a user corrects it. It must not fall back behind all others.
func TestARequestThatWasCorrectedDoesNotWaitAsARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1, 1)
		f.accept("k")
		f.ask(request("first", "k", PriorityNew))
		f.ask(request("other", "k", PriorityRefused))
		f.ask(request("web", "k", PriorityRefused))
		for i := range 30 {
			f.ask(request(fmt.Sprint("expiring-", i), "k", PriorityExpiring))
		}
		if decision := f.ask(request("web", "another", PriorityChanged)); decision != WaitForSlot {
			t.Fatalf("it got the decision %d", decision)
		}
		time.Sleep(15 * time.Second) // in which a retry is due
		f.mu.Lock()
		defer f.mu.Unlock()
		if got := f.waiting.byObject[objectNamed("web")]; got.Priority != PriorityChanged || got.Fingerprint != "another" {
			t.Errorf("it is queued as %+v", got)
		}
	})
}

// Those that Reactor refused come back after minutes. The ones whose tokens expire first must not have their retry before all others
// each time.
func TestRetriesAreInTheOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, 1, 1)
		f.accept("k")
		retry := func(name string, left time.Duration) Request {
			refused := request(name, "k", PriorityRefused)
			refused.Expires = time.Now().Add(left)
			return refused
		}
		f.ask(retry("first", time.Hour))
		f.ask(retry("second", time.Hour))
		f.ask(retry("third", time.Minute))
		var order []string
		for range 40 {
			time.Sleep(time.Second)
			order = append(order, f.newlyRequeued()...)
		}
		if diff := cmp.Diff([]string{"second", "third"}, order); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}
