package reactortoken

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

// desk is an admission at work in a bubble, and who was woken by it.
type desk struct {
	*admission
	mu    sync.Mutex
	woken []string
	first []string // of those, the ones that go before all others
}

func newDesk(t *testing.T, qps float64, burst int) *desk {
	t.Helper()
	d := &desk{}
	d.admission = newAdmission(qps, burst, clock.RealClock{}, func(priority int, objects ...types.NamespacedName) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, object := range objects {
			d.woken = append(d.woken, object.Name)
			if priority == priorityUrgent {
				d.first = append(d.first, object.Name)
			}
		}
	})
	d.mostTurns = 2
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- d.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return d
}

// wakes are those that were woken since the last look.
func (d *desk) wakes() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	woken := d.woken
	d.woken = nil
	return woken
}

func place(name, key string, level urgency) ticket {
	return ticket{object: objectNamed(name), fingerprint: key, urgency: level}
}

// ask makes a pass that asks for admission.
func (d *desk) ask(t ticket) verdict {
	defer d.passed(t.object)
	said, _ := d.admit(t, time.Now())
	return said
}

func TestAdmissionKeepsTheRateAndWakesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 1, 2)
		d.open("k")
		var got []verdict
		for _, name := range []string{"first", "second"} {
			got = append(got, d.ask(place(name, "k", urgencyNew)))
		}
		for _, waiting := range []ticket{place("renewal", "k", urgencyRenewal), place("new", "k", urgencyNew), place("expiring", "k", urgencyExpiring)} {
			got = append(got, d.ask(waiting))
		}
		if diff := cmp.Diff([]verdict{admitted, admitted, waitForTurn, waitForTurn, waitForTurn}, got); diff != "" {
			t.Errorf("verdicts (-want +got):\n%s", diff)
		}
		for i, want := range []string{"expiring", "new", "renewal"} {
			time.Sleep(999 * time.Millisecond)
			if early := d.wakes(); len(early) != 0 {
				t.Errorf("%q were woken before the second was over", early)
			}
			time.Sleep(time.Millisecond)
			if diff := cmp.Diff([]string{want}, d.wakes()); diff != "" {
				t.Errorf("woken after %d s (-want +got):\n%s", i+1, diff)
			}
			if said := d.ask(place(want, "k", urgencyNew)); said != admitted {
				t.Errorf("%s was woken, and then told %d", want, said)
			}
		}
		time.Sleep(time.Minute)
		if late := d.wakes(); len(late) != 0 {
			t.Errorf("%q were woken for nothing", late)
		}
	})
}

// open makes a key known as good.
func (a *admission) open(key string) {
	g, _ := a.use(ticket{object: objectNamed("opener of " + key), fingerprint: key})
	g.state = gateOpen
}

func TestOneWhoCameLaterAndIsMoreUrgentGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 0.1, 1)
		d.open("k")
		d.ask(place("first", "k", urgencyRenewal))
		d.ask(place("second", "k", urgencyRenewal))
		time.Sleep(5 * time.Second)
		d.ask(place("urgent", "k", urgencyExpiring))
		time.Sleep(5 * time.Second)
		if diff := cmp.Diff([]string{"urgent"}, d.wakes()); diff != "" {
			t.Errorf("woken (-want +got):\n%s", diff)
		}
	})
}

// A new leader knows nothing of the keys. Of the first to ask, one for each key calls, and the others have to wait for its answer, while
// everybody else joins the line.
func TestWhoWaitedForTheFirstAnswerToTheKeyIsNotPutBehindThoseWhoseTokensLiveLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 1, 1)
		expiring := func(name string, left time.Duration) ticket {
			renewal := place(name, "k", urgencyRenewal)
			renewal.expires = time.Now().Add(left)
			return renewal
		}
		probe, first, late := expiring("probe", time.Minute), expiring("first", time.Minute), expiring("late", time.Hour)
		if said := d.ask(probe); said != admitted {
			t.Fatalf("the first to ask was told %d", said)
		}
		if said := d.ask(first); said != waitForKey {
			t.Fatalf("the second was told %d", said)
		}
		d.answered(probe, answerAccepted, 0, time.Now())
		for _, waiting := range []ticket{late, first} { // first was woken, and is at its pass a moment later
			if said := d.ask(waiting); said != waitForTurn {
				t.Fatalf("%s was told %d", waiting.object.Name, said)
			}
		}
		d.wakes()
		for _, want := range []string{"first", "late"} {
			time.Sleep(time.Second)
			if diff := cmp.Diff([]string{want}, d.wakes()); diff != "" {
				t.Errorf("woken (-want +got):\n%s", diff)
			}
		}
	})
}

// A machine that does not keep up with the rate: whoever has a turn waits for a worker, and no urgency helps those that come then.
func TestNoMoreTurnsAreGivenThanTheWorkersKeepUpWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 1000, 1)
		d.open("k")
		for _, name := range []string{"first", "a", "b", "c", "d"} {
			d.ask(place(name, "k", urgencyRenewal))
		}
		wants := func(when string, want ...string) {
			t.Helper()
			time.Sleep(time.Second)
			if diff := cmp.Diff(want, d.wakes()); diff != "" {
				t.Errorf("woken %s (-want +got):\n%s", when, diff)
			}
		}
		wants("before any turn was over", "a", "b")
		d.ask(place("urgent", "k", urgencyExpiring))
		if said, _ := d.admit(place("a", "k", urgencyRenewal), time.Now()); said != admitted {
			t.Errorf("who had a turn was told %d", said)
		}
		wants("while a pass goes on")
		d.passed(objectNamed("a"))
		wants("after the pass", "urgent")
		d.passed(objectNamed("urgent"))
		wants("after a pass that did not take the turn")
		d.leave(objectNamed("b"))
		wants("when one that had a turn wanted it no more", "c")
		time.Sleep(turnTimeout)
		wants("when the turns that nobody took had lapsed", "d")
	})
}

// An API server that is slow, as after an outage: the workers are the limit and not the rate, and whatever waits for them in the controller's
// queue is in no order.
func TestRenewalsBeyondWhatTheWorkersKeepUpWithStandInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 1000, 1000)
		d.open("k")
		renewal := func(name string, left time.Duration) ticket {
			due := place(name, "k", urgencyRenewal)
			due.expires = time.Now().Add(left)
			return due
		}
		var got []verdict
		for _, asks := range []ticket{
			renewal("a", time.Hour), renewal("b", time.Hour), place("new", "k", urgencyNew), renewal("late", time.Hour), renewal("soon", time.Minute),
		} {
			said, _ := d.admit(asks, time.Now()) // and the pass goes on
			got = append(got, said)
		}
		if diff := cmp.Diff([]verdict{admitted, admitted, admitted, waitForTurn, waitForTurn}, got); diff != "" {
			t.Errorf("two renewals, a new token, two more renewals (-want +got):\n%s", diff)
		}
		time.Sleep(time.Second)
		if early := d.wakes(); len(early) != 0 {
			t.Errorf("%q were woken while two were at work", early)
		}
		d.passed(objectNamed("a"))
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"soon"}, d.wakes()); diff != "" {
			t.Errorf("woken after a pass (-want +got):\n%s", diff)
		}
	})
}

func TestSomeWorkersAreLeftToThoseWhoHaveNoTurn(t *testing.T) {
	for workers, want := range map[int]int{1: 1, 2: 1, 3: 2, 4: 3, 8: 6, 32: 24} {
		if got := turnsFor(workers); got != want {
			t.Errorf("%d workers take %d turns, want %d", workers, got, want)
		}
	}
}

func TestWhenAKeyIsRefusedNobodyOfItsOwnTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 0.1, 1)
		d.open("bad")
		d.open("good")
		probe := place("probe", "bad", urgencyExpiring)
		d.ask(probe)
		d.ask(place("one", "bad", urgencyExpiring))
		d.ask(place("two", "bad", urgencyExpiring))
		d.ask(place("other", "good", urgencyRenewal))
		d.answered(probe, answerRefused, 0, time.Now())
		synctest.Wait()
		if diff := cmp.Diff([]string{"one", "two"}, d.wakes()); diff != "" {
			t.Errorf("woken, to tell that the key is refused (-want +got):\n%s", diff)
		}
		for _, name := range []string{"one", "two"} {
			if said := d.ask(place(name, "bad", urgencyExpiring)); said != waitForKey {
				t.Errorf("%s was told %d", name, said)
			}
		}
		time.Sleep(10 * time.Second)
		if diff := cmp.Diff([]string{"other"}, d.wakes()); diff != "" {
			t.Errorf("whose turn came first (-want +got):\n%s", diff)
		}
	})
}

func TestATurnIsNotSpentByOthersAndLapsesWhenNobodyTakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 1, 1)
		d.open("k")
		d.ask(place("first", "k", urgencyNew))
		d.ask(place("second", "k", urgencyNew))
		time.Sleep(time.Second)
		d.wakes() // its turn has come
		if said := d.ask(place("third", "k", urgencyNew)); said != waitForTurn {
			t.Errorf("the third was told %d", said)
		}
		if said := d.ask(place("second", "k", urgencyNew)); said != admitted {
			t.Errorf("the second was told %d", said)
		}
		time.Sleep(time.Second)
		d.wakes()
		time.Sleep(turnTimeout)
		d.ask(place("fourth", "k", urgencyNew)) // takes the place that is free by now
		if said := d.ask(place("third", "k", urgencyNew)); said != waitForTurn {
			t.Errorf("a turn that came a minute ago was taken: %d", said)
		}
	})
}

func TestWhoLeavesIsNeitherWokenNorCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 1, 1)
		d.open("k")
		d.ask(place("first", "k", urgencyNew))
		d.ask(place("leaver", "k", urgencyExpiring))
		d.ask(place("stayer", "k", urgencyNew))
		d.leave(objectNamed("leaver"))
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"stayer"}, d.wakes()); diff != "" {
			t.Errorf("woken (-want +got):\n%s", diff)
		}
	})
}

func TestThoseWhoWaitForAKeyAreWokenByItsAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		what      answer
		wantWoken int
		wantState gateState
	}{
		"a token":          {answerAccepted, 3, gateOpen},
		"a refused key":    {answerRefused, 3, gateRefused},
		"a limit":          {answerLimited, 3, gateRateLimited},
		"no usable answer": {answerNone, 1, gateUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t, 100, 100)
				probe := place("probe", "k", urgencyNew)
				if said := d.ask(probe); said != admitted {
					t.Fatalf("the first was told %d", said)
				}
				for i := range 3 {
					if said := d.ask(place(fmt.Sprint("waiting-", i), "k", urgencyNew)); said != waitForKey {
						t.Errorf("a later one was told %d", said)
					}
				}
				if said := d.ask(place("other", "another key", urgencyNew)); said != admitted {
					t.Errorf("one with another key was told %d", said)
				}
				view := d.answered(probe, test.what, 0, time.Now())
				if view.state != test.wantState {
					t.Errorf("the gate is in state %d, want %d", view.state, test.wantState)
				}
				if got := len(d.wakes()); got != test.wantWoken {
					t.Errorf("%d were woken, want %d", got, test.wantWoken)
				}
			})
		})
	}
}

func TestOfThoseWhoWaitForAKeyTheUrgentGoOnFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 100, 100)
		probe := place("probe", "k", urgencyNew)
		d.ask(probe)
		for _, waiting := range []ticket{place("new", "k", urgencyNew), place("expiring", "k", urgencyExpiring), place("renewal", "k", urgencyRenewal)} {
			d.ask(waiting)
		}
		d.answered(probe, answerAccepted, 0, time.Now())
		if got := len(d.wakes()); got != 3 {
			t.Errorf("%d were woken", got)
		}
		if diff := cmp.Diff([]string{"expiring"}, d.first); diff != "" {
			t.Errorf("who goes before all others (-want +got):\n%s", diff)
		}
	})
}

func TestWhoGoesOnWithAnotherKeyDoesNotWaitForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 100, 100)
		probe := place("probe", "old", urgencyNew)
		d.ask(probe)
		d.ask(place("mover", "old", urgencyNew))
		if said := d.ask(place("mover", "new", urgencyChanged)); said != admitted {
			t.Errorf("with the new key it was told %d", said)
		}
		d.answered(probe, answerAccepted, 0, time.Now())
		if woken := d.wakes(); slices.Contains(woken, "mover") {
			t.Error("it was woken for the old key")
		}
	})
}

func TestAClosedGateSpendsNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 0.001, 2)
		probe := place("probe", "bad", urgencyNew)
		d.ask(probe)
		d.answered(probe, answerRefused, 0, time.Now())
		for i := range 10 {
			if said := d.ask(place(fmt.Sprint(i), "bad", urgencyNew)); said != waitForKey {
				t.Errorf("told %d", said)
			}
		}
		if said := d.ask(place("good", "good", urgencyNew)); said != admitted {
			t.Errorf("those with the refused key have used up the rate: the good one was told %d", said)
		}
	})
}

// What is kept of a key leaves with the last object that uses it.
func TestNothingIsKeptOfKeysThatNoObjectUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 1, 1)
		var objects []ticket
		for i := range 10_000 {
			of := fmt.Sprint(i)
			objects = append(objects,
				ticket{object: types.NamespacedName{Namespace: of, Name: "web"}, fingerprint: of, urgency: urgencyNew},
				ticket{object: types.NamespacedName{Namespace: of, Name: "bot"}, fingerprint: of, urgency: urgencyRefused})
		}
		for _, t := range objects {
			d.ask(t)
		}
		if len(d.gates) != 10_000 {
			t.Fatalf("%d keys are known, want 10000", len(d.gates))
		}
		for _, t := range objects {
			d.forget(t.object)
		}
		if got := len(d.gates) + len(d.gateOf) + len(d.turns) + len(d.line.tickets) + len(d.retries.tickets); got != 0 {
			t.Errorf("%d entries are left", got)
		}
	})
}

func TestAKeyIsForgottenWhenItsObjectsUseAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 100, 100)
		d.ask(place("web", "old", urgencyNew))
		d.ask(place("web", "new", urgencyChanged))
		if _, known := d.gates["old"]; known || len(d.gates) != 1 {
			t.Errorf("%d keys are known, the old one: %v", len(d.gates), known)
		}
	})
}

func TestAKeyThatMayNotBeTriedIsNotForgottenWithTheObjectThatUsedIt(t *testing.T) {
	for name, test := range map[string]struct {
		what    answer
		refused int // answers, a minute apart
		left    time.Duration
	}{
		"limited":                  {answerLimited, 1, 5*time.Minute - 10*time.Second},
		"refused":                  {answerRefused, 1, minProbeWait - 10*time.Second},
		"refused for five minutes": {answerRefused, 6, minProbeWait - 10*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t, 10, 10)
				first, second := place("first", "k", urgencyNew), place("second", "k", urgencyNew)
				for i := range test.refused {
					if i > 0 {
						time.Sleep(time.Minute)
					}
					d.ask(first)
					d.answered(first, test.what, 5*time.Minute, time.Now())
				}
				d.forget(first.object)
				time.Sleep(10 * time.Second)
				if said, gate := d.admit(second, time.Now()); said != waitForKey || time.Until(gate.until) != test.left {
					t.Errorf("it said %v, and the key is tried again at %s, want in %s", said, gate.until, test.left)
				}
				d.forget(second.object)
				time.Sleep(5 * time.Minute)
				d.ask(place("third", "other", urgencyNew))
				d.forget(objectNamed("third"))
				if got := len(d.gates) + len(d.unused) + len(d.gateOf); got != 0 {
					t.Errorf("%d entries remain after the wait", got)
				}
			})
		})
	}
}

// A request that Reactor refused waits for its retry, and then a person corrects it. It must not fall back behind all others.
func TestARequestThatWasCorrectedDoesNotWaitAsARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 1, 1)
		d.open("k")
		d.ask(place("first", "k", urgencyNew))
		d.ask(place("other", "k", urgencyRefused))
		d.ask(place("web", "k", urgencyRefused))
		for i := range 30 {
			d.ask(place(fmt.Sprint("expiring-", i), "k", urgencyExpiring))
		}
		if said := d.ask(place("web", "another", urgencyChanged)); said != waitForTurn {
			t.Fatalf("it was told %d", said)
		}
		time.Sleep(15 * time.Second) // in which a retry is due
		d.mu.Lock()
		defer d.mu.Unlock()
		if got := d.line.tickets[objectNamed("web")]; got.urgency != urgencyChanged || got.fingerprint != "another" {
			t.Errorf("it is queued as %+v", got)
		}
	})
}

// Those that Reactor refused come back after minutes. The ones whose tokens expire first must not have their retry before all others
// each time.
func TestRetriesAreInTheOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 1, 1)
		d.open("k")
		retry := func(name string, left time.Duration) ticket {
			refused := place(name, "k", urgencyRefused)
			refused.expires = time.Now().Add(left)
			return refused
		}
		d.ask(retry("first", time.Hour))
		d.ask(retry("second", time.Hour))
		d.ask(retry("third", time.Minute))
		var order []string
		for range 40 {
			time.Sleep(time.Second)
			order = append(order, d.wakes()...)
		}
		if diff := cmp.Diff([]string{"second", "third"}, order); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}
