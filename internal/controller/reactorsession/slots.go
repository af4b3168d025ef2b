package reactorsession

import (
	"context"
	"fmt"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/capacity"
	"github.com/reactor-operator/reactor-operator/internal/outcome"
)

const (
	// slotBound is how long a session holds a slot while its token is requested.
	slotBound = 2 * time.Minute
)

// keepCapacity tells the bookkeeping of slots what the pass has seen.
func (r *Reconciler) keepCapacity(session *v1alpha1.ReactorSession, mem *objectState, seen *observation, planned plan) {
	switch {
	case seen.pod != nil && !outcome.HasEnded(seen.pod) && !attempts.IsGated(seen.pod):
		r.capacity.Acquire(capacityOf(session), capacityKey(session, seen))
		mem.slotSince = time.Time{}
	case planned.slot || planned.do == doEnd || planned.do == doRelease:
	default:
		r.leaveCapacity(session, mem, seen)
	}
}

// leaveCapacity gives back the slot of a session, or its place in the queue for one. A start that a pod has used stays used.
func (r *Reconciler) leaveCapacity(session *v1alpha1.ReactorSession, mem *objectState, seen *observation) {
	if seen.pod == nil || attempts.IsGated(seen.pod) {
		r.giveSlotBack(session, mem)
		return
	}
	r.capacity.Release(session.UID)
}

// giveSlotBack is for a session without a pod that may run: it gives back its slot, and the start that it took with it, or its place in the
// queue for one.
func (r *Reconciler) giveSlotBack(session *v1alpha1.ReactorSession, mem *objectState) {
	r.capacity.Cancel(session.UID)
	mem.slotSince = time.Time{}
}

// giveWay is for a session that cannot be observed: no other one must wait for it. It keeps the slot of a pod that may run.
func (r *Reconciler) giveWay(session *v1alpha1.ReactorSession, mem *objectState) {
	if !mem.slotSince.IsZero() {
		r.giveSlotBack(session, mem)
		return
	}
	r.capacity.Yield(session.UID)
}

// admit takes one of the slots of the API key. It returns nil when the session has one, and how the pass ends when it has to wait.
func (r *Reconciler) admit(ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, seen *observation) *result {
	key := capacityKey(session, seen)
	var others []capacity.Holder
	if r.capacity.NeedsHolders() {
		var err error
		if others, err = r.holders(ctx, session, key); err != nil {
			return &result{retry: err}
		}
	}
	waits := r.capacity.Admit(capacityOf(session), key, others, seen.now)
	if waits == nil {
		if mem.slotSince.IsZero() {
			mem.slotSince = seen.now
		}
		return nil
	}
	mem.slotSince = time.Time{}
	waiting := &result{waiting: waits}
	if waits.Until.After(seen.now) {
		waiting.next = after(waits.Until.Sub(seen.now), "the session may start")
	}
	return waiting
}

// holders are the sessions that have a pod with the key of a session, or with a key that was in its Secret before, as the cache shows them. A
// pod that our own gate holds back does not count: status does not list its UID.
func (r *Reconciler) holders(ctx context.Context, session *v1alpha1.ReactorSession, key capacity.KeyUse) ([]capacity.Holder, error) {
	var holders []capacity.Holder
	for _, from := range []struct {
		current string // the key that their Secret holds now; empty if that is not known
		options []client.ListOption
	}{
		{"", []client.ListOption{client.MatchingFields{indexRunningKey: key.Fingerprint}}},
		{key.Current, []client.ListOption{client.InNamespace(session.Namespace), client.MatchingFields{indexRunningSecret: keyLocation(session)}}},
	} {
		sessions := &v1alpha1.ReactorSessionList{}
		if err := r.cache.List(ctx, sessions, append(from.options, client.UnsafeDisableDeepCopy)...); err != nil {
			return nil, fmt.Errorf("listing the sessions that run with an API key: %w", err)
		}
		for i := range sessions.Items {
			other := &sessions.Items[i]
			holders = append(holders, capacity.Holder{Session: capacityOf(other), Key: useOf(other, other.Status.CurrentAttempt.KeyFingerprint, from.current)})
		}
	}
	return holders, nil
}

// capacityKey is the API key by which a session has its slot.
func capacityKey(session *v1alpha1.ReactorSession, seen *observation) capacity.KeyUse {
	return useOf(session, keyOfAttempt(seen), seen.key.Fingerprint)
}

// keyOfAttempt is the fingerprint of the API key that the program of the current attempt has or gets: while there is no pod, or scheduling gates
// hold it back, the key that is in the Secret now. Empty when neither is known.
func keyOfAttempt(seen *observation) string {
	attempt := seen.status.CurrentAttempt
	started := attempt != nil && (attempt.PodUID != "" || seen.pod != nil) && !attempts.IsGated(seen.pod)
	if started && attempt.KeyFingerprint != "" || seen.key.Fingerprint == "" && attempt != nil {
		return attempt.KeyFingerprint
	}
	return seen.key.Fingerprint
}

// capacityOf is what the limits of an API key depend on.
func capacityOf(session *v1alpha1.ReactorSession) capacity.Session {
	return capacity.Session{
		UID: session.UID, Name: client.ObjectKeyFromObject(session),
		Model: string(session.Spec.Model), Created: session.CreationTimestamp.Time,
	}
}

// useOf is the use of an API key. If its fingerprint is unknown, the location of the Secret identifies the key.
func useOf(session *v1alpha1.ReactorSession, fingerprint, current string) capacity.KeyUse {
	if fingerprint == "" {
		fingerprint = session.Namespace + "/" + keyLocation(session)
	}
	return capacity.KeyUse{Fingerprint: fingerprint, Current: current}
}
