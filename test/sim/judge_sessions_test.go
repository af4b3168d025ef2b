package sim

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/emulator"
)

// sessionBook is what the judge knows of the programs and of their Reactor sessions.
type sessionBook struct {
	programs []*program
	byID     map[string]*program         // that started a Reactor session, by its id
	accused  map[string][]*machine       // that reported a Reactor session of another program, by its id
	longest  map[types.UID]time.Duration // that people ever allowed a ReactorSession to run; 0: for ever
	endless  map[types.UID]bool
	policies policyBook
	idle     time.Time // since when a session waits for a slot that is free; zero: none does
	quota    time.Time // when Reactor last answered 429 to a program
}

func newSessionBook() sessionBook {
	return sessionBook{byID: map[string]*program{}, accused: map[string][]*machine{}, longest: map[types.UID]time.Duration{}, endless: map[types.UID]bool{},
		policies: newPolicyBook()}
}

// program is one run of a session's container.
type program struct {
	uid          types.UID // of the ReactorSession
	session, pod string
	began, ended time.Time     // in the bubble's time; ended is zero while it lives
	slept        time.Duration // how long the host was suspended meanwhile, or, while it lives, had been before
	byItself     bool          // it exited 0, and nobody had told it to
	keyFile      bool          // it has a token, and not the API key
	uninvited    bool          // a queue gated its pod that its template does not name: it runs even above the limit
	takenAway    bool          // people took its pod away, and with it the id of its Reactor session
	behind       time.Duration
	refused      int // the status with which Reactor refused it a session because of the account, the model or the token; 0: it did not
}

func (p *program) lives() bool { return p.ended.IsZero() }

// ran is how long it ran until now, by a clock that goes on while the host is suspended.
func (p *program) ran(now time.Time, suspended time.Duration) time.Duration {
	if p.lives() {
		return now.Sub(p.began) + suspended - p.slept
	}
	return p.ended.Sub(p.began) + p.slept
}

// programBegins judges the begin of a program.
func (j *judge) programBegins(m *machine) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, getsKey := m.env["REACTOR_API_KEY"] // empty if its Secret is gone
	p := &program{uid: sessionUIDOf(&m.pod), session: sessionNameOf(&m.pod), pod: m.pod.Name, began: time.Now(),
		keyFile: !getsKey, uninvited: m.pod.Annotations[uninvited] != "", behind: m.behind, slept: j.world.clocks.suspendedFor()}
	m.program = p
	j.counts.Programs++
	j.checkTokenOfProgram(p)
	j.checkPace(p)
	j.checkFresh(p)
	running := 1
	for _, other := range j.book.programs {
		switch {
		case other.uid == p.uid && other.lives():
			j.broken(ruleSingle, "pod %s begins while pod %s runs", p.pod, other.pod)
		case other.uid == p.uid && other.pod == p.pod:
			j.broken(ruleSingle, "pod %s begins for the second time", p.pod)
		case other.uid == p.uid && other.byItself && !j.book.endless[p.uid]:
			j.broken(ruleDone, "pod %s begins, and pod %s had done what the session was for", p.pod, other.pod)
		}
		if other.lives() && !other.uninvited {
			running++
		}
	}
	if !p.uninvited && running > sessionsPerKey && j.weather.isFine(time.Now(), everything, nodes) { // a key that is rotated stays in the pool of its predecessor
		j.broken(ruleCapacity, "%d programs run with the key of one Secret", running)
	}
	j.book.programs = append(j.book.programs, p)
}

// sessionStarts notes the id of a Reactor session that a program has started and knows of.
func (j *judge) sessionStarts(m *machine, id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.book.byID[id] = m.program
	j.counts.Sessions++
}

// victimOf is the Reactor session of another program that lives, which a program is about to report as its own; empty when there is none.
func (j *judge) victimOf(m *machine) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var victim string
	for id, p := range j.book.byID {
		if p.uid != m.program.uid && p.lives() && (victim == "" || p.began.Before(j.book.byID[victim].began)) {
			victim = id
		}
	}
	if victim != "" {
		j.book.accused[victim] = append(j.book.accused[victim], m)
	}
	return victim
}

// operatorEnds judges that the operator ends a Reactor session: never one of a program that runs, since no token of an attempt that has ended
// started it. A program that reports such a session is believed only where nothing proves that it lies: its token has expired, is gone, or
// is another one now.
func (j *judge) operatorEnds(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := j.book.byID[id]
	if p == nil || !p.lives() || slices.ContainsFunc(j.book.accused[id], j.isBelieved) {
		return
	}
	j.broken(ruleTheirs, "the operator ends the Reactor session of pod %s, whose program runs", p.pod)
}

// isBelieved reports whether the operator has no proof that a program lies about its Reactor session, or is not the one that runs the cleanup.
func (j *judge) isBelieved(impostor *machine) bool {
	session := j.world.session(impostor.program.session)
	current := session != nil && session.Status.CurrentAttempt != nil && session.Status.CurrentAttempt.PodName == impostor.pod.Name
	if !impostor.hasEnded() || !current {
		return !j.weather.isFine(time.Now(), everything) // such as a former leader, which has not noticed yet that it is none
	}
	secret := j.world.secret(impostor.pod.Name)
	_, err := j.world.reactor.Verify(impostor.used)
	return !impostor.program.keyFile || secret == nil || string(secret.Data["jwt"]) != impostor.used || err != nil
}

// programEnds takes note of the end of a program. One whose pod somebody has deleted may have been told to end, for all that the operator can
// know: the signal may not have reached its node.
func (j *judge) programEnds(m *machine) {
	exit, pod := m.exitOf(), j.world.pod(m.pod.Name)
	told := m.Err() != nil || pod == nil || pod.DeletionTimestamp != nil
	j.mu.Lock()
	defer j.mu.Unlock()
	m.program.ended, m.program.byItself = time.Now(), exit == 0 && !told
	m.program.slept = j.world.clocks.suspendedFor() - m.program.slept
}

// allow notes how long people let a ReactorSession run, and whether it begins again after success.
func (j *judge) allow(session *v1alpha1.ReactorSession) {
	j.mu.Lock()
	defer j.mu.Unlock()
	limit, known := j.book.longest[session.UID]
	wanted := session.Spec.MaxDuration.Std()
	if !known || wanted == 0 || limit != 0 && wanted > limit {
		j.book.longest[session.UID] = wanted
	}
	if session.Spec.RestartPolicy == v1alpha1.RestartAlways {
		j.book.endless[session.UID] = true
	}
}

// endedBound is how long after its program's end a Reactor session is open at the most: the operator sees to it for 5 minutes. What was
// out of order then may have kept it from that.
const endedBound = 6 * time.Minute

// checkSessions judges the Reactor sessions.
func (j *judge) checkSessions() {
	open := map[types.UID]string{}
	for _, s := range j.world.reactor.Ledger().Open() {
		p := j.book.byID[s.ID]
		if p == nil { // its program was never told its id: only Reactor can end it
			continue
		}
		if other := open[p.uid]; other != "" && j.couldSeeTo(p) && j.couldSeeTo(j.book.byID[other]) {
			j.broken(ruleSingle, "two Reactor sessions of %s are open: of pod %s and of pod %s", p.session, j.book.byID[other].pod, p.pod)
		}
		open[p.uid] = s.ID
		if !p.lives() && time.Since(p.ended) > endedBound && j.couldSeeTo(p) {
			j.broken(ruleEnded, "the Reactor session of pod %s is open %s after its end", p.pod, time.Since(p.ended))
		}
		j.checkBill(p, s)
	}
	j.checkRunning()
	j.checkQueue()
	j.checkSessionTruth()
}

// takenAway notes that people took a pod away. How its program ended is known to an operator that saw it, and to no other:
//
//  1. A program exits with code 0. The operator sees that, and asks Reactor whether its session is over. Reactor does not answer.
//  2. The operator is restarted. Status does not list the outcome before the cleanup is over, so it is in the pod alone.
//  3. A client removes the finalizers of the pod, and deletes it, before the next process reads it.
func (j *judge) takenAway(pod string) {
	const noticed = 30 * time.Second
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	for _, p := range j.book.programs {
		if p.pod != pod {
			continue
		}
		p.takenAway = true
		p.byItself = p.byItself && now.Sub(p.ended) > noticed && j.weather.wasFine(p.ended, now, everything)
	}
}

// couldSeeTo reports whether nothing kept the operator from seeing to a program's Reactor session.
func (j *judge) couldSeeTo(p *program) bool {
	if p.takenAway {
		return false
	}
	until := time.Now()
	if !p.lives() {
		until = p.ended.Add(endedBound)
	}
	return j.weather.wasFine(p.began, until, everything, atReactor, ofKey(keySecrets[0]), nodes)
}

// checkBill judges what a Reactor session costs that has an outer bound.
func (j *judge) checkBill(p *program, s emulator.Session) {
	const margin = 7 * time.Minute
	if limit := j.book.longest[p.uid]; limit > 0 && p.keyFile && s.Billed > limit+margin {
		j.broken(ruleBounded, "the Reactor session of pod %s is open for %s, and %s may run for %s", p.pod, s.Billed, p.session, limit)
	}
}

// checkRunning judges how long the programs of each session ran, all in all. Nobody can stop a program on a lost node:
//
//  1. A node is lost shortly before the time of a session is over. The program goes on.
//  2. The operator deletes the pod, and no kubelet reads that. The backstop in the pod is that kubelet's to enforce.
//  3. The node is back after half an hour, and ends the program.
func (j *judge) checkRunning() {
	now, ran := time.Now(), map[types.UID]time.Duration{}
	slack := map[types.UID]time.Duration{}
	for _, p := range j.book.programs { // by the bubble's time: nobody can stop what is suspended
		until := now
		if !p.lives() {
			until = p.ended
		}
		over := p.began.Add(max(j.book.longest[p.uid]-ran[p.uid], 0)) // when it is to be stopped
		ran[p.uid] += until.Sub(p.began)
		slack[p.uid] += 2*tick + 2*time.Second + p.behind + j.weather.lasted(over, until, nodeLost)
		if !j.weather.wasFine(p.began, now, everything, nodes) { // then the kubelet ends it
			slack[p.uid] += 12 * time.Minute
		}
	}
	for uid, total := range ran {
		if limit := j.book.longest[uid]; limit > 0 && total > limit+defaultGrace+slack[uid] {
			j.broken(ruleBounded, "a session that may run for %s has run for %s", limit, total)
		}
	}
}

// checkSessionTruth compares what status tells with what runs.
func (j *judge) checkSessionTruth() {
	if !j.weather.isFine(time.Now(), everything, nodes) {
		return
	}
	sessions := &v1alpha1.ReactorSessionList{}
	if err := j.world.people.List(context.Background(), sessions, client.InNamespace(namespace)); err != nil {
		return
	}
	for i := range sessions.Items {
		session := &sessions.Items[i]
		j.checkCleanup(session)
		ready := meta.FindStatusCondition(session.Status.Conditions, v1alpha1.ConditionReady)
		j.checkPolicies(session, ready)
		if ready == nil || !j.weather.isFine(time.Now(), ofSession(session.Name)) {
			continue
		}
		j.checkRefused(session)
		if slices.Contains(waitsUntil, ready.Reason) && session.Status.NextAttemptTime == nil {
			j.broken(ruleTruth, "session %s waits, and does not tell until when", session.Name)
		}
		running := ready.Reason == v1alpha1.ReasonRunning
		if lives := j.livesFor(session.UID, 30*time.Second); running && lives == 0 {
			j.broken(ruleTruth, "session %s is Running, and no program of it is", session.Name)
		} else if !running && lives == 1 && ready.Reason != v1alpha1.ReasonStopping {
			j.broken(ruleTruth, "session %s is %s, and a program of it runs", session.Name, ready.Reason)
		}
	}
}

// checkCleanup judges what status reports of the Reactor session of the attempt that ended last, whatever answered the operator.
func (j *judge) checkCleanup(session *v1alpha1.ReactorSession) {
	if len(session.Status.RecentAttempts) == 0 {
		return
	}
	ended := session.Status.RecentAttempts[0]
	if ended.Cleanup != v1alpha1.CleanupAlreadyOver && ended.Cleanup != v1alpha1.CleanupEnded {
		return
	}
	var last *program
	for _, p := range j.book.programs {
		if p.uid == session.UID && (session.Status.CurrentAttempt == nil || session.Status.CurrentAttempt.PodName != p.pod) {
			last = p
		}
	}
	for _, open := range j.world.reactor.Ledger().Open() {
		if last != nil && j.book.byID[open.ID] == last && !last.lives() && !last.takenAway {
			j.broken(ruleTruth, "session %s reports %s for pod %s, and its Reactor session is open", session.Name, ended.Cleanup, last.pod)
		}
	}
}

// livesFor is 1 when a program of the session lives for so long, 0 when none has for so long, and -1 when that has just changed.
func (j *judge) livesFor(uid types.UID, d time.Duration) int {
	state := 0
	for _, p := range j.book.programs {
		switch {
		case p.uid != uid:
		case time.Since(p.began) < d, !p.lives() && time.Since(p.ended) < d:
			return -1
		case p.lives():
			state = 1
		}
	}
	return state
}

// askedToEnd notes that people delete a pod.
func (j *judge) askedToEnd(pod string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.tie(pod)
}

// tie notes that a pod is asked to end. Instants have whole seconds in Kubernetes: of a program that ended by itself in the same one nobody can
// know that.
func (j *judge) tie(pod string) {
	for _, p := range j.book.programs {
		if p.pod == pod && !p.lives() && p.ended.Unix() == time.Now().Unix() {
			p.byItself = false
		}
	}
}

// checkPodStop judges that the operator deletes a pod, or lowers its deadline. One whose program runs is stopped when people stop the
// session, or its time is over, or it is a second one.
func (j *judge) checkPodStop(pod *corev1.Pod) {
	j.tie(pod.Name)
	runs := false
	for _, p := range j.book.programs {
		runs = runs || p.pod == pod.Name && p.lives() && time.Since(p.began) > 2*tick
	}
	if !runs || pod.DeletionTimestamp != nil {
		return
	}
	session := j.world.session(sessionNameOf(pod))
	uid := sessionUIDOf(pod)
	if session == nil || session.UID != uid || session.DeletionTimestamp != nil || session.Spec.Suspended() {
		return
	}
	var total, behind, current time.Duration
	takenAway := false
	for _, p := range j.book.programs {
		if p.uid == uid {
			current = p.ran(time.Now(), j.world.clocks.suspendedFor())
			total += current
			behind += p.behind + 2*tick + j.aheadFor(p)
			takenAway = takenAway || p.takenAway
		}
	}
	if takenAway { // it counts until that is noticed
		total = max(total, time.Duration(session.Status.RunningSeconds)*time.Second+current)
	}
	stray := session.Status.CurrentAttempt == nil || session.Status.CurrentAttempt.PodName != pod.Name
	used := session.Spec.MaxDuration.Std() > 0 && total+behind+5*time.Second >= session.Spec.MaxDuration.Std()
	if !stray && !used && j.weather.isFine(time.Now(), everything, ofSession(session.Name)) {
		j.broken(rulePods, "pod %s is stopped, and nobody asked for it", pod.Name)
	}
}

// aheadFor is how much too long the operator may think that a program has run, because the clock of its host is ahead. Only a run that was
// not there when the program began has to compare its own clock with the node's.
func (j *judge) aheadFor(p *program) time.Duration {
	leader := j.world.leader.Load()
	if leader == nil || p.began.After(leader.began) {
		return 0
	}
	return max(j.world.clocks.aheadOf(leader.host), 0)
}

// checkPodWrite judges what the operator changes of a pod that lives, and that nobody deletes: its deadline, to stop it, and the marks by which
// it finds it, which somebody may have taken off. The finalizer stays, or what the pod comes to could be lost.
func (j *judge) checkPodWrite(before, after *corev1.Pod) {
	if before.DeletionTimestamp != nil || isOver(before) || after == nil { // when it is gone, people took it away at the same instant
		return
	}
	if slices.Contains(before.Finalizers, attempts.TrackingFinalizer) && !slices.Contains(after.Finalizers, attempts.TrackingFinalizer) {
		j.broken(rulePods, "pod %s is let go of while it lives", before.Name)
		return
	}
	if was, is := before.Spec.ActiveDeadlineSeconds, after.Spec.ActiveDeadlineSeconds; is != nil && *is == 1 && (was == nil || *was > 1) {
		j.checkPodStop(before)
		after = after.DeepCopy()
		after.Spec.ActiveDeadlineSeconds = was
	}
	if before.Spec.NodeName == "" && after.Spec.NodeName != "" { // the scheduler bound it after the operator removed its gate
		after = after.DeepCopy()
		after.Spec.NodeName = ""
	}
	if diff := cmp.Diff(theTemplates(before), theTemplates(after), cmpopts.EquateEmpty()); diff != "" {
		j.broken(rulePods, "pod %s is changed while it lives: %s", before.Name, diff)
	}
}

// theTemplates is what of a pod is its template's, and nobody's to change.
func theTemplates(pod *corev1.Pod) *corev1.Pod {
	pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: maps.Clone(pod.Labels), Annotations: maps.Clone(pod.Annotations)}, Spec: pod.Spec}
	pod.Spec.SchedulingGates = slices.DeleteFunc(slices.Clone(pod.Spec.SchedulingGates), func(gate corev1.PodSchedulingGate) bool { return gate.Name == attempts.TokenGate })
	delete(pod.Labels, attempts.SessionUIDLabel)
	delete(pod.Labels, attempts.AttemptLabel)
	delete(pod.Annotations, attempts.GatedAnnotation)
	return pod
}

func ofSession(name string) string { return "session " + name }
