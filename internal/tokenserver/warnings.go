package tokenserver

import (
	"sync"
	"time"
)

// warningInterval is the minimum time between two warnings about refusals with the same code.
const warningInterval = time.Minute

// warnings limits the warnings about refusals. Every client can cause refusals with one code, for example while the server is busy. With a log
// line for each, the log would grow as fast as clients send requests.
type warnings struct {
	mu     sync.Mutex
	byCode map[string]*codeWarnings // the set of codes is fixed
}

// codeWarnings is the state of one code.
type codeWarnings struct {
	next      time.Time // when the next warning is allowed
	notLogged int       // refusals since the last warning
}

// due reports whether to log a refusal with this code as a warning, and how many refusals were not logged since the last warning.
func (w *warnings) due(code string, now time.Time) (notLogged int, due bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byCode == nil {
		w.byCode = map[string]*codeWarnings{}
	}
	if w.byCode[code] == nil {
		w.byCode[code] = &codeWarnings{}
	}
	state := w.byCode[code]
	if now.Before(state.next) {
		state.notLogged++
		return 0, false
	}
	notLogged, state.notLogged, state.next = state.notLogged, 0, now.Add(warningInterval)
	return notLogged, true
}
