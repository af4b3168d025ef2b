package sim

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
)

// afterStop is how long a session's status may be on its way after people changed it: a grace period and a clean-up.
const afterStop = 2 * time.Minute

// sessionOperations are what happens to ReactorSessions and their pods.
var sessionOperations = []operation{
	{"create session", 4, func(d dice) step { return step{On: d.one(sessionNames...), How: d.one(sessionForms...)} }, func(w *world, s step) {
		session := newSession(s.On, s.How)
		if w.create(session) {
			w.judge.allow(session)
		}
	}},
	{"delete session", 2, onSession, func(w *world, s step) {
		w.judge.strike(ofSession(s.On), s.Do, afterStop)
		w.remove(&v1alpha1.ReactorSession{ObjectMeta: objectMeta(s.On)})
	}},
	{"suspend session", 2, onSession, func(w *world, s step) {
		w.editSession(s, func(session *v1alpha1.ReactorSession) { session.Spec.Suspend = new(true) })
	}},
	{"resume session", 3, onSession, func(w *world, s step) {
		w.editSession(s, func(session *v1alpha1.ReactorSession) { session.Spec.Suspend = nil })
	}},
	{"edit program", 1, func(d dice) step {
		return step{On: d.one(sessionNames...), How: d.one("short", "long", "fails", "forgetful", "deaf", "impostor")}
	}, func(w *world, s step) {
		w.editSession(s, func(session *v1alpha1.ReactorSession) {
			session.Spec.Template.Spec.Containers[0].Args = []string{s.How}
		})
	}},
	{"edit maxDuration", 1, func(d dice) step { return step{On: d.one(sessionNames...), How: d.one("", "10m", "40m", "2h")} }, func(w *world, s step) {
		w.editSession(s, func(session *v1alpha1.ReactorSession) { session.Spec.MaxDuration = v1alpha1.Duration(s.How) })
	}},
	{"delete pod", 3, onSession, func(w *world, s step) {
		for _, pod := range w.podsOf(s.On) {
			w.judge.strike(ofSession(s.On), s.Do, afterStop)
			w.judge.askedToEnd(pod.Name)
			w.remove(&pod)
		}
	}},
	{"take pod away", 1, onSession, func(w *world, s step) { // by force, and past its finalizers
		for _, pod := range w.podsOf(s.On) {
			if w.node.isLost() { // nobody would end its program, and Kubernetes says so to whoever does this
				continue
			}
			w.judge.strike(ofSession(s.On), s.Do, afterStop)
			w.judge.takenAway(pod.Name)
			edit(w, &pod, func(pod *corev1.Pod) { pod.Finalizers = nil })
			w.remove(&pod, client.GracePeriodSeconds(0))
		}
	}},
	{"strip pod", 1, onSession, func(w *world, s step) { // of what tells whose it is
		for _, pod := range w.podsOf(s.On) {
			w.judge.strike(ofSession(s.On), s.Do, afterStop)
			edit(w, &pod, func(pod *corev1.Pod) { pod.Labels = nil })
		}
	}},
	{"Reactor ends sessions", 1, onSession, func(w *world, s step) {
		for _, open := range w.reactor.Ledger().Open() {
			if open.Model == modelOf(s.On) {
				w.reactor.EndSession(open.ID)
			}
		}
	}},
}

func (w *world) editSession(s step, change func(*v1alpha1.ReactorSession)) {
	session := &v1alpha1.ReactorSession{ObjectMeta: objectMeta(s.On)}
	if edit(w, session, change) {
		w.judge.allow(session)
		w.judge.strike(ofSession(s.On), s.Do, afterStop)
	}
}

// podsOf are the pods of a session that are not being deleted.
func (w *world) podsOf(session string) []corev1.Pod {
	pods := &corev1.PodList{}
	if err := w.people.List(context.Background(), pods, client.InNamespace(namespace)); err != nil {
		return nil
	}
	var found []corev1.Pod
	for _, pod := range pods.Items {
		if sessionNameOf(&pod) == session && pod.DeletionTimestamp == nil {
			found = append(found, pod)
		}
	}
	return found
}

// nodeLost is the operation that takes a node away for a while.
const nodeLost = "lose node"

// clusterOperations are what happens to nodes and to the API server.
var clusterOperations = []operation{
	{nodeLost, 1, lasting(time.Minute, 30*time.Minute, "", "with its programs"), func(w *world, s step) {
		w.duringOnNode(s, func(n *node) {
			n.lost = time.Now()
			if s.How != "" {
				n.killAll()
			}
		}, func(n *node) { n.lost = time.Time{} })
	}},
	{"no node", 1, lasting(time.Minute, 20*time.Minute), func(w *world, s step) {
		w.duringOnNode(s, func(n *node) { n.stuck = true }, func(n *node) { n.stuck = false })
	}},
	{"node's clock is behind", 1, func(d dice) step { return step{For: d.between(10*time.Minute, 2*time.Hour), Count: 1 + d.IntN(300)} }, func(w *world, s step) {
		w.duringOnNode(s, func(n *node) { n.behind = time.Duration(s.Count) * time.Second }, func(n *node) { n.behind = 0 })
	}},
	{"API server is away", 2, lasting(2*time.Second, 10*time.Minute), func(w *world, s step) {
		until := time.Now().Add(s.For)
		w.during(everything, s, afterOutage, func() { w.faults.change(func(f *faults) { f.away = until }); w.api.BreakWatches() }, nil)
	}},
	{"API server is slow", 1, lasting(time.Minute, 20*time.Minute, "300ms", "2s"), func(w *world, s step) {
		slow, err := time.ParseDuration(s.How)
		if err != nil {
			panic(err)
		}
		w.during(everything, s, afterOutage, func() { w.faults.change(func(f *faults) { f.slow = slow }) }, func() { w.faults.change(func(f *faults) { f.slow = 0 }) })
	}},
	{"writes are refused", 3, func(d dice) step {
		return step{On: d.one("Secret", "Secret", "ReactorToken", "ReactorSession", "Pod"), How: d.one("quota", "webhook", "busy", "timeout"), For: d.between(10*time.Second, 40*time.Minute)}
	}, func(w *world, s step) {
		until := time.Now().Add(s.For)
		w.during(everything, s, afterOutage, func() { w.faults.change(func(f *faults) { f.refused, f.kind, f.refusal = until, s.On, s.How }) }, nil)
	}},
	{"a write goes wrong", 8, func(d dice) step {
		return step{On: d.one("Secret", "ReactorToken", "ReactorSession", "Pod", ""), How: d.one(crashBefore, crashAfter, lost, answerLost, conflicting), Count: 1 + d.IntN(4)}
	}, func(w *world, s step) {
		w.faults.change(func(f *faults) { f.planned = append(f.planned, plannedFault{kind: s.On, count: s.Count, how: s.How}) })
	}},
	{"caches lag", 2, func(d dice) step {
		return step{On: d.one("Secret", "ReactorToken", "ReactorSession", "Pod"), How: d.one("3s", "15s"), For: d.between(time.Minute, 20*time.Minute)}
	}, func(w *world, s step) {
		lag, err := time.ParseDuration(s.How)
		if err != nil {
			panic(err)
		}
		w.during(everything, s, afterChange+lag, func() { w.setLag(s.On, lag) }, func() { w.setLag(s.On, 0) })
	}},
	{"watches break", 1, func(dice) step { return step{} }, func(w *world, s step) {
		w.judge.strike(everything, s.Do, afterOutage)
		w.api.BreakWatches()
	}},
}

// during lets something be out of order in a scope for a while.
func (w *world) during(scope string, s step, grace time.Duration, begin, end func()) {
	why := fmt.Sprintf("%s (%d)", s.Do, w.next())
	w.judge.hinder(scope, why)
	begin()
	w.later(s.For, func() {
		if end != nil {
			end()
		}
		w.judge.calm(scope, why, grace)
	})
}

func (w *world) duringOnNode(s step, begin, end func(*node)) {
	const afterNode = 8 * time.Minute // an eviction, a grace period, a backoff
	w.during(nodes, s, afterNode, func() { w.node.be(begin) }, func() { w.node.be(end) })
}
