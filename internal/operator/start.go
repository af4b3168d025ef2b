package operator

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// Manager is a controller-runtime manager that can be stopped at any time.
type Manager struct {
	manager.Manager
	caches *cachesFilled
}

// Start runs the manager until the context ends, and then until what is in flight is finished.
//
// While the caches are being filled nothing is in flight, and it returns at once. The manager's own Start would not return
// then: it spins until it is killed (kubernetes-sigs/controller-runtime#3440), which a missing Role is enough for.
func (m *Manager) Start(ctx context.Context) error {
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
