package sim

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

const (
	// unpaidWait is how long the operator waits at the least after Reactor refused a session because nobody paid, less what clocks round.
	unpaidWait = 15*time.Minute - 10*time.Second
	// quotaLasts is how long a quota that a program reported may lower the limit of the operator: the attempt's end is written down within 6 minutes,
	// and the limit is raised by one 5 minutes after that.
	quotaLasts = 12 * time.Minute
)

// refused notes that Reactor refused a session to a program: 402, or 429.
func (j *judge) refused(m *machine, status int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m.program.refused = status
	if status == http.StatusTooManyRequests {
		j.book.quota = time.Now()
	}
}

// checkPace judges that a program begins after one of the same session that was refused because nobody paid.
func (j *judge) checkPace(p *program) {
	var last *program
	for _, other := range j.book.programs {
		if other.uid == p.uid {
			last = other
		}
	}
	if last == nil || last.refused != http.StatusPaymentRequired || last.lives() || last.takenAway {
		return
	}
	if waited := time.Since(last.ended); waited < unpaidWait && j.weather.wasFine(last.began, time.Now(), everything, nodes, ofSession(p.session)) {
		j.broken(ruleRefused, "pod %s begins %s after pod %s, to which Reactor answered 402", p.pod, waited, last.pod)
	}
}

// checkRefused judges that no attempt counts as a failure of its program which Reactor refused a session.
func (j *judge) checkRefused(session *v1alpha1.ReactorSession) {
	for _, ended := range session.Status.RecentAttempts {
		for _, p := range j.book.programs {
			attempt := p.uid == session.UID && strings.HasSuffix(p.pod, fmt.Sprintf("-%d", ended.Number))
			if attempt && p.refused != 0 && ended.Class == v1alpha1.ClassFailed {
				j.broken(ruleRefused, "attempt %d of session %s is %s, and Reactor answered %d to its program", ended.Number, session.Name, ended.Reason, p.refused)
			}
		}
	}
}
