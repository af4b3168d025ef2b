package sim

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// clearUp takes back all that was out of order: from now on the operator has so long to put everything right.
func (j *judge) clearUp(settled time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	for i := range j.weather.spells {
		s := &j.weather.spells[i]
		if s.settled.IsZero() {
			s.over = now
		}
		if s.settled.IsZero() || s.settled.After(now) {
			s.settled = now.Add(settled)
		}
	}
	j.weather.strike(now, everything, "what there was", settled)
}

// patienceWithSessions is how long ago a session that may run has begun its last attempt at the most.
const patienceWithSessions = 30 * time.Minute

// wantProgress wants every session that may run to run, or to have run a short while ago.
func (j *judge) wantProgress() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, name := range sessionNames {
		session := j.world.session(name)
		if session == nil || session.DeletionTimestamp != nil || j.ranLately(session) {
			continue
		}
		conditions := session.Status.Conditions
		ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
		over := meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionComplete) || meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionFailed)
		waits := []string{v1alpha1.ReasonWaitingForCapacity, v1alpha1.ReasonCreditsDepleted, v1alpha1.ReasonBillingNotSetUp} // the last two for an hour at the most
		if over || ready != nil && slices.Contains(waits, ready.Reason) {
			continue
		}
		text := "it has no status"
		if ready != nil {
			text = ready.Reason + ": " + ready.Message
		}
		j.broken(ruleRest, "session %s does not come to run: %s", name, text)
	}
}

func (j *judge) ranLately(session *v1alpha1.ReactorSession) bool {
	return slices.ContainsFunc(j.book.programs, func(p *program) bool {
		return p.uid == session.UID && (p.lives() || time.Since(p.began) < patienceWithSessions)
	})
}

// wantNoPrograms wants all programs to have ended, and the Reactor sessions of those that told their ids.
func (j *judge) wantNoPrograms() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.book.programs {
		if p.lives() {
			j.broken(ruleEnded, "pod %s runs a quarter of an hour after its session was suspended", p.pod)
		}
	}
	for _, s := range j.world.reactor.Ledger().Open() {
		if p := j.book.byID[s.ID]; p != nil && j.couldSeeTo(p) {
			j.broken(ruleEnded, "the Reactor session of pod %s is left open", p.pod)
		}
	}
}

func (j *judge) countsNow() counts {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.counts
}

// wantNothingDone judges a restart, by what came of it. A renewal that was due meanwhile may cost a call, and five writes: two of the Secret, if
// another writer owns what is in it, and of the status, the restart of what uses it, and the status again. Where the host's clock is ahead, the
// other tokens may cost two writes each:
//
//  1. The clock is 49 minutes ahead. The process that ends had measured that, and the next one has not.
//  2. By its clock, all tokens have expired. One is renewed. Another one waits for the first answer to the key, and reports that it has expired.
//  3. The answer shows how far the clock is ahead. The other token reports that it is valid.
func (j *judge) wantNothingDone(before, after counts) {
	j.mu.Lock()
	defer j.mu.Unlock()
	mints, calls, writes := after.Mints-before.Mints, after.Calls-before.Calls, after.Writes-before.Writes
	most := 5 * mints
	if leader := j.world.leader.Load(); mints > 0 && leader != nil && j.world.clocks.aheadOf(leader.host) > 0 {
		most += 2 * max(len(j.world.namesIn(&v1alpha1.ReactorTokenList{}))-mints, 0)
	}
	if calls > mints || writes > most {
		j.broken(ruleDone, "a restart costs %d writes and %d calls to Reactor, and %d renewals were due", writes, calls, mints)
	}
}

func (j *judge) wantNone(kind string, names []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(names) > 0 {
		j.broken(ruleRest, "everything was deleted, and of kind %s there is %v", kind, names)
	}
}

// wantNoToken wants no token in a Secret after all ReactorTokens are gone, unless people have made that Secret theirs.
func (j *judge) wantNoToken(secret *corev1.Secret) {
	j.mu.Lock()
	defer j.mu.Unlock()
	kept := j.writes.disowned[secret.UID] && len(secret.OwnerReferences) == 0
	if _, has := secret.Data["jwt"]; has && !kept {
		j.broken(ruleRest, "everything was deleted, and Secret %s holds a token", secret.Name)
	}
}

func namesOf(list client.ObjectList) map[string]bool {
	names := map[string]bool{}
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		names[item.(client.Object).GetName()] = true
		return nil
	})
	return names
}
