package reactorsession

import (
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/cleanup"
)

// stateStore has the state of each ReactorSession.
type stateStore struct {
	mu      sync.Mutex
	objects map[types.NamespacedName]*objectState
}

// objectState is what the operator knows about one object and does not find in it. If it is lost, the operator reads more. Stages get a copy, and
// return the state that the next reconcile starts with. Only the one worker that reconciles the object has it.
type objectState struct {
	uid types.UID

	written  written
	podTimes attempts.PodTimesByUID // nil before the first reconcile
	gates    observedGates
	next     observedNext
	managers observedManagers
	cleanup  cleanup.Progress
	metadata metadataPatches

	released      []types.UID // the pods from which the operator removed its finalizer last: the cache may not show that yet
	gateRemoved   types.UID   // the pod from which the operator removed its scheduling gate last: the cache may not show that yet
	tokenCreated  int32       // the attempt for which this process created a ReactorToken last
	podRefusals   int         // how often in a row the API server refused the pod
	tokenRefusals int         // how often in a row the API server refused the ReactorToken
}

// written is what the operator wrote to the object last, and how the last writes of its status ended.
type written struct {
	status     *v1alpha1.ReactorSessionStatus // nil: nothing was written
	finalizers []string
	version    string // the resourceVersion after the write

	conflicts int  // how often in a row the API server had a version that the cache did not show
	gone      bool // the API server did not have the object anymore
	refused   bool // the API server refused the write, and an event reports that
}

// observedGates is until when the pod of that name was held back by scheduling gates, or whether it is.
type observedGates struct {
	pod   string
	is    bool
	until time.Time
}

// observedNext is a time of the next attempt, and when this process read it first.
type observedNext struct {
	attempt *metav1.Time
	since   time.Time
}

// observedManagers are the managers of the fields of the attempt's token at a version of it.
type observedManagers struct {
	version string
	entries []metav1.ManagedFieldsEntry
}

// metadataPatches counts how often in a row the operator restored the labels and annotations of the pod. next is when it may do so again.
type metadataPatches struct {
	times int
	next  time.Time
}

func newStateStore() *stateStore {
	return &stateStore{objects: map[types.NamespacedName]*objectState{}}
}

// of returns the state of an object. An object that was deleted and created again under its name starts without one; replaced is the UID of the
// earlier one.
func (m *stateStore) of(session *v1alpha1.ReactorSession) (state *objectState, replaced types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := types.NamespacedName{Namespace: session.Namespace, Name: session.Name}
	state, ok := m.objects[name]
	if ok && state.uid == session.UID {
		return state, ""
	}
	if ok {
		replaced = state.uid
	}
	state = &objectState{uid: session.UID}
	m.objects[name] = state
	return state, replaced
}

// forget drops the state of an object that does not exist anymore, and returns the UID that it had.
func (m *stateStore) forget(name types.NamespacedName) types.UID {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.objects[name]
	if !ok {
		return ""
	}
	delete(m.objects, name)
	return known.uid
}

// newest returns the session with what the operator wrote last, while the cache does not show that yet. Its spec is the same: each write was one
// over the observed version.
func (w written) newest(session *v1alpha1.ReactorSession) *v1alpha1.ReactorSession {
	if w.status == nil {
		return session
	}
	order, err := resourceversion.CompareResourceVersion(session.ResourceVersion, w.version)
	if err != nil || order >= 0 {
		return session
	}
	newest := session.DeepCopy()
	newest.Status, newest.Finalizers, newest.ResourceVersion = *w.status.DeepCopy(), slices.Clone(w.finalizers), w.version
	return newest
}

// with returns what is written after a write that returned this version of the session.
func (w written) with(session *v1alpha1.ReactorSession) written {
	w.status, w.finalizers, w.version = session.Status.DeepCopy(), slices.Clone(session.Finalizers), session.ResourceVersion
	return w
}

// observe returns the state of the scheduling gates of a pod. heldUntil is until when they held it back, which is now while they do: the time that
// its program may take to start counts from then. It is zero if they never did. After a restart, the operator does not know when the gates of a pod
// were removed, and counts from now.
func (g observedGates) observe(pod *corev1.Pod, now time.Time) (gates observedGates, heldUntil time.Time) {
	if pod == nil || !attempts.IsGated(pod) && pod.Annotations[attempts.GatedAnnotation] == "" && g.pod != pod.Name {
		return g, time.Time{}
	}
	if attempts.IsGated(pod) || g.is || g.pod != pod.Name {
		g = observedGates{pod: pod.Name, is: attempts.IsGated(pod), until: now}
	}
	return g, g.until
}

// observe returns since when the time of the next attempt is known.
func (n observedNext) observe(attempt *metav1.Time, now time.Time) observedNext {
	if attempt.Equal(n.attempt) {
		return n
	}
	return observedNext{attempt: attempt.DeepCopy(), since: now}
}
