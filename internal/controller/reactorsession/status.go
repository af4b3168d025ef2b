package reactorsession

import (
	"context"
	"fmt"
	"time"

	"github.com/reactor-operator/reactor-operator/internal/attempts"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
)

// writeStatus writes the status, once, if it changed, over the version that was seen, and then makes it known. A version that was
// not seen is a conflict: what was decided from an older one is not written, and the pass is repeated, as it is when the object is gone and
// the cache does not show that yet. It then returns when.
func (r *Reconciler) writeStatus(ctx context.Context, session *v1alpha1.ReactorSession, mem *objectState, told reported) (again []requeue.Entry, err error) {
	if equality.Semantic.DeepEqual(session.Status, told.status) {
		r.tell(ctx, session, told)
		return nil, nil
	}
	updated := session.DeepCopy()
	updated.Status = told.status
	err = r.client.Status().Update(ctx, updated, client.FieldOwner(attempts.FieldOwner))
	switch {
	case apierrors.IsNotFound(err):
		if !mem.gone { // what was seen of it may still be told, once
			r.tell(ctx, session, told)
		}
		mem.gone = true
		return after(mem.awaitCache(), "the cache does not show the latest version yet"), nil
	case apierrors.IsConflict(err):
		return after(mem.awaitCache(), "the cache does not show the latest version yet"), nil
	case err != nil:
		if isWriteRefused(err) && !mem.statusRefused { // no condition can report this
			mem.statusRefused = true
			notice.Emit(ctx, r.recorder, session, []notice.Notice{statusRefused(err)})
		}
		return nil, fmt.Errorf("writing the status of ReactorSession %s/%s: %w", session.Namespace, session.Name, err)
	}
	mem.wrote(updated)
	mem.conflicts, mem.gone, mem.statusRefused = 0, false, false
	r.tell(ctx, session, told)
	return nil, nil
}

// statusRefused reports that the API server refuses to write the status. The session is then neither started nor stopped, because each of
// these stands in status first.
func statusRefused(err error) notice.Notice {
	return notice.Warning(v1alpha1.ReasonWriteRefused, "WriteStatus",
		"the API server refuses to write the status of the session, which is neither started nor stopped meanwhile: %s. Allow the write; the operator retries", reactor.Redact(err.Error()))
}

// tell makes known what stands in status.
func (r *Reconciler) tell(ctx context.Context, session *v1alpha1.ReactorSession, told reported) {
	notice.Emit(ctx, r.recorder, session, told.events)
	if r.tally == nil {
		return
	}
	if told.ended != nil {
		r.tally.AttemptEnded(told.ended.Class, time.Duration(told.ended.RunningSeconds)*time.Second)
		r.tally.CleanedUp(told.ended.Cleanup)
	}
	for range told.abandoned {
		r.tally.CleanedUp(v1alpha1.CleanupUnverified)
	}
}
