package sim

import (
	"context"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// result is what a schedule came to.
type result struct {
	found  []finding
	counts counts
	told   string // the log and the events
}

// simulate plays a schedule.
func simulate(t *testing.T, plan schedule) result {
	t.Helper()
	var came result
	synctest.Test(t, func(*testing.T) {
		ctx, stop := context.WithCancel(context.Background())
		w := newWorld(ctx, plan)
		w.play()
		w.crashAll()
		for _, r := range w.byUser {
			<-r.ended
		}
		stop()
		synctest.Wait()
		w.told.takeAll()
		came = result{w.judge.found, w.judge.counts, w.told.whole.String()}
		came.counts.Virtual, came.counts.Runs = time.Since(bubbleBegin), w.runs
	})
	return came
}

// play plays the schedule of the world, and then wants everything to come right.
func (w *world) play() {
	w.down = true
	w.judge.hinder(everything, noOperator)
	for _, s := range w.plan.Steps {
		w.pass(s.After)
		operationOf(s.Do).do(w, s)
	}
	w.mend()
	const settled = 20 * time.Minute
	w.judge.clearUp(settled)
	w.pass(settled + 10*time.Minute)
	w.rekeyHeld()
	w.judge.wantProgress()
	w.stopSessions()
	w.restartForNothing()
	w.removeAll()
}

// mend ends all that is out of order, and does what people have to do.
func (w *world) mend() {
	w.peace.Store(true)
	w.faults.end()
	w.between.end()
	w.queue.change(func(q *queue) { q.full, q.greedy = time.Time{}, time.Time{} })
	w.mu.Lock()
	w.wrong = nil
	clear(w.lags)
	w.mu.Unlock()
	w.updateFaults()
	w.reactor.SetLifetimes(0, 0)
	w.node.be(func(n *node) { n.lost, n.stuck, n.behind = time.Time{}, false, 0 })
	for _, r := range w.byUser {
		if r != w.leader.Load() {
			r.crash()
		}
	}
	w.down = false
	w.start()
	for _, key := range goodKeys {
		w.reactor.AddKey(key)
	}
	for range goodKeys { // each of them, for those that wait for another one
		for _, name := range keySecrets {
			next := slices.Index(goodKeys, w.keyIn(name)) + 1
			w.putKey(name, goodKeys[next%len(goodKeys)])
		}
		w.pass(time.Minute)
	}
	for _, name := range slices.Concat(tokenNames, crowdNames) {
		w.unblock(step{On: name, Do: "mend"})
		w.editToken(step{On: name, Do: "mend"}, false, func(t *v1alpha1.ReactorToken) { t.Spec.Suspend = nil })
	}
	w.removeTakenTokens()
	for _, name := range sessionNames {
		w.editSession(step{On: name, Do: "mend"}, func(s *v1alpha1.ReactorSession) { s.Spec.Suspend = nil })
	}
}

// rekeyHeld puts another API key for sessions that wait for one: what people put before may have been the one that was refused.
func (w *world) rekeyHeld() {
	for _, name := range sessionNames {
		session := w.session(name)
		if session == nil {
			continue
		}
		if ready := meta.FindStatusCondition(session.Status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.Reason == v1alpha1.ReasonAPIKeyRefused {
			next := slices.Index(goodKeys, w.keyIn(keySecrets[0])) + 1
			w.putKey(keySecrets[0], goodKeys[next%len(goodKeys)])
			w.pass(5 * time.Minute)
		}
	}
}

// stopSessions suspends all sessions, and wants them to have ended a quarter of an hour later.
func (w *world) stopSessions() {
	for _, name := range sessionNames {
		w.editSession(step{On: name, Do: "the end"}, func(s *v1alpha1.ReactorSession) { s.Spec.Suspend = new(true) })
	}
	w.pass(15 * time.Minute)
	w.judge.wantNoPrograms()
}

// restartForNothing restarts the operator, which costs no call to Reactor and no write.
func (w *world) restartForNothing() {
	w.pass(time.Minute)
	before := w.judge.countsNow()
	w.stop()
	w.start()
	w.pass(time.Minute)
	w.judge.wantNothingDone(before, w.judge.countsNow())
}

// removeAll deletes everything, and wants it to be gone.
func (w *world) removeAll() {
	for _, name := range slices.Concat(tokenNames, crowdNames) {
		w.remove(&v1alpha1.ReactorToken{ObjectMeta: objectMeta(name)})
	}
	for _, name := range sessionNames {
		w.remove(&v1alpha1.ReactorSession{ObjectMeta: objectMeta(name)})
	}
	w.judge.strike(everything, "everything is deleted", 2*time.Minute)
	w.pass(5 * time.Minute)
	for kind, list := range map[string]client.ObjectList{"ReactorToken": &v1alpha1.ReactorTokenList{}, "ReactorSession": &v1alpha1.ReactorSessionList{}, "Pod": &corev1.PodList{}} {
		w.judge.wantNone(kind, w.namesIn(list))
	}
	secrets := &corev1.SecretList{}
	w.namesIn(secrets)
	for i := range secrets.Items {
		w.judge.wantNoToken(&secrets.Items[i])
	}
}

// namesIn lists what there is.
func (w *world) namesIn(list client.ObjectList) []string {
	if err := w.people.List(context.Background(), list, client.InNamespace(namespace)); err != nil {
		panic(err)
	}
	return slices.Sorted(maps.Keys(namesOf(list)))
}
