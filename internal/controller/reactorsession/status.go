package reactorsession

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reactor-operator/reactor-operator/api/v1alpha1"
	"github.com/reactor-operator/reactor-operator/internal/attempts"
	"github.com/reactor-operator/reactor-operator/internal/notice"
	"github.com/reactor-operator/reactor-operator/internal/reactor"
	"github.com/reactor-operator/reactor-operator/internal/requeue"
)

// writeStatus writes the status once, if it changed, with the observed resourceVersion, and then emits what it reports. It returns what is written
// now. After a conflict, conflict says when the session is reconciled again: what was decided from an older version is not written. The same
// applies if the object does not exist anymore, and the cache does not show that yet.
func (r *Reconciler) writeStatus(
	ctx context.Context, session *v1alpha1.ReactorSession, last written, report report,
) (now written, conflict []requeue.Entry, err error) {
	if equality.Semantic.DeepEqual(session.Status, report.status) {
		r.emit(ctx, session, report)
		return last, nil, nil
	}
	updated := session.DeepCopy()
	updated.Status = report.status
	err = r.client.Status().Update(ctx, updated, client.FieldOwner(attempts.FieldOwner))
	switch {
	case apierrors.IsNotFound(err):
		if !last.gone { // what was observed is still emitted, once
			r.emit(ctx, session, report)
		}
		last.gone = true
		last.conflicts++
		return last, waitForCache(last.conflicts), nil
	case apierrors.IsConflict(err):
		last.conflicts++
		return last, waitForCache(last.conflicts), nil
	case err != nil:
		if isWriteRefused(err) && !last.refused { // no condition can report this
			last.refused = true
			notice.Emit(ctx, r.recorder, session, []notice.Notice{statusRefused(err)})
		}
		return last, nil, fmt.Errorf("writing the status of ReactorSession %s/%s: %w", session.Namespace, session.Name, err)
	}
	r.emit(ctx, session, report)
	return written{}.with(updated), nil, nil
}

// waitForCache is how long a session waits for the cache to show what the API server has: longer after each conflict.
func waitForCache(conflicts int) []requeue.Entry {
	return after(min(retryBase<<min(conflicts-1, 8), retryCap), "the cache does not show the latest version yet")
}

// statusRefused reports that the API server refuses to write the status. The session is then neither started nor stopped, because each of
// these is recorded in status first.
func statusRefused(err error) notice.Notice {
	return notice.Warning(v1alpha1.ReasonWriteRefused, "WriteStatus",
		"the API server refuses to write the status of the session, which is neither started nor stopped meanwhile: %s. Allow the write; the operator retries", reactor.Redact(err.Error()))
}

// emit emits the events and counts the metrics of what is recorded in status.
func (r *Reconciler) emit(ctx context.Context, session *v1alpha1.ReactorSession, report report) {
	notice.Emit(ctx, r.recorder, session, report.notices)
	if r.metrics == nil {
		return
	}
	if report.ended != nil {
		r.metrics.AttemptEnded(report.ended.Class, time.Duration(report.ended.RunningSeconds)*time.Second)
		r.metrics.CleanedUp(report.ended.Cleanup)
	}
	for range report.abandoned {
		r.metrics.CleanedUp(v1alpha1.CleanupUnverified)
	}
}
