package sim

import (
	"slices"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// sessionRefusals are the ways in which Reactor refuses a session because of the account, the model or the token.
var sessionRefusals = []string{
	string(emulator.RefusalCreditsDepleted), string(emulator.RefusalBillingNotSetUp), string(emulator.RefusalNoCapacity), string(emulator.RefusalConcurrent),
	string(emulator.RefusalPerModel), string(emulator.RefusalRate), string(emulator.RefusalTokenUsedUp),
}

// refusalOperations are what Reactor refuses to programs, which report it as an SDK gives it. Nothing is out of order for the operator then.
var refusalOperations = []operation{
	{"Reactor refuses sessions", 3, lasting(10*time.Second, time.Hour, sessionRefusals...), func(w *world, s step) {
		refused := emulator.Fault{Route: "POST /sessions", Refusal: emulator.Refusal(s.How)}
		w.mu.Lock()
		w.wrong = append(w.wrong, wrongAnswers{refused, time.Now().Add(s.For)})
		w.mu.Unlock()
		w.updateFaults()
		w.later(s.For, w.updateFaults)
	}},
	{"Reactor answers 404 once", 2, func(dice) step { return step{} }, func(w *world, _ step) {
		once := wrongAnswers{emulator.Fault{Route: "GET /sessions/{id}", Status: 404, Times: 1}, time.Now().Add(time.Hour)}
		w.mu.Lock()
		w.wrong = slices.Insert(w.wrong, 0, once)
		w.mu.Unlock()
		w.updateFaults()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.wrong = slices.DeleteFunc(w.wrong, func(wrong wrongAnswers) bool { return wrong == once }) // it is not set again
	}},
}
