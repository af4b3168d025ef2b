package integration

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/test/infra/expect"
)

// grantLease gives the rights that a lease in the world's namespace needs.
func (w *world) grantLease() {
	w.t.Helper()
	for _, object := range render(w.t, "rbac") {
		if !strings.HasPrefix(object.GetName(), operatorName+"-leader-election") {
			continue
		}
		object.SetNamespace(w.namespace)
		if err := w.kube.Create(w.t.Context(), object); err != nil {
			w.t.Fatal(err)
		}
	}
}

// leads tells whether this process holds the lease.
func (o *process) leads() error {
	text, err := o.scrape()
	if err != nil {
		return err
	}
	if sum(text, "leader_election_master_status") != 1 {
		return errors.New("it does not lead")
	}
	return nil
}

func TestOfTwoReplicasOnlyTheLeaderMintsAndTheOtherTakesOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.grantLease()
	elect := []string{"--leader-elect", "--leader-election-namespace=" + w.namespace}
	leader := w.start(elect...)
	expect.Eventually(t, "the first to lead", leader.leads)
	standby := w.start(elect...)
	for i := range 5 {
		name := fmt.Sprintf("web-%d", i)
		w.create(name)
		w.waitUntilReady(name)
	}
	w.settle(leader)
	if err := standby.leads(); err == nil {
		t.Error("both lead")
	}
	if passes := standby.passes(); passes != 0 {
		t.Errorf("the replica that stands by made %d passes", passes)
	}
	text, err := standby.scrape()
	if err != nil || sum(text, "reactor_token_ready") != 0 || sum(text, "reactor_tokens") != 0 {
		t.Errorf("the replica that stands by exports the state of tokens: %v", err)
	}
	if mints := w.mints(); mints != 5 {
		t.Errorf("%d mints for 5 tokens", mints)
	}

	leader.terminate()
	if code := leader.waitForExit(); code != 0 {
		t.Errorf("the leader ended with %d", code)
	}
	expect.Eventually(t, "the other to lead", standby.leads)
	standby.waitUntilIdle(5)
	w.settle(standby)
	if mints := w.mints(); mints != 5 {
		t.Errorf("%d mints for 5 tokens, after the other took over", mints)
	}
	secret := w.secret("web-0")
	w.requestRenewal("web-0", "now")
	w.waitForAnother("web-0", idOf(secret))
	for _, replica := range []*process{leader, standby} {
		replica.checkLogFor(forbidden)
	}
}

func TestAStopFinishesTheMintThatIsInFlightAndBeginsNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	call := w.reactor.stopNext(t, func(r request) bool { return r.path == "/tokens" })
	w.create("web")
	call.waitUntilReached("the call to Reactor")
	w.create("later") // with the same key, which nobody knows to be good yet: it waits for the answer
	w.fence()
	o.terminate()
	expect.Eventually(t, "the operator to stop", func() error {
		if !strings.Contains(o.said.String(), "Stopping and waiting for") {
			return errors.New("it does not say so")
		}
		return nil
	})
	call.goOn(letPass)
	if code := o.waitForExit(); code != 0 {
		t.Errorf("the operator ended with %d", code)
	}
	w.waitUntilReady("web")
	if _, err := w.find("later"); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("a Secret was written after the stop: %v", err)
	}
	if calls := len(w.reactor.Ledger().Calls); calls != 1 {
		t.Errorf("%d calls to Reactor", calls)
	}
	w.start()
	w.waitUntilReady("later")
	if mints := w.mints(); mints != 2 {
		t.Errorf("%d mints for two tokens", mints)
	}
}

func TestAStopFinishesTheWriteThatIsInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.start()
	write := w.api.stopNext(t, writeOf(http.MethodPost, "secrets"))
	w.create("web")
	write.waitUntilReached("the write of the token")
	o.terminate()
	write.goOn(letPass)
	if code := o.waitForExit(); code != 0 {
		t.Errorf("the operator ended with %d", code)
	}
	w.waitUntilReady("web")
}
