package tokenserver

import (
	"sync"
	"time"
)

// warningEvery is how often the log warns of refusals with the same code.
const warningEvery = time.Minute

// warnings bounds the warnings about refusals. Many requests are refused for one reason, such as a busy server, and anybody can send them:
// with a line for each, the log would grow as fast as a client can ask.
type warnings struct {
	mu    sync.Mutex
	codes map[string]*warned // there is a fixed set of codes
}

// warned is what is known of one code.
type warned struct {
	next      time.Time // when the next warning may be written
	notLogged int       // refusals since the last warning
}

// due reports whether a refusal with this code is to be written as a warning, and how many there were since the last warning.
func (w *warnings) due(code string, now time.Time) (notLogged int, due bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.codes == nil {
		w.codes = map[string]*warned{}
	}
	if w.codes[code] == nil {
		w.codes[code] = &warned{}
	}
	state := w.codes[code]
	if now.Before(state.next) {
		state.notLogged++
		return 0, false
	}
	notLogged, state.notLogged, state.next = state.notLogged, 0, now.Add(warningEvery)
	return notLogged, true
}
