package sim

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

const (
	// unpaidWait is how long the operator waits at the least after Reactor refused a session because nobody paid, less what clocks round.
	unpaidWait = 15*time.Minute - 10*time.Second
	// slotIsFree is how long a slot may be free before the session that waits for it has it.
	slotIsFree = 2 * time.Minute
)

// refused notes that Reactor refused a session to a program: 402, or 429.
func (j *judge) refused(m *machine, status int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m.program.refused = status
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
			if attempt && p.refused != 0 && ended.Class == v1alpha1.ClassCounted {
				j.broken(ruleRefused, "attempt %d of session %s is %s, and Reactor answered %d to its program", ended.Number, session.Name, ended.Reason, p.refused)
			}
		}
	}
}

// waitsInVain lists the sessions that wait for capacity while fewer of them have a pod than there may be.
func (j *judge) waitsInVain() map[string]bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	holders, waiting := 0, map[string]bool{}
	for _, name := range sessionNames {
		session := j.world.session(name)
		if session == nil {
			continue
		}
		if attempt := session.Status.CurrentAttempt; attempt != nil && attempt.PodUID != "" {
			holders++
		}
		ready := meta.FindStatusCondition(session.Status.Conditions, v1alpha1.ConditionReady)
		if ready != nil && ready.Reason == v1alpha1.ReasonWaitingForCapacity {
			waiting[name] = true
		}
	}
	if holders >= sessionsPerKey {
		return nil
	}
	return waiting
}

// wantCapacityUsed wants no session to wait for a slot that is free, long after the last quota was reported.
func (w *world) wantCapacityUsed() {
	before := w.judge.waitsInVain()
	if len(before) == 0 {
		return
	}
	w.pass(slotIsFree)
	after := w.judge.waitsInVain()
	w.judge.mu.Lock()
	defer w.judge.mu.Unlock()
	for name := range before {
		if after[name] {
			w.judge.broken(ruleCapacity, "session %s waits for capacity, and there is some", name)
		}
	}
}
