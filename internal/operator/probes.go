package operator

import (
	"context"
	"errors"
	"net/http"

	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// errCachesFilling is what a readiness probe hears until the first lists have arrived.
var errCachesFilling = errors.New("caches are not filled yet")

// addProbes makes the process healthy while it answers, and ready once its caches are filled. A replica that does not lead
// is ready too: it could take over.
func addProbes(mgr manager.Manager, caches *cachesFilled) error {
	return errors.Join(
		mgr.Add(caches),
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("caches", caches.check),
	)
}

// cachesFilled remembers that the caches have been filled. It relies on the order in which a manager starts things: those
// that need no leadership start once all informers that were registered before have their lists.
type cachesFilled struct {
	filled chan struct{}
}

// Start implements manager.Runnable.
func (c *cachesFilled) Start(ctx context.Context) error {
	close(c.filled)
	<-ctx.Done()
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (c *cachesFilled) NeedLeaderElection() bool { return false }

func (c *cachesFilled) check(*http.Request) error {
	select {
	case <-c.filled:
		return nil
	default:
		return errCachesFilling
	}
}
