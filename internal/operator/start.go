package operator

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/reactor-operator/reactor-operator/internal/notice"
)

// Manager is a controller-runtime manager that can be stopped at any time, and that writes the events of its last reconciles.
type Manager struct {
	manager.Manager
	caches   *cachesFilled
	recorder *notice.Recorder
}

// Start runs the manager until the context ends, then until the reconciles in flight are finished, and then until their events are written.
// It takes at most maxShutdown to return after the context ends.
//
// The recorder of events is not one of the manager's runnables, because each group of those is stopped too early. The manager cancels
// group Others first, and the group of the controllers for all of its members at the same time; then: 1. The operator is stopped while a
// reconcile is in flight. 2. No event is queued, so the recorder ends. 3. The reconcile writes its status and emits an event, which is lost.
//
// When the lease is lost, the manager's Start returns without waiting for the reconciles in flight, because another replica may lead soon.
// The events that are queued by then are written. A reconcile that is still in flight is cut off, as by a crash.
//
// While the caches are being filled nothing is in flight, and it returns immediately. The manager's own Start would not return
// then: it spins until it is killed (kubernetes-sigs/controller-runtime#3440), which a missing Role is enough for.
func (m *Manager) Start(ctx context.Context) error {
	stopRecorder := m.recorder.Start() //nolint:contextcheck // it writes what is queued when the context has ended
	defer stopRecorder()
	ended := make(chan error, 1)
	go func() { ended <- m.Manager.Start(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if filled := m.caches.check(nil) == nil; filled {
		return <-ended
	}
	return nil
}
