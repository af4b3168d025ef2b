package sim

import (
	"net/http"
	"slices"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// wrongAnswers are answers of Reactor that are wrong until an instant.
type wrongAnswers struct {
	fault emulator.Fault
	until time.Time
}

// answers are the ways in which Reactor answers POST /tokens wrongly, and how long after it answers well again the operator may need.
var answers = map[string]struct {
	fault emulator.Fault
	grace time.Duration
}{
	"401":                         {emulator.Fault{Status: 401}, afterFailure},
	"403":                         {emulator.Fault{Status: 403}, afterFailure},
	"422":                         {emulator.Fault{Status: 422}, afterFailure},
	"429":                         {emulator.Fault{Status: 429}, afterLimit},
	"429 for 40s":                 {emulator.Fault{Status: 429, RetryAfter: 40 * time.Second}, 2 * time.Minute},
	"429 for 5m as a date":        {emulator.Fault{Status: 429, RetryAfter: 5 * time.Minute, RetryAfterAsDate: true}, afterLimit},
	"408":                         {emulator.Fault{Status: 408}, afterFailure},
	"500":                         {emulator.Fault{Status: 500}, afterFailure},
	"503 for 2m":                  {emulator.Fault{Status: 503, RetryAfter: 2 * time.Minute}, afterFailure},
	"a redirect":                  {emulator.Fault{RedirectTo: "https://elsewhere.test/tokens"}, afterFailure},
	"a hang":                      {emulator.Fault{Hang: true}, afterFailure},
	"slowly":                      {emulator.Fault{Latency: 8 * time.Second}, afterFailure},
	"a cut":                       {emulator.Fault{Cut: true}, afterFailure},
	"garbage":                     {emulator.Fault{Body: new("<html>come back later</html>")}, afterFailure},
	"an empty object":             {emulator.Fault{Body: new("{}")}, afterFailure},
	"a huge answer":               {emulator.Fault{PadTo: 2 << 20}, afterFailure},
	"no jwt":                      {emulator.Fault{OmitJWT: true}, afterFailure},
	"no expires_at":               {emulator.Fault{OmitExpiresAt: true}, afterFailure},
	"an expired token":            {emulator.Fault{ExpiresIn: new(-5 * time.Second)}, afterFailure},
	"a token that lives 8s":       {emulator.Fault{ExpiresIn: new(8 * time.Second)}, afterFailure},
	"what it was asked, in a 500": {emulator.Fault{Status: 500, Body: new(`{"error":"no luck with ` + goodKeys[0] + `, nor with eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"}`)}, afterFailure},
}

func answerNames() []string {
	names := make([]string, 0, len(answers))
	for name := range answers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// sessionFaults are the ways in which Reactor answers wrongly about sessions.
var sessionFaults = map[string]emulator.Fault{"500": {Status: 500}, "429": {Status: 429, RetryAfter: 20 * time.Second}, "a hang": {Hang: true}, "a cut": {Cut: true}}

// reactorOperations are what happens at Reactor.
var reactorOperations = []operation{
	{"Reactor answers", 10, func(d dice) step {
		return step{How: d.one(answerNames()...), For: d.between(5*time.Second, 40*time.Minute)}
	}, func(w *world, s step) {
		wrong := answers[s.How]
		grace := wrong.grace
		if wrong.fault.Status == 401 {
			grace = afterRefused(s.For)
		}
		w.answerWrongly(s, grace, wrong.fault)
	}},
	{"Reactor answers about sessions", 3, func(d dice) step {
		return step{On: d.one("POST /sessions", "GET /sessions/{id}", "DELETE /sessions/{id}"), How: d.one("429", "500", "a cut", "a hang"), For: d.between(5*time.Second, 10*time.Minute)}
	}, func(w *world, s step) {
		fault := sessionFaults[s.How]
		fault.Route = s.On
		w.answerWrongly(s, afterFailure, fault)
	}},
	{"Reactor grants at most", 2, lasting(5*time.Minute, time.Hour, "1m", "5m", "1h"), func(w *world, s step) {
		most, err := time.ParseDuration(s.How)
		if err != nil {
			panic(err)
		}
		w.reactor.SetLifetimes(most, most)
		w.later(s.For, func() { w.reactor.SetLifetimes(0, 0) })
	}},
	{"Reactor closes sessions late", 1, lasting(10*time.Minute, 2*time.Hour, "5s", "45s"), func(w *world, s step) {
		late, err := time.ParseDuration(s.How)
		if err != nil {
			panic(err)
		}
		w.reactor.SetSessionTimes(emulator.DefaultReadyAfter, emulator.DefaultReconnectWindow, late)
		w.later(s.For, func() {
			w.reactor.SetSessionTimes(emulator.DefaultReadyAfter, emulator.DefaultReconnectWindow, emulator.DefaultCloseAfter)
		})
	}},
	{"Reactor's clock is set", 1, func(d dice) step { return step{Count: d.IntN(14400) - 7200} }, func(w *world, s step) {
		w.judge.causeForAll(s.Do)
		w.judge.strike(everything, s.Do, afterChange)
		w.setSkew(time.Duration(s.Count) * time.Second)
	}},
}

// afterRefused is how long a key that was refused for a while may wait until it is tried again: the waits double.
func afterRefused(d time.Duration) time.Duration {
	return min(d+firstProbe, longestProbe) + afterChange
}

// answerWrongly adds faults for a while. Those that began earlier have their way first.
func (w *world) answerWrongly(s step, grace time.Duration, faults ...emulator.Fault) {
	w.mu.Lock()
	for _, fault := range faults {
		w.wrong = append(w.wrong, wrongAnswers{fault, time.Now().Add(s.For)})
	}
	w.mu.Unlock()
	if faults[0].Hang || faults[0].Latency > 0 { // calls that hang take the workers of all
		w.during(everything, s, 2*time.Minute, func() {}, nil)
	}
	if faults[0].Status == http.StatusTooManyRequests || faults[0].Page == emulator.PageLimitedJSON { // the key waits, and with it what Reactor refused
		w.during(limited, s, grace, func() {}, nil)
	}
	whole := s
	whole.For += grace // a backoff that began just before
	w.during(atReactor, whole, 0, w.updateFaults, nil)
	w.later(s.For, w.updateFaults)
}

func (w *world) updateFaults() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = slices.DeleteFunc(w.wrong, func(wrong wrongAnswers) bool { return !time.Now().Before(wrong.until) })
	var faults []emulator.Fault
	for _, wrong := range w.wrong {
		faults = append(faults, wrong.fault)
	}
	w.reactor.SetFaults(faults...)
}

// longestTimer is after how long the operator has noticed that its clock jumped, or that it was suspended: its timers did not.
const longestTimer = 16 * time.Minute

// operatorOperations are what happens to the operator and its host.
var operatorOperations = []operation{
	{"start operator", 0, func(dice) step { return step{} }, func(w *world, _ step) { w.down = false; w.start() }},
	{"crash operator", 3, func(dice) step { return step{} }, func(w *world, _ step) { w.crash() }},
	{"restart operator", 2, func(dice) step { return step{} }, func(w *world, _ step) { w.stop(); w.start() }},
	{"stop operator", 1, lasting(time.Second, 30*time.Minute), func(w *world, s step) {
		w.stop()
		w.down = true
		w.pass(s.For)
		w.down = false
		w.start()
	}},
	{"change leader", 2, lasting(time.Second, 40*time.Second), (*world).changeLeader},
}

// hostOperations are what brings the operator to another host, whose clock differs. Count is how many seconds it is ahead.
var hostOperations = []operation{
	{"move operator", 2, func(d dice) step { return step{How: d.one("crash", "stop"), Count: d.IntN(14400) - 7200} }, func(w *world, s step) {
		if s.How == "crash" {
			w.crash()
		} else {
			w.stop()
		}
		w.judge.causeForAll(s.Do)
		w.setHost(&host{ahead: time.Duration(s.Count) * time.Second})
		w.start()
	}},
	{"change leader to another host", 2, func(d dice) step {
		return step{Count: d.IntN(14400) - 7200, For: d.between(time.Second, 40*time.Second)}
	}, func(w *world, s step) {
		if w.leader.Load() != nil {
			w.setHost(&host{ahead: time.Duration(s.Count) * time.Second})
			w.changeLeader(s)
		}
	}},
}

// clockOperations are what happens to the clock of the operator's host.
var clockOperations = []operation{
	{"operator's clock is set", 2, func(d dice) step { return step{Count: d.IntN(14400) - 7200} }, func(w *world, s step) {
		w.judge.causeForAll(s.Do)
		w.jump(s, func() { w.clocks.set(w.hostNow(), time.Duration(s.Count)*time.Second) })
	}},
	{"host is suspended", 1, lasting(time.Minute, 3*time.Hour), func(w *world, s step) {
		w.jump(s, func() { w.clocks.suspend(s.For) })
	}},
}

// jump has a clock jump. That is over when the operator has noticed it, and not sooner: until then it sleeps by a timer that did not jump.
func (w *world) jump(s step, change func()) {
	s.For = longestTimer
	w.during(everything, s, 0, change, nil)
}

// changeLeader starts another operator while the one before goes on for a while, as a leader does that has not noticed yet.
func (w *world) changeLeader(s step) {
	former := w.leader.Load()
	if former == nil {
		return
	}
	w.judge.causeForAll(s.Do) // each of the two may mint once
	w.judge.causeForAll(s.Do)
	w.during(everything, s, operatorStarts, func() { w.leader.Store(w.startRun()) }, func() {
		w.judge.causeForAll(s.Do)
		former.crash()
	})
}
