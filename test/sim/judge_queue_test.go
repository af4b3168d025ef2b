package sim

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
)

// idleBound is how long a session may wait for a slot that is free: two others may each hold it for two minutes while their tokens are requested.
const idleBound = 7 * time.Minute

// holdsSlot reports whether a session holds a slot: its pod may run, or has run and its Reactor session is being cleaned up.
func (j *judge) holdsSlot(session *v1alpha1.ReactorSession) bool {
	attempt := session.Status.CurrentAttempt
	if attempt == nil {
		return false
	}
	pod := j.world.pod(attempt.PodName)
	return pod != nil && len(pod.Spec.SchedulingGates) == 0
}

// checkQueue judges what waits: in a queue, and for a slot.
func (j *judge) checkQueue() {
	sessions := &v1alpha1.ReactorSessionList{}
	if err := j.world.people.List(context.Background(), sessions, client.InNamespace(namespace)); err != nil {
		return
	}
	busy, waiting := 0, ""
	for i := range sessions.Items {
		session := &sessions.Items[i]
		j.checkQueued(session)
		if j.holdsSlot(session) {
			busy++
		}
		ready := meta.FindStatusCondition(session.Status.Conditions, v1alpha1.ConditionReady)
		if ready != nil && ready.Reason == v1alpha1.ReasonWaitingForCapacity && session.DeletionTimestamp == nil {
			waiting = session.Name
		}
	}
	slots := sessionsPerKey
	if time.Since(j.book.quota) < quotaLasts { // a quota that a program reports may leave one slot
		slots = 1
	}
	if waiting == "" || busy >= slots || !j.weather.isFine(time.Now(), everything, nodes) {
		j.book.idle = time.Time{}
		return
	}
	if j.book.idle.IsZero() {
		j.book.idle = time.Now()
	}
	if idle := time.Since(j.book.idle); idle > idleBound {
		j.broken(ruleIdle, "session %s waits for a slot, and for %s at most %d of %d sessions have held one", waiting, idle, busy, slots)
	}
}

// checkQueued judges a session whose pod waits in a queue behind the operator's own gate. Gates are only ever removed: whatever the operator knows of
// the pod is too old in one direction only. The exception is a pod that is created twice:
//
//  1. A queue admits the pod, and the operator creates its ReactorToken. The gate of the operator stays until there is a token.
//  2. A client removes the finalizers of the pod, and deletes it. Its program never ran, so the attempt continues with another pod of that name.
//  3. The queue gates that pod. The ReactorToken of the attempt exists, and the operator deletes it.
func (j *judge) checkQueued(session *v1alpha1.ReactorSession) {
	attempt := session.Status.CurrentAttempt
	if attempt == nil || attempt.TokenName == "" {
		return
	}
	pod := j.world.pod(attempt.PodName)
	if pod == nil || !hasGate(pod, queueGate) || !hasGate(pod, attempts.TokenGate) {
		return
	}
	if token := j.world.token(attempt.TokenName); token != nil && !token.CreationTimestamp.Before(&pod.CreationTimestamp) {
		j.broken(ruleQueued, "pod %s waits in a queue, and there is a token for it", pod.Name)
	}
}

func hasGate(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.SchedulingGates, func(gate corev1.PodSchedulingGate) bool { return gate.Name == name })
}

// checkTokenRequest judges that the operator creates the ReactorToken of a session's attempt: it does so for a session that has a slot.
func (j *judge) checkTokenRequest(name string) {
	running := 0
	for _, p := range j.book.programs {
		if p.lives() && !p.uninvited && !p.takenAway {
			running++
		}
	}
	if running >= sessionsPerKey && j.weather.isFine(time.Now(), everything, nodes, ofKey(keySecrets[0])) {
		j.broken(ruleCapacity, "ReactorToken %s is created, and %d programs run with the key of its Secret", name, running)
	}
}

// checkFresh judges the token that a program begins with: it lasts, or it is renewed.
func (j *judge) checkFresh(p *program) {
	leader := j.world.leader.Load()
	if !p.keyFile || leader == nil || !j.weather.isFine(time.Now(), everything, nodes, ofSession(p.session)) {
		return
	}
	token, secret := j.world.token(p.pod), j.world.secret(p.pod)
	claims, ok := claimsIn(secret)
	if !ok {
		j.broken(ruleFresh, "pod %s begins without a token", p.pod)
		return
	}
	const clocks = time.Minute
	left, limit := claims.ExpiresAt.Sub(j.world.reactor.Now()), j.book.longest[p.uid]
	renewed := token != nil && !token.Spec.Suspended()
	couldRenew := j.weather.isFine(time.Now(), atReactor, limited, probes, ofKey(keySecrets[0]))
	switch {
	case p.uninvited && !couldRenew:
	case j.world.clocks.aheadOf(leader.host).Abs() > clocks || j.world.skewNow().Abs() > clocks:
	case left <= 0:
		j.broken(ruleFresh, "pod %s begins with a token that expired %s ago", p.pod, -left)
	case !renewed && token != nil && limit > 0 && left < limit-j.ranBefore(p):
		j.broken(ruleFresh, "pod %s begins with a token that expires in %s and is not renewed, and may run for %s", p.pod, left, limit-j.ranBefore(p))
	}
}

// ranBefore is how long the earlier programs of a session ran.
func (j *judge) ranBefore(p *program) time.Duration {
	var ran time.Duration
	for _, other := range j.book.programs {
		if other.uid == p.uid && other != p {
			ran += other.ended.Sub(other.began)
		}
	}
	return ran
}
